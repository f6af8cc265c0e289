"""One image file, decoded as the sources do it."""

from pathlib import Path

import numpy as np

from sharingan_jax.data.decode import Decoding, decode_image


def load_image(path: Path, decoding: Decoding) -> np.ndarray:
    """Return the image in a file, uint8 [size, size, channels]. Raise what `decode_image` raises."""
    with path.open("rb") as file:
        return decode_image(file, path.name, decoding).pixels
