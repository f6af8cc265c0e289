"""Your own images: copy this file, set the path, and change what you like.

    python main.py --config my_images --config.data.path=my_images

Time: 1200 steps with 100 images, about 6 minutes on two CPU cores.

A hundred images of one kind of thing, centred and seen from the same side, are enough. default.py lists every setting.
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("default")
    config.data.source = "folder"
    config.data.path = "my_images"  # any folder; images in folders below it count as well
    config.train.epochs = 300  # with 100 images in batches of 25: 1200 steps
    return config
