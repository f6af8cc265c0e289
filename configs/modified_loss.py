"""The post's second experiment: the baseline with the modified D loss, long.

    python main.py --config modified_loss

Time: 4000 steps, about 20 minutes on two CPU cores.

The post saw two resets with spikes in D's loss, then collapse to one image. β = 0.01 changes only the reported loss: the weights
are those of a 1000-epoch baseline.
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("baseline")
    config.loss.beta = 0.01
    config.train.epochs = 1000
    return config
