"""The post's second experiment: the baseline with the modified D loss, β = 0.01, 1000 epochs (4000 steps).

    python main.py --config configs/modified_loss.py

The post saw two resets with spikes in D's loss, then collapse to one picture. β changes the reported loss only: the weights
are those of a 1000-epoch baseline.
"""

from ml_collections import ConfigDict

from configs import baseline


def get_config() -> ConfigDict:
    """The settings of a run."""
    config = baseline.get_config()
    config.loss.beta = 0.01
    config.train.epochs = 1000
    return config
