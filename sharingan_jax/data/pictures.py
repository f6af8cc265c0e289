"""Pictures decoded and fitted as the reference does it, one at a time and as a set."""

import hashlib
import warnings
from dataclasses import dataclass
from functools import cached_property
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


@dataclass(frozen=True)
class Pictures:
    """`images` uint8 [N, S, S, C]; for each its name and the SHA-256 of its source; class labels int64 [N] where known.

    `skipped` names the files that were no pictures.
    """

    images: np.ndarray
    names: tuple[str, ...]
    digests: tuple[str, ...]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.images)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shape, names, source digests and the decoded bytes; the folder's own place does not enter."""
        total = hashlib.sha256(f"{self.images.shape}\n".encode())
        for name, digest in zip(self.names, self.digests, strict=True):
            total.update(f"{name}\0{digest}\n".encode())
        total.update(np.ascontiguousarray(self.images).tobytes())
        return total.hexdigest()


def array_digests(images: np.ndarray) -> tuple[str, ...]:
    """SHA-256 of each picture's decoded bytes, for sources that have no files."""
    return tuple(hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in images)
