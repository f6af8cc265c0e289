"""The blog post's first experiment: no spectral normalisation, no clipping.

    python main.py --config baseline

Time: 800 steps, about 5 minutes on two CPU cores.

The post saw the patterns of the data, with noise. With --config.loss.name=bce_clamped, its loss to the letter, most runs get
stuck within 300 steps: see docs/equivalence.md.
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("default")
    config.model.gen.spectral_norm = False
    config.model.disc.spectral_norm = False
    config.optim.disc.clip_norm = 0.0
    return config
