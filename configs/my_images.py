"""Your own images with the recipe of crisp: copy this file, and change what suits them.

    python main.py --config my_images --config.data.path=my_images

Time: 6000 steps, about 25 minutes on two CPU cores.

A hundred images of one kind of thing, centred and seen from the same side, are enough. `sharingan-jax data my_images` looks at
them and says what to set. default.py lists every setting, and docs/recipe.md says what each part does.
"""

from ml_collections import ConfigDict

from sharingan_jax.config import base_config


def get_config() -> ConfigDict:
    """Return the settings of a run."""
    config = base_config("crisp")
    config.data.source = "folder"
    config.data.path = "my_images"  # any folder; images in folders below it count as well
    # What to set, by what the images show. `sharingan-jax data my_images` says which of it they allow, and a weight of R1.
    #
    #                              data.turns  data.mirrors  data.background  augment.fill
    #   faces, animals, cars                1          True          "white"           0.0
    #   textures, landscapes                1          True          "white"           0.0
    #   discs, coins on white              24          True          "white"           1.0
    #   logos, letters on white             1         False          "white"           1.0
    #   logos, letters on black             1         False          "black"          -1.0
    #
    # data.background lies behind transparent images and next to turned or padded ones; photographs do not show it.
    # augment.fill is what augmentation uncovers: the ground's value, or grey where there is no plain ground.
    config.data.turns = 1
    config.data.mirrors = False
    config.data.background = "white"
    config.augment.fill = 0.0
    return config
