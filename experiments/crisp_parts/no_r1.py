"""`crisp` without the penalty on D's gradient.

python main.py compare --configs crisp,experiments/crisp_parts/no_r1.py --seeds 0:3 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("crisp")
    config.loss.r1 = 0.0
    config.loss.penalty_every = 1
    return config
