"""Decode an image file and fit it as the reference does."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from sharingan_jax.errors import UserError

MODES = {1: "L", 3: "RGB"}


def load_picture(path: Path, *, size: int, channels: int = 3) -> np.ndarray:
    """The picture in a file, uint8 [size, size, channels]. Raises UserError naming the file and the reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Odd metadata and unusual palettes are not the user's to mend.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return fit_picture(image, size=size, channels=channels)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: too many pixels to be a picture for this: {error}; make it smaller, or move it away") from None
    except (OSError, ValueError, SyntaxError, EOFError, RuntimeError) as error:
        raise UserError(f"{path}: a broken picture: {error}; mend it, or move it out of the folder") from None


def fit_picture(image: Image.Image, *, size: int, channels: int = 3) -> np.ndarray:
    """A decoded picture, resized and cropped as the reference does, uint8 [size, size, channels].

    The shorter side becomes `size` (bilinear, antialiased), the longer int(size · long / short); then the centre is cut out
    at offset int(round((side − size) / 2)), Python's round, as in torchvision's Resize and CenterCrop. Raises Pillow's
    DecompressionBombError where a long, thin picture would become one of more pixels than Pillow's bound.
    """
    image = image.convert(MODES[channels])
    width, height = image.size
    fitted = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and fitted[0] * fitted[1] > most:
        raise Image.DecompressionBombError(f"{width}×{height} would become {fitted[0]}×{fitted[1]} before it is cropped")
    if fitted != image.size:
        image = image.resize(fitted, Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in fitted)
    image = image.crop((left, top, left + size, top + size))
    return np.asarray(image, np.uint8).reshape(size, size, channels)
