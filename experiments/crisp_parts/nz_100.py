"""`crisp` with the post's 100 latent dimensions.

python main.py compare --configs crisp,experiments/crisp_parts/nz_100.py --seeds 0:3 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("crisp")
    config.model.nz = 100
    return config
