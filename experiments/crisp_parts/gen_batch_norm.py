"""`crisp` with batch norm in G.

python main.py compare --configs crisp,experiments/crisp_parts/gen_batch_norm.py --seeds 0:3 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("crisp")
    config.model.gen.norm = "batch"
    return config
