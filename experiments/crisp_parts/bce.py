"""`crisp` with the post's loss instead of pairs of a real and a generated image.

python main.py compare --configs crisp,experiments/crisp_parts/bce.py --seeds 0:3 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("crisp")
    config.loss.name = "bce"
    return config
