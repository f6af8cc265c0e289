"""Draw images from a trained run and write them: a grid, a folder, an array, or a walk between latents as a GIF or MP4."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from sharingan_jax.config.parse import checked
from sharingan_jax.config.schema import Rule
from sharingan_jax.errors import UserError
from sharingan_jax.files import ABANDONED_AFTER, remove_hidden_siblings, user_path
from sharingan_jax.run.sample_files import (
    GRIDS,
    MOVIES,
    SCALES,
    WALK_FRAMES,
    check_size,
    read_target,
    save_array,
    save_folder,
    show_progress,
)

if TYPE_CHECKING:
    from sharingan_jax.run.sampling import Sampler

BETWEEN_COLUMNS = 7


@dataclass(frozen=True)
class Samples:
    """`count` images that were written to `path`, drawn by the generator `origin` from latents float32 [count, nz].

    With batch statistics each of the `groups` has statistics of its own. With both kinds of weights there are `count` images of
    each.
    """

    path: Path
    count: int
    latents: np.ndarray
    origin: str
    groups: int


@dataclass(frozen=True)
class _Layout:
    """How latents become images: `latents` of them are needed, and `images` are drawn, `columns` in a row of a grid.

    They are walked through if `walks`, or stand at the `corners` of a grid of latents, by index.
    """

    latents: int
    images: int
    columns: int | None
    walks: bool = False
    corners: tuple[int, ...] = ()

    def apply(self, z: np.ndarray, *, classes: int, signs: int) -> np.ndarray:
        """Return the latents to draw from, float32 [images, nz], for the given ones [latents, nz].

        They end in `classes`. In a walk or between corners the first `signs` numbers get the signs of the first latent, so that
        no image between two is suddenly mirrored.
        """
        from sharingan_jax.run.latents import between, walk, with_signs

        if self.corners or self.walks:
            z = with_signs(z, z[self.corners[0] if self.corners else 0], signs=signs)
        if self.corners:
            assert self.columns is not None
            return between(z[list(self.corners)], rows=self.images // self.columns, columns=self.columns, classes=classes)
        return walk(z, frames=WALK_FRAMES, classes=classes) if self.walks else z


def sample(
    run: "str | Path | Sampler",
    out: str | Path,
    *,
    num: int | None = None,
    seed: int | None = None,
    latents: str | Path | None = None,
    truncation: float | None = None,
    label: int | str | None = None,
    columns: int | None = None,
    scale: int | None = None,
    interpolate: bool = False,
    between: Sequence[int] | None = None,
    step: int | None = None,
    statistics: Literal["batch", "running"] | None = None,
    weights: Literal["raw", "averaged", "both"] | None = None,
    overwrite: bool = False,
) -> Samples:
    """Draw images from a run's folder, or from a loaded sampler, and write them to `out`. The run does not change.

    The name of `out` decides the format: a grid (.png, .jpg), one file per image (a folder, or a name ending in /), float32
    [N, H, W, C] in [−1, 1] (.npy) or a walk from latent to latent and back to the first (.gif, .mp4); with `interpolate` every
    format is such a walk. Arrays, folders and MP4 files are written as the images are drawn.

    - Draw `num` images (default 25), or walk between `num` latents (default 6), of `seed` (default 0), or take the latents
      [N, nz] of the file `latents`, with classes also [N, nz + classes]. `truncation` restricts drawn latents to
      [−truncation, truncation]: see `latents.truncate`.
    - `label` is the class of all images, by name or number, if the run knows classes. By default latents have each class in turn.
    - `statistics` are those of batch norm, by default "batch", and with a `label` "running": among images of one class alone,
      batch statistics would remove what the class changes.
    - `between` are the indices of four such latents, at the corners of a grid of `num` images in `columns` columns (default 7
      columns, as many rows), with latents between them: see `latents.between`.
    - `columns` are the images in a row of a grid, by default those of the run's grids. `scale` (1, 2 or 4) repeats each pixel of
      a grid or of a folder's images so many times in both directions; walks are enlarged to 256 pixels in any case.
    - `step` chooses a checkpoint, by default the last; `weights` its weights as trained, or averaged, by default averaged if the
      run keeps an average. With "both" a grid or a walk shows them side by side.
    - With `overwrite` the numbered images in a folder are replaced.

    Raise UserError, before anything is drawn, if these contradict each other, if a folder holds files already, if the result
    would not fit, or if an MP4 is asked for without the package that writes it.
    """
    path, ending = read_target(out, overwrite=overwrite)
    layout = _layout(ending, num=num, columns=columns, interpolate=interpolate, between=between)
    for name, value in (("num", None if between else num), ("seed", seed), ("truncation", truncation)):
        if latents is not None and value is not None:
            raise UserError(f"`{name}` with `latents`: expected only one of them. Remove `{name}` to use the file's latents.")
    if columns is not None and ending not in GRIDS and not between:
        raise UserError(f"columns={columns}: expected out=grid.png, got out={out}. Leave out `columns`.")
    if scale is not None and scale not in SCALES:
        raise UserError(f"scale={scale}: expected 1, 2 or 4. Use {min(SCALES, key=lambda known: abs(known - scale))}.")
    if scale is not None and ending in (*MOVIES, ".npy"):
        raise UserError(f"scale={scale}: expected out=grid.png or a folder/, got out={out}. Leave out `scale`.")
    if weights == "both" and ending not in (*GRIDS, *MOVIES):
        expected = "expected out=grid.png, walk.gif or walk.mp4, which show both side by side"
        raise UserError(f"weights=both: {expected}, got out={out}. Use raw or averaged.")
    if ending == ".mp4":
        from sharingan_jax.reporting.video import find_ffmpeg

        find_ffmpeg(path)  # Raises now, and not after the images are drawn.

    from sharingan_jax.devices.compile_cache import keep_compiled

    keep_compiled()

    from sharingan_jax.run.latents import check_truncation, draw_run_latents, with_classes
    from sharingan_jax.run.sampling import GROUP, default_statistics, read_latents

    if truncation is not None:
        check_truncation(truncation)
    statistics = statistics or default_statistics(label)
    samplers = _samplers(run, step=step, statistics=statistics, weights=weights)
    first = samplers[0]
    if latents is not None:
        given = read_latents(user_path(latents, name="latents"), nz=first.nz, classes=first.classes)
        layout = _layout_of_file(layout, Path(latents), found=len(given))
    height, width, channels = first.image_shape
    factor = scale or 1
    shape = (height * factor, width * factor * len(samplers), channels)
    check_size(path, ending, count=layout.images, latents=layout.latents, nz=first.width, image_shape=shape)
    if latents is None:
        given = draw_run_latents(seed or 0, count=layout.latents, nz=first.nz, truncation=truncation)
    if given.shape[1] < first.width or label is not None:  # A file may hold the classes too, and `label` replaces them.
        labels = None if label is None else np.full(len(given), first.label_of(label))
        given = with_classes(given[:, : first.nz], classes=first.classes, labels=labels)
    z = layout.apply(given, classes=first.classes, signs=first.signs)
    remove_hidden_siblings(path.absolute().parent, of=path.name, older_than=ABANDONED_AFTER)
    _write(path, ending, samplers, z, columns=layout.columns or first.columns, scale=factor)
    origin = first.origin if len(samplers) == 1 else f"{first.origin}, raw and averaged weights side by side"
    return Samples(path, len(z), z, origin, groups=-(-len(z) // GROUP))


def _layout(ending: str, *, num: int | None, columns: int | None, interpolate: bool, between: Sequence[int] | None) -> _Layout:
    """Return how many latents and images are asked for. Raise UserError if that is impossible."""
    if columns is not None:
        columns = checked("columns", columns, int, Rule(at_least=1))
    if num is not None:
        num = checked("num", num, int, Rule())
    walks = interpolate or ending in MOVIES
    if between is not None:
        if walks:
            raise UserError("between: makes a grid, and a walk is asked for too. Use out=grid.png without `interpolate`.")
        return _layout_between(tuple(between), num=num, columns=columns)
    count = num if num is not None else (6 if walks else 25)
    if count < 1 + walks:
        raise UserError(f"num={count}: expected at least {1 + walks}{', since a walk needs two ends' if walks else ''}")
    if walks:
        return _Layout(count, count * WALK_FRAMES, columns or WALK_FRAMES, walks=True)
    return _Layout(count, count, columns)


def _layout_between(corners: tuple[int, ...], *, num: int | None, columns: int | None) -> _Layout:
    shown = ",".join(map(str, corners))
    if len(corners) != 4 or min(corners) < 0:
        raise UserError(f"between={shown}: expected four indices of latents, counted from 0. Use between=0,1,2,3.")
    columns = columns if columns is not None else BETWEEN_COLUMNS
    count = num if num is not None else columns**2
    if columns < 2:
        raise UserError(f"columns={columns}: expected at least 2 with `between`, which needs four corners")
    if count % columns or count < 2 * columns:
        nearest = max(2, round(count / columns)) * columns
        raise UserError(f"num={count}: expected whole rows of {columns}, at least 2, with `between`. Use num={nearest}.")
    return _Layout(max(corners) + 1, count, columns, corners=corners)


def _layout_of_file(layout: _Layout, path: Path, *, found: int) -> _Layout:
    """Return the layout for the `found` latents of a file. Raise UserError if there are too few."""
    if layout.corners and layout.latents > found:
        shown = ",".join(map(str, layout.corners))
        raise UserError(f"between={shown}: expected indices from 0 to {found - 1}, as latents={path} holds {found} latents")
    if layout.corners:
        return _Layout(found, layout.images, layout.columns, corners=layout.corners)
    if layout.walks and found < 2:
        raise UserError(f"latents={path}: expected at least 2 latents, since a walk needs two ends, got 1")
    return _Layout(found, found * (WALK_FRAMES if layout.walks else 1), layout.columns, walks=layout.walks)


def _samplers(
    run: "str | Path | Sampler",
    *,
    step: int | None,
    statistics: Literal["batch", "running"],
    weights: Literal["raw", "averaged", "both"] | None,
) -> "list[Sampler]":
    """Return the generator, or those with raw and with averaged weights."""
    from sharingan_jax.run.load import load_run
    from sharingan_jax.run.sampling import Sampler

    if isinstance(run, Sampler):
        return [run]
    loaded = load_run(run)
    state = loaded.state(step)
    if weights != "both":
        return [loaded.sampler_of(state, statistics=statistics, weights=weights)]
    averaged = loaded.sampler_of(state, statistics=statistics, weights="averaged")  # First: a run may keep none.
    return [loaded.sampler_of(state, statistics=statistics, weights="raw"), averaged]


def _write(path: Path, ending: str, samplers: "list[Sampler]", z: np.ndarray, *, columns: int, scale: int) -> None:
    """Write the images of latents [N, nz] in the format of `ending`: side by side, if there are two samplers."""
    from sharingan_jax.reporting.grids import enlarge, make_grid, save_image, save_walk_gif, side_by_side, to_u8, walk_frame

    def drawn(sampler: "Sampler") -> Iterator[np.ndarray]:
        return show_progress(sampler.draw_groups(z), count=len(z))

    def frames() -> Iterator[np.ndarray]:
        walks = [(walk_frame(image) for images in drawn(sampler) for image in to_u8(images)) for sampler in samplers]
        return (_labelled(list(of_latent)) for of_latent in zip(*walks, strict=True))

    def _labelled(pictures: list[np.ndarray]) -> np.ndarray:
        return pictures[0] if len(pictures) == 1 else side_by_side(dict(zip(("raw", "averaged"), pictures, strict=True)))

    match ending:
        case ".npy":
            save_array(path, drawn(samplers[0]), shape=(len(z), *samplers[0].image_shape))
        case "":
            save_folder(path, drawn(samplers[0]), count=len(z), scale=scale)
        case ".gif":
            save_walk_gif(path, list(frames()))
        case ".mp4":
            from sharingan_jax.reporting.video import save_walk_mp4

            save_walk_mp4(path, frames())
        case _:
            grids = [make_grid(np.concatenate(list(drawn(sampler))), columns=columns) for sampler in samplers]
            save_image(path, _labelled([enlarge(grid, scale) for grid in grids]))
