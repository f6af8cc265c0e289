"""`crisp` with a D whose first convolution has stride 2, as the post's has.

python main.py compare --configs crisp,experiments/crisp_parts/disc_dcgan.py --seeds 0:3 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("crisp")
    config.model.disc.arch = "dcgan"
    return config
