"""Decode an image file, then resize and crop it as the reference does."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from sharingan_jax.errors import UserError, reason_of

MODES = {1: "L", 3: "RGB"}
"""Pillow's mode for each number of channels."""
TOO_LARGE = (Image.DecompressionBombWarning, Image.DecompressionBombError)


def load_image(path: Path, *, size: int, channels: int = 3) -> np.ndarray:
    """Return the image in a file, uint8 [size, size, channels]. Raise UserError with the file and the reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Users need not repair odd metadata or unusual palettes.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return fit_image(image, size=size, channels=channels)
    except (*TOO_LARGE, OSError, ValueError, SyntaxError, EOFError, RuntimeError) as error:
        expected, remedy = "an image that Pillow can read", "Repair the file"
        if isinstance(error, TOO_LARGE):
            expected, remedy = f"an image of at most {Image.MAX_IMAGE_PIXELS} pixels", "Make it smaller"
        raise UserError(
            f"{path}: expected {expected}, got: {reason_of(error)}. {remedy}, or move it out of the folder."
        ) from None


def fit_image(image: Image.Image, *, size: int, channels: int = 3) -> np.ndarray:
    """Resize and crop a decoded image as the reference does, uint8 [size, size, channels].

    The shorter side becomes `size` (bilinear, antialiased), the longer int(size · long / short). The centre is then cut out at
    offset int(round((side − size) / 2)), with Python's round. Torch: torchvision's Resize and CenterCrop.
    Raise Pillow's DecompressionBombError if the resized image of a long, thin one would exceed Pillow's limit of pixels.
    """
    image = image.convert(MODES[channels])
    width, height = image.size
    resized = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and resized[0] * resized[1] > limit:
        raise Image.DecompressionBombError(f"{width}×{height} would become {resized[0]}×{resized[1]} before it is cropped")
    if resized != image.size:
        image = image.resize(resized, Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in resized)
    image = image.crop((left, top, left + size, top + size))
    return np.asarray(image, np.uint8).reshape(size, size, channels)
