"""Your own images with the recipe of crisp: copy this file, and change what suits them.

    python main.py --config my_images --config.data.path=my_images

Time: 12000 steps, 35 to 60 minutes on a CPU, by the processor.

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
    # Discs and textures without an up and a down: 24 turns. Faces, cars, letters: 1.
    config.data.turns = 1
    # Faces, animals, textures: True. Letters, logos, flags, whatever has a left and a right: False.
    config.data.mirrors = False
    # What lies behind transparent images and next to turned or padded ones. Logos on black: "black".
    config.data.background = "white"
    # What augmentation uncovers: 1 on a white ground, -1 on a black one, 0 if the images are photographs or textures.
    config.augment.fill = 0.0
    return config
