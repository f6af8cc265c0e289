"""The 100 embedded emblems as a dataset."""

import numpy as np
from PIL import Image

from sharingan_jax.data.dataset import ArrayDataset, ImageDataset, array_digests
from sharingan_jax.data.decode import Decoding, fit_image
from sharingan_jax.data.emblems.draw import CLASSES, draw_emblems

KIND = "the embedded emblems"


def emblem_dataset(*, size: int, channels: int, first: int = 0, count: int = 100) -> ImageDataset:
    """Draw the 100 emblems, uint8 [100, size, size, channels], with their motifs as class labels.

    With `first` = 100, the next hundred: new images of the same kind. `count` draws more or fewer.
    """
    images, labels = draw_emblems(count, size=size, first=first)
    if channels != 3:
        decoding = Decoding(size=size, channels=channels)
        images = np.stack([fit_image(Image.fromarray(image), decoding) for image in images])
    names = tuple(f"{i:03d}-{CLASSES[label]}" for i, label in enumerate(labels, first))
    digests = array_digests(images)
    return ArrayDataset(images=images, names=names, digests=digests, labels=labels, classes=CLASSES, kind=KIND)
