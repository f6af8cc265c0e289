"""Draw images from a trained run and write them: a grid, a folder, an array or a walk between latents."""

import itertools
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

import numpy as np

from sharingan_jax.errors import UserError

if TYPE_CHECKING:
    from sharingan_jax.run.sampling import Sampler

GRIDS = (".png", ".jpg", ".jpeg")
FORMATS = (*GRIDS, ".npy", ".gif", "")
WALK_FRAMES = 12  # Images from one latent to the next: one second of GIF.
SMALLEST_PNG = 10  # A PNG of a photo-like image takes at least a tenth of its pixels' bytes.
MOST_FRAMES = 2400  # of a walk's GIF, which is made in memory: 200 latents


@dataclass(frozen=True)
class Samples:
    """`count` images that were written to `path`, drawn by the generator `origin` from latents float32 [count, nz].

    With batch statistics each of the `groups` has statistics of its own.
    """

    path: Path
    count: int
    latents: np.ndarray
    origin: str
    groups: int


def sample(
    run: "str | Path | Sampler",
    out: str | Path,
    *,
    num: int | None = None,
    seed: int | None = None,
    latents: str | Path | None = None,
    columns: int | None = None,
    interpolate: bool = False,
    step: int | None = None,
    statistics: Literal["batch", "running"] = "batch",
    weights: Literal["raw", "averaged"] | None = None,
    overwrite: bool = False,
) -> Samples:
    """Draw images from a run's folder, or from a loaded sampler, and write them to `out`. The run does not change.

    The name of `out` decides the format: a grid (.png, .jpg), one file per image (a folder, or a name ending in /), float32
    [N, H, W, C] in [−1, 1] (.npy) or a walk from latent to latent (.gif); with `interpolate` every format is such a walk. Arrays
    and folders are written as the images are drawn. Draw `num` images (default 25), or walk between `num` latents (default 6),
    of `seed` (default 0), or take the latents [N, nz] of the file `latents`. `columns` are the images in a row of a grid, by
    default those of the run's grids. `step` chooses a checkpoint, by default the last; `weights` its weights as trained, or
    averaged, by default averaged if the run keeps an average. With `overwrite` the numbered images in a folder are replaced.
    Raise UserError, before anything is drawn, if these contradict each other, if a folder holds files already, or if the result
    would not fit.
    """
    is_folder = str(out).endswith(("/", os.sep))
    out = Path(os.path.expanduser(out))
    ending = "" if is_folder or out.is_dir() else out.suffix.lower()
    if ending not in FORMATS:
        raise UserError(f"--out={out}: expected .png, .jpg, .npy, .gif or a folder's name with / at its end.")
    if ending == "" and out.is_dir() and any(out.iterdir()) and not overwrite:
        raise UserError(f"--out={out}: holds files already. Give a new folder, or --overwrite to replace its numbered images.")
    if ending == "" and (out / "config.json").is_file():
        raise UserError(f"--out={out}: is a run's folder. Give a new folder.")
    walks = interpolate or ending == ".gif"
    for name, value in (("num", num), ("seed", seed)):
        if latents is not None and value is not None:
            raise UserError(f"--{name} with --latents: expected only one of them. Remove --{name} to use the file's latents.")
    if columns is not None and columns < 1:
        raise UserError(f"--columns={columns}: expected at least 1")
    if columns is not None and ending not in GRIDS:
        raise UserError(f"--columns={columns}: expected --out=grid.png, got --out={out}. Leave out --columns.")
    count = num if num is not None else (6 if walks else 25)
    if count < 1 + walks:
        raise UserError(f"--num={count}: expected at least {1 + walks}{', since a walk needs two ends' if walks else ''}")

    from sharingan_jax.devices.compile_cache import keep_compiled

    keep_compiled()

    from sharingan_jax.files import ABANDONED_AFTER, remove_hidden_siblings
    from sharingan_jax.reporting.grids import make_grid, save_image, save_walk_gif, to_u8
    from sharingan_jax.run.load import load_run
    from sharingan_jax.run.sampling import GROUP, Sampler, draw_run_latents, read_latents, walk

    sampler = run if isinstance(run, Sampler) else load_run(run).sampler(step, statistics=statistics, weights=weights)
    if latents is not None:
        given = read_latents(Path(os.path.expanduser(latents)), nz=sampler.nz)
        count = len(given)
    if walks and count < 2:
        raise UserError(f"--latents={latents}: expected at least 2 latents, since a walk needs two ends, got 1")
    _check_size(out, ending, count=count * (WALK_FRAMES if walks else 1), nz=sampler.nz, image_shape=sampler.image_shape)
    z = draw_run_latents(seed or 0, count=count, nz=sampler.nz) if latents is None else given
    if walks:
        z = walk(z, frames=WALK_FRAMES)
    remove_hidden_siblings(out.absolute().parent, of=out.name, older_than=ABANDONED_AFTER)
    groups = _show_progress(sampler.draw_groups(z), count=len(z))
    match ending:
        case ".npy":
            _save_array(out, groups, shape=(len(z), *sampler.image_shape))
        case "":
            _save_folder(out, groups, count=len(z))
        case ".gif":
            save_walk_gif(out, to_u8(np.concatenate(list(groups))))
        case _:
            images = np.concatenate(list(groups))
            save_image(out, make_grid(images, columns=columns or (WALK_FRAMES if walks else sampler.columns)))
    return Samples(out, len(z), z, sampler.origin, groups=-(-len(z) // GROUP))


def _check_size(out: Path, ending: str, *, count: int, nz: int, image_shape: tuple[int, ...]) -> None:
    """Raise UserError, with an estimate, if what is asked for cannot be written or opened again."""
    from PIL import Image

    from sharingan_jax.run.sampling import MOST_BYTES

    height, width, channels = image_shape
    pixels, most = count * height * width, Image.MAX_IMAGE_PIXELS
    if ending in GRIDS and most is not None and pixels > most:
        limit = f"the grid would have {pixels:,} pixels, and Pillow opens at most {most:,}"
        raise UserError(f"--num: {limit}. Draw at most {most // (height * width)}, or write a folder or .npy.")
    if ending == ".gif" and count > MOST_FRAMES:
        latents = f"Walk between at most {MOST_FRAMES // WALK_FRAMES} latents, or write a folder with --interpolate."
        raise UserError(f"--num: the GIF would have {count} frames, expected at most {MOST_FRAMES}. {latents}")
    if 4 * count * nz > MOST_BYTES:
        latents = f"the latents would take {4 * count * nz / 1e9:,.1f} GB, expected at most {MOST_BYTES / 1e9:.1f}"
        raise UserError(f"--num: {latents}. Draw several times, with other seeds.")
    parent = next(folder for folder in (out.absolute().parent, *out.absolute().parents) if folder.exists())
    size, free = 4 * pixels * channels, shutil.disk_usage(parent).free
    if ending == ".npy" and size > free:
        room = f"the array would take {size / 1e9:,.1f} GB, and the disk has {free / 1e9:,.1f} GB left"
        raise UserError(f"--out={out}: {room}. Draw fewer images.")
    if ending == "" and size / 4 / SMALLEST_PNG > free:
        room = f"the images would take more than {size / 4e9 / SMALLEST_PNG:,.1f} GB, and the disk has {free / 1e9:,.1f} GB left"
        raise UserError(f"--out={out}: {room}. Draw fewer images.")


def _show_progress(groups: Iterator[np.ndarray], *, count: int) -> Iterator[np.ndarray]:
    """Yield the groups, with a bar on a terminal."""
    from tqdm import tqdm

    with tqdm(total=count, unit="image", file=sys.stderr, disable=not sys.stderr.isatty(), leave=False) as bar:
        for images in groups:
            yield images
            bar.update(len(images))


def _numbered(folder: Path) -> Iterator[Path]:
    """Yield the images that an earlier sampling wrote: 00000.png, 00001.png and so on, up to the first that is missing."""
    digits = max((len(path.stem) for path in folder.glob("*0.png") if re.fullmatch("0{5,}", path.stem)), default=5)
    for i in itertools.count():
        path = folder / f"{i:0{digits}d}.png"
        if not path.is_file():
            return
        yield path


def _save_array(path: Path, groups: Iterator[np.ndarray], *, shape: tuple[int, ...]) -> None:
    """Write float32 images as one .npy file, as `numpy.save` would, one group after another."""
    from sharingan_jax.files import write_atomically

    def write(file: IO[bytes]) -> None:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for images in groups:
            file.write(images.astype("<f4").tobytes())

    write_atomically(path, write)


def _save_folder(folder: Path, groups: Iterator[np.ndarray], *, count: int) -> None:
    """Write one PNG per image into a hidden folder, and then put them in place of the numbered images in `folder`."""
    from sharingan_jax.files import hidden_sibling, make_folder, name_in_errors
    from sharingan_jax.reporting.grids import as_image, to_u8

    folder = folder.absolute()
    hidden, digits = hidden_sibling(folder), max(5, len(str(count - 1)))
    try:
        make_folder(hidden)
        for i, image in enumerate(image for images in groups for image in to_u8(images)):
            path = hidden / f"{i:0{digits}d}.png"
            with name_in_errors(path):
                as_image(image).save(path)
        make_folder(folder)
        for path in _numbered(folder):
            path.unlink()
        for path in hidden.iterdir():
            path.rename(folder / path.name)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
