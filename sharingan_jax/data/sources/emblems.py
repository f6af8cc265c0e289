"""The 100 embedded emblems as a data set."""

import numpy as np
from PIL import Image

from sharingan_jax.data.dataset import Pictures, array_digests
from sharingan_jax.data.decode import fit_picture


def emblem_pictures(*, size: int, channels: int) -> Pictures:
    """The 100 embedded emblems, drawn at `size`."""
    from sharingan_jax.data.emblems.draw import CLASSES, draw_emblems

    images, labels = draw_emblems(size=size)
    if channels == 1:
        images = np.stack([fit_picture(Image.fromarray(image), size=size, channels=1) for image in images])
    names = tuple(f"{i:03d}-{CLASSES[label]}" for i, label in enumerate(labels))
    return Pictures(images, names, array_digests(images), labels=labels, classes=CLASSES)
