"""A tiny network for a few steps, through everything a run does. Draws noise.

    python main.py --config smoke

Time: 12 steps, seconds.
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("default")
    config.data.size = 32
    config.model.nz = 16
    config.model.gen.width = 8
    config.model.disc.width = 8
    config.train.steps = 12
    config.train.steps_per_dispatch = 4
    config.sample.every = 4
    config.checkpoint.every = 4
    config.log.every = 4
    return config
