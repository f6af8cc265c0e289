"""The post's third experiment: spectral normalisation and clipping, the default.

    python main.py --config stabilised

Time: 800 steps, about 5 minutes on two CPU cores.

The post saw clearly more varied motifs than in the baseline.
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    return base_config("default")
