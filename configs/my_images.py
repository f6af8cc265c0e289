"""Your own pictures: copy this file, set the path, and change what you like.

    python main.py --config configs/folder.py --config.data.path=my_pictures

A hundred pictures of one kind of thing, centred and seen alike, are enough. Every setting stands in default.py."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The settings of a run."""
    config = default.get_config()
    config.data.source = "folder"
    config.data.path = "pictures"  # any folder; the pictures may lie in folders below it
    config.train.epochs = 300  # at 100 pictures in batches of 25: 1200 steps
    return config
