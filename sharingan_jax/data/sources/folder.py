"""Images from a folder."""

import hashlib
import os
from pathlib import Path

import numpy as np
from PIL import Image

from sharingan_jax.data.dataset import ArrayDataset, ImageDataset
from sharingan_jax.data.decode import load_image
from sharingan_jax.errors import UserError

NOT_IMAGES = frozenset({"PDF", "PALM", "BUFR", "GRIB", "HDF5", "IPTC", "MPEG"})
"""Formats whose endings Pillow knows but whose pixels it cannot read: it only writes the first two and recognises the others."""


def folder_dataset(folder: Path, *, size: int, channels: int) -> ImageDataset:
    """Load the images below a folder (`~` expands), in the byte order of their relative names.

    A file is an image if Pillow reads the format of its ending; other files are listed in `skipped`. Hidden files and folders
    are ignored. Raise UserError if the folder has no images, or with the name of an image that does not decode.
    """
    folder = Path(os.path.expanduser(folder))
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing there"
        raise UserError(f"data.path={folder}: expected a folder, got {found}. Give the folder that holds your images.")
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind not in NOT_IMAGES}
    names: list[str] = []
    skipped: list[str] = []
    for name in _relative_names(folder):
        (names if Path(name).suffix.lower() in endings else skipped).append(name)
    if not names:
        expected = f"expected a folder of images, got no images and {len(skipped)} other files"
        raise UserError(f"data.path={folder}: {expected}. Give a folder with .png, .jpg, ... files.")
    images = np.stack([load_image(folder / name, size=size, channels=channels) for name in names])
    digests = tuple(hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names)
    return ArrayDataset(images=images, names=tuple(names), digests=digests, skipped=tuple(skipped))


def _relative_names(folder: Path) -> list[str]:
    def fail(error: OSError) -> None:
        raise error  # By default os.walk ignores an unreadable folder, and its images would be missing without a word.

    names: list[str] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        if os.path.realpath(parent) in seen:  # A link back to a folder above it, or a second link to the same folder.
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names += [(Path(parent) / name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(names, key=os.fsencode)
