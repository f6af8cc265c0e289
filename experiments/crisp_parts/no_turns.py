"""`crisp` without turned and mirrored images: the hundred as they are.

python main.py compare --configs crisp,experiments/crisp_parts/no_turns.py --seeds 0:3 --workdir DIR
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("crisp")
    config.data.turns = 1
    config.data.mirrors = False
    return config
