"""The baseline with D's gradient clipped at norm 5, and no spectral normalisation: the other half of the post's stabilised.

python main.py compare --configs baseline,experiments/ablation/clipping_only.py --seeds 0:8 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("baseline")
    config.optim.disc.clip_norm = 5.0
    return config
