"""The post's fourth experiment: the stabilised system for 1000 epochs.

    python main.py --config stabilised_long

Time: 4000 steps, about 20 minutes on two CPU cores.

The post saw it collapse, with more variety than the modified loss and no spikes, and advises to stop early.
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("default")
    config.train.epochs = 1000
    return config
