"""The stabilised experiment with the post's β = 0.01, which changes D's reported loss.

python main.py compare --configs baseline,experiments/ablation/stabilised_beta.py --seeds 0:8 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("stabilised")
    config.loss.beta = 0.01
    return config
