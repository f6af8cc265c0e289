"""Files of samples: what fits, and arrays and folders that are written as the images are drawn."""

import itertools
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from sharingan_jax.errors import UserError
from sharingan_jax.files import user_path

GRIDS = (".png", ".jpg", ".jpeg")
MOVIES = (".gif", ".mp4")
FORMATS = (*GRIDS, *MOVIES, ".npy", "")
SCALES = (1, 2, 4)
WALK_FRAMES = 12  # Images from one latent to the next: one second of GIF.
SMALLEST_PNG = 10  # A PNG of a photo-like image takes at least a tenth of its pixels' bytes.
MOST_FRAMES = 2400  # of a walk's GIF, which is made in memory: 200 latents


def read_target(out: str | Path, *, overwrite: bool = False) -> tuple[Path, str]:
    """Return where samples go and the ending that says how, one of FORMATS: "" is a folder.

    Raise UserError if there is no such format, or if a folder holds files already and `overwrite` does not allow it, or they are
    not those of one sampling.
    """
    is_folder = str(out).endswith(("/", os.sep))
    path = user_path(out, name="out")
    ending = "" if is_folder or path.is_dir() else path.suffix.lower()
    if ending not in FORMATS:
        raise UserError(f"out={out}: expected .png, .jpg, .npy, .gif, .mp4 or a folder's name with / at its end.")
    if ending == "" and path.is_dir() and any(path.iterdir()) and not overwrite:
        raise UserError(f"out={path}: holds files already. Give a new folder, or `overwrite` to replace its numbered images.")
    if ending == "" and (path / "config.json").is_file():
        raise UserError(f"out={path}: is a run's folder. Give a new folder.")
    if ending == "" and path.is_dir():
        _numbered(path)  # Raises now, and not after the images are drawn.
    return path, ending


def check_size(out: Path, ending: str, *, count: int, latents: int, nz: int, image_shape: tuple[int, ...]) -> None:
    """Raise UserError, with an estimate, if `count` images from so many latents cannot be written or opened again."""
    from PIL import Image

    from sharingan_jax.run.sampling import MOST_BYTES

    height, width, channels = image_shape
    pixels, most = count * height * width, Image.MAX_IMAGE_PIXELS
    if ending in GRIDS and most is not None and pixels > most:
        limit = f"the grid would have {pixels:,} pixels, and Pillow opens at most {most:,}"
        raise UserError(f"num: {limit}. Draw at most {most // (height * width)}, or write a folder or .npy.")
    if ending == ".gif" and count > MOST_FRAMES:
        fewer = f"Walk between at most {MOST_FRAMES // WALK_FRAMES} latents, or write an .mp4, or a folder with `interpolate`."
        raise UserError(f"num: the GIF would have {count} frames, expected at most {MOST_FRAMES}. {fewer}")
    size = 4 * max(count, latents) * nz
    if size > MOST_BYTES:
        needed = f"the latents would take {size / 1e9:,.1f} GB, expected at most {MOST_BYTES / 1e9:.1f}"
        raise UserError(f"num: {needed}. Draw several times, with other seeds.")
    parent = next(folder for folder in (out.absolute().parent, *out.absolute().parents) if folder.exists())
    size, free = 4 * pixels * channels, shutil.disk_usage(parent).free
    if ending == ".npy" and size > free:
        room = f"the array would take {size / 1e9:,.1f} GB, and the disk has {free / 1e9:,.1f} GB left"
        raise UserError(f"out={out}: {room}. Draw fewer images.")
    if ending == "" and size / 4 / SMALLEST_PNG > free:
        room = f"the images would take more than {size / 4e9 / SMALLEST_PNG:,.1f} GB, and the disk has {free / 1e9:,.1f} GB left"
        raise UserError(f"out={out}: {room}. Draw fewer images.")


def show_progress(groups: Iterable[np.ndarray], *, count: int) -> Iterator[np.ndarray]:
    """Yield the groups, with a bar on a terminal."""
    from tqdm import tqdm

    with tqdm(total=count, unit="image", file=sys.stderr, disable=not sys.stderr.isatty(), leave=False) as bar:
        for images in groups:
            yield images
            bar.update(len(images))


def _numbered(folder: Path) -> list[Path]:
    """Return the images that an earlier sampling wrote: 00000.png, 00001.png and so on, all with as many digits.

    Raise UserError if one between them is missing: those after it may be a person's own.
    """
    digits = max((len(path.stem) for path in folder.glob("*0.png") if re.fullmatch("0{5,}", path.stem)), default=0)
    places = (folder / f"{i:0{digits}d}.png" for i in itertools.count())
    found = list(itertools.takewhile(Path.is_file, places)) if digits else []
    others = sorted(path for path in folder.glob("*.png") if len(path.stem) == digits and path.stem.isdecimal())
    if len(found) < len(others):
        missing, later = f"{len(found):0{digits}d}.png", others[len(found)].name
        raise UserError(
            f"out={folder}: expected the images of one sampling, but {missing} is missing and {later} is there."
            " Remove what should not stay, or give a new folder."
        )
    return found


def save_array(path: Path, groups: Iterator[np.ndarray], *, shape: tuple[int, ...]) -> None:
    """Write float32 images as one .npy file, as `numpy.save` would, one group after another."""
    from sharingan_jax.files import write_atomically

    def write(file: IO[bytes]) -> None:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for images in groups:
            file.write(images.astype("<f4").tobytes())

    write_atomically(path, write)


def save_folder(folder: Path, groups: Iterator[np.ndarray], *, count: int, scale: int = 1) -> None:
    """Write one PNG per image into a hidden folder, and then put them in place of the numbered images in `folder`.

    Each pixel is repeated `scale` times in both directions.
    """
    from sharingan_jax.files import hidden_sibling, make_folder, name_in_errors
    from sharingan_jax.reporting.grids import as_image, enlarge, to_u8

    folder = folder.absolute()
    hidden, digits = hidden_sibling(folder), max(5, len(str(count - 1)))
    try:
        make_folder(hidden)
        for i, image in enumerate(image for images in groups for image in to_u8(images)):
            path = hidden / f"{i:0{digits}d}.png"
            with name_in_errors(path):
                as_image(enlarge(image, scale)).save(path)
        make_folder(folder)
        for path in _numbered(folder):
            path.unlink()
        for path in hidden.iterdir():
            path.rename(folder / path.name)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
