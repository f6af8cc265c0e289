"""Seconds long: a tiny network for a few steps through everything that a run does. Its pictures are noise.

python main.py --config configs/smoke.py"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The settings of a run."""
    config = default.get_config()
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
