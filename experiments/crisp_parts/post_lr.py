"""`crisp` with the post's learning rate.

python main.py compare --configs crisp,experiments/crisp_parts/post_lr.py --seeds 0:3 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("crisp")
    config.optim.gen.lr = 2e-4
    config.optim.disc.lr = 2e-4
    return config
