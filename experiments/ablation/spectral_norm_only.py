"""The baseline with spectral normalisation, and no clipping: one half of what the post calls stabilised.

python main.py compare --configs baseline,experiments/ablation/spectral_norm_only.py --seeds 0:8 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("stabilised")
    config.optim.disc.clip_norm = 0.0
    return config
