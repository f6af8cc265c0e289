"""`crisp` with a G that draws every image as it is, without mirroring and turning it.

python main.py compare --configs crisp,experiments/crisp_parts/no_symmetry.py --seeds 0:3 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("crisp")
    config.model.symmetry = "none"
    return config
