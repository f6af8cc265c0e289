"""Images from a folder."""

import hashlib
import os
from pathlib import Path

import numpy as np
from PIL import Image

from sharingan_jax.data.dataset import Pictures
from sharingan_jax.data.decode import load_picture
from sharingan_jax.errors import UserError

NOT_PICTURES = frozenset({"PDF", "PALM", "BUFR", "GRIB", "HDF5", "IPTC", "MPEG"})
"""Formats whose endings Pillow knows and whose pixels it cannot read: it writes the first two and only recognises the others."""


def folder_pictures(folder: Path, *, size: int, channels: int) -> Pictures:
    """The pictures below a folder, in the byte order of their relative names.

    A picture is a file with the ending of a format that Pillow reads; one that does not decode is an error that names it. All
    else is skipped and counted. Hidden files and folders are passed over.
    """
    if not folder.exists():
        raise UserError(f"config: data.path={folder} does not exist; give the folder that holds the pictures")
    if not folder.is_dir():
        raise UserError(f"config: data.path={folder} is a file; give the folder that holds the pictures")
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind not in NOT_PICTURES}
    pictures: list[str] = []
    skipped: list[str] = []
    for name in _relative_names(folder):
        (pictures if Path(name).suffix.lower() in endings else skipped).append(name)
    if not pictures:
        raise UserError(
            f"config: data.path={folder} holds no pictures ({len(skipped)} other files); give a folder with .png, .jpg, ... files"
        )
    images = [load_picture(folder / name, size=size, channels=channels) for name in pictures]
    digests = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in pictures]
    return Pictures(np.stack(images), tuple(pictures), tuple(digests), skipped=tuple(skipped))


def _relative_names(folder: Path) -> list[str]:
    def refuse(error: OSError) -> None:
        raise error  # A folder that may not be read would otherwise be passed over, and its pictures with it.

    names: list[str] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        if os.path.realpath(parent) in seen:  # A link that leads back to where it came from.
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names += [(Path(parent) / name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(names, key=os.fsencode)
