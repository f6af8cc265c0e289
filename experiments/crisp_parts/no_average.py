"""`crisp` with the weights as trained instead of averaged ones.

python main.py compare --configs crisp,experiments/crisp_parts/no_average.py --seeds 0:3 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("crisp")
    config.train.ema_half_life = 0
    config.train.ema_ramp_up = 0.0
    return config
