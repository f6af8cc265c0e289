"""The post's fourth experiment: the stabilised system for 1000 epochs (4000 steps).

    python main.py --config configs/stabilised_long.py

The post saw it collapse, with more variety than the modified loss and no spikes, and advises to stop early."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The settings of a run."""
    config = default.get_config()
    config.train.epochs = 1000
    return config
