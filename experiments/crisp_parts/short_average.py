"""`crisp` with weights averaged over fewer images: a half-life of 10,000.

python main.py compare --configs crisp,experiments/crisp_parts/short_average.py --seeds 0:3 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("crisp")
    config.train.ema_half_life = 10_000
    return config
