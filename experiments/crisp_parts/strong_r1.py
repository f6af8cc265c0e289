"""`crisp` with twenty times the weight of R1.

python main.py compare --configs crisp,experiments/crisp_parts/strong_r1.py --seeds 0:3 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("crisp")
    config.loss.r1 = 1.0
    return config
