"""Project real images into a run's latents, and write the reconstructions with their distances next to references."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

import numpy as np

from sharingan_jax.devices.compile_cache import keep_compiled
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.defaults import PROJECTION_SAMPLES, PROJECTION_STARTS, PROJECTION_STEPS
from sharingan_jax.files import make_folder, user_path, write_atomically, write_json

if TYPE_CHECKING:
    from sharingan_jax.config.schema import DataConfig
    from sharingan_jax.gan.state import NetState
    from sharingan_jax.run.load import Run

FORMAT = 1
GROUP = 8
"""Images that descend in one program, each from all of its starts."""
DRAWN = 100
"""Random samples that are drawn at once."""
TRAINING = 4
"""Training images that are projected for comparison."""
COLUMNS = 8
TALL = 128  # pixels a side of an image in the sheet, about


@dataclass(frozen=True)
class ProjectedImage:
    """One image's projection. `distance` is the sum of `pixels` and `features` (`projection.distance`).

    `nearest_sample` is the distance of the nearest of the random samples, and `sample` its index. `length` is ‖z‖² / nz of the
    latent found, which is 1 for the usual latent.
    """

    name: str
    distance: float
    pixels: float
    features: float
    nearest_sample: float
    sample: int
    length: float


@dataclass(frozen=True)
class Projection:
    """The projections of `images`, and of some `training` images of the run for comparison, with how they were made.

    `latents` are float32 [N, nz], and `reconstructions` uint8 [N, H, W, C], of `images` in their order. `note` says why there are
    no training images, or is "". `folder` is where everything was written, or "".
    """

    run: str
    origin: str
    seed: int
    starts: int
    steps: int
    samples: int
    images: tuple[ProjectedImage, ...]
    training: tuple[ProjectedImage, ...]
    note: str
    latents: np.ndarray = field(compare=False, repr=False)
    reconstructions: np.ndarray = field(compare=False, repr=False)
    folder: str = field(default="", compare=False)
    format: int = FORMAT


def project(
    run: "Run | Path | str",
    images: Path | str | np.ndarray,
    out: Path | str | None = None,
    *,
    step: int | None = None,
    weights: Literal["raw", "averaged"] | None = None,
    seed: int = 0,
    starts: int = PROJECTION_STARTS,
    steps: int = PROJECTION_STEPS,
    samples: int = PROJECTION_SAMPLES,
    stream: TextIO | None = None,
) -> Projection:
    """Find, for each of the images, the latent whose image comes nearest to it, and say how near. The run does not change.

    `images` are a folder, an archive, an array or one image file, prepared as the run's own images are, or uint8 [N, H, W, C].
    Of `samples` random samples of `seed` the `starts` nearest ones are taken, and from each of them Adam makes `steps` steps on
    the latent (`projection.descend`). G uses the running statistics of batch norm, so that an image depends on its own latent
    alone. The same call gives the same bits.

    If the run knows classes, the samples are of each class in turn, and a latent keeps the class of its start.

    Four training images of the run are projected too: a small distance to an image means little if training images are not
    nearer. With `out`, a new or empty folder, write latents.npy [N, nz], which `sample` reads, projection.json and
    projection.png. Progress goes to `stream` (default: standard output). Raise UserError.
    """
    for name, value, most in (("starts", starts, samples), ("steps", steps, 100_000), ("samples", samples, 100_000)):
        if not 1 <= value <= most:
            raise UserError(f"{name}={value}: expected 1 to {most}. Use {min(max(value, 1), most)}.")
    folder = user_path(out, name="out") if out is not None else None
    if folder is not None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"out={folder}: exists and is not an empty folder. Give a new folder.")
        make_folder(folder)  # Raises now, and not after minutes, if it cannot be made.
    keep_compiled()

    from sharingan_jax.gan.ema import generator_of
    from sharingan_jax.reporting.grids import to_u8
    from sharingan_jax.run.latents import draw_run_latents
    from sharingan_jax.run.load import load_run

    loaded = load_run(run) if isinstance(run, str | Path) else run
    names, given = _load_images(images, loaded.config.data)
    state = loaded.state(step)
    model = loaded.config.model
    z = draw_run_latents(seed, count=samples, nz=model.nz, classes=model.classes)
    training, note = _training_images(loaded)
    kind = loaded.chosen_weights(state, weights)
    everything = np.concatenate([given, *training.values()]) if training else given
    print(
        f"projecting {len(given)} images and {len(everything) - len(given)} training images:"
        f" {starts} of {samples} samples each, {steps} steps",
        file=stream or sys.stdout,
        flush=True,
    )
    latents, found = _project(
        loaded, generator_of(state, weights=kind), z, everything, [*names, *training], starts=starts, steps=steps
    )
    sampler = loaded.sampler_of(state, statistics="running", weights=kind)
    drawn = to_u8(sampler.draw(latents))
    count = len(given)
    projection = Projection(
        run=str(loaded.path),
        origin=sampler.origin,
        seed=seed,
        starts=starts,
        steps=steps,
        samples=samples,
        images=tuple(found[:count]),
        training=tuple(found[count:]),
        note=note,
        latents=latents[:count],
        reconstructions=drawn[:count],
        folder=str(folder) if folder else "",
    )
    if folder is not None:
        _write(folder, projection, everything, drawn)
    return projection


def describe(projection: Projection) -> str:
    """Return a projection as a table for a terminal."""
    rows = [*projection.images, *projection.training]
    names = [f"training image {of.name}" if i >= len(projection.images) else of.name for i, of in enumerate(rows)]
    width = max(len("image"), *map(len, names))
    lines = [f"{'image':<{width}}  distance  nearest of {projection.samples} samples  pixels  features  length"]
    for name, of in zip(names, rows, strict=True):
        nearest = f"{of.nearest_sample:.4f} (no. {of.sample})"
        lines.append(
            f"{name:<{width}}  {of.distance:8.4f}  {nearest:>{len(f'nearest of {projection.samples} samples')}}"
            f"  {of.pixels:6.4f}  {of.features:8.4f}  {of.length:6.2f}"
        )
    lines += [f"note: {projection.note}"] if projection.note else []
    lines += [f"look at {projection.folder}: projection.png, projection.json, latents.npy"] if projection.folder else []
    return "\n".join([f"{projection.run}, {projection.origin}", *lines])


def _project(
    run: "Run", gen: "NetState", z: np.ndarray, images_u8: np.ndarray, names: Sequence[str], *, starts: int, steps: int
) -> tuple[np.ndarray, list[ProjectedImage]]:
    """Return the latents float32 [T, nz] found for images uint8 [T, H, W, C], and how near they are. z are random latents."""
    import jax

    from sharingan_jax.evaluation.projection import descend_from_all, distances_to_samples, nearest_starts
    from sharingan_jax.gan.step import sample_images
    from sharingan_jax.model.symmetry import signs_of
    from sharingan_jax.run.sample_files import show_progress

    def with_generator(function, gen: "NetState", *arrays: jax.Array, **options: int):  # type: ignore[no-untyped-def]
        with jax.default_matmul_precision(run.config.train.precision):
            return function(lambda z: sample_images(run.gan, gen, z, statistics="running"), *arrays, **options)

    classes, signs = run.config.model.classes, signs_of(run.config)
    compare = jax.jit(partial(with_generator, distances_to_samples))
    lower = jax.jit(partial(with_generator, partial(descend_from_all, steps=steps, classes=classes, signs=signs)))
    targets = images_u8.astype(np.float32) / np.float32(127.5) - np.float32(1)
    parts = [compare(gen, z[first : first + DRAWN], targets) for first in range(0, len(z), DRAWN)]
    to_samples = np.concatenate([np.asarray(part.total) for part in parts], axis=1)  # [T, N]
    first_latents = nearest_starts(to_samples, z, count=starts)
    latents, pixels, features = np.empty((len(targets), z.shape[1]), np.float32), np.empty(len(targets)), np.empty(len(targets))
    for chosen in show_progress(_groups(len(targets)), count=len(targets)):
        lowered, near = lower(gen, first_latents[chosen], targets[chosen])
        latents[chosen], pixels[chosen], features[chosen] = lowered, near.pixels, near.features
    found = [
        ProjectedImage(
            name=name,
            distance=float(pixels[i]) + float(features[i]),
            pixels=float(pixels[i]),
            features=float(features[i]),
            nearest_sample=float(to_samples[i].min()),
            sample=int(to_samples[i].argmin()),
            length=float(np.mean(latents[i, : run.config.model.nz].astype(np.float64) ** 2)),
        )
        for i, name in enumerate(names)
    ]
    return latents, found


def _groups(count: int) -> list[np.ndarray]:
    """Return the indices of each group of images, all groups of one size: the last one is filled with the last image."""
    size = min(GROUP, count)
    return [np.minimum(np.arange(first, first + size), count - 1) for first in range(0, count, size)]


def _load_images(images: Path | str | np.ndarray, data: "DataConfig") -> tuple[list[str], np.ndarray]:
    """Return the names and pixels uint8 [N, size, size, C] of images that are prepared as `config.data` says."""
    from sharingan_jax.data.sources.load import load_given_images

    if isinstance(images, np.ndarray):
        shape = (data.size, data.size, data.channels)
        if images.ndim != 4 or images.shape[1:] != shape or images.dtype != np.uint8 or not len(images):
            expected = ", ".join(map(str, shape))
            raise UserError(f"images: expected uint8 [N, {expected}], got {images.dtype} {list(images.shape)}.")
        return [str(i) for i in range(len(images))], images
    dataset = load_given_images(images, data, name="images")
    return list(dataset.names), dataset.preview(dataset.count)


def _training_images(run: "Run") -> tuple[dict[str, np.ndarray], str]:
    """Return some training images by name, each uint8 [1, H, W, C], and "": or none, and why they cannot be had."""
    from sharingan_jax.data.sources.load import load_split_from_config
    from sharingan_jax.evaluation.evaluate import check_images

    try:
        split = load_split_from_config(run.config.data, fetch=False)
        check_images(run, split)
    except UserError as error:
        return {}, f"no training image was projected for comparison: {error}"
    chosen = sorted({round(i) for i in np.linspace(0, split.train.count - 1, TRAINING)})
    return {split.train.names[i]: split.train.gather([i]) for i in chosen}, ""


def _write(folder: Path, projection: Projection, images_u8: np.ndarray, drawn_u8: np.ndarray) -> None:
    """Write the files of a projection of images uint8 [T, H, W, C] with reconstructions of the same shape, both with training."""
    from sharingan_jax.reporting.grids import save_png

    save_png(folder / "projection.png", _sheet(projection, images_u8, drawn_u8))
    write_atomically(folder / "latents.npy", partial(np.save, arr=projection.latents))
    record = {name: value for name, value in asdict(projection).items() if name not in ("latents", "reconstructions", "folder")}
    write_json(folder / "projection.json", record)


def _sheet(projection: Projection, images_u8: np.ndarray, drawn_u8: np.ndarray) -> np.ndarray:
    """Return a sheet uint8 [H, W, 3]: each image above its reconstruction, under its distance."""
    from sharingan_jax.reporting.grids import add_caption, as_rgb, enlarge, lay_on_white

    count, factor = len(projection.images), max(1, TALL // images_u8.shape[1])
    columns = [
        add_caption(as_rgb(np.concatenate([enlarge(image, factor), enlarge(drawn, factor)])), f"{of.distance:.3f}")
        for of, image, drawn in zip(
            (*projection.images, *projection.training), lay_on_white(images_u8), lay_on_white(drawn_u8), strict=True
        )
    ]
    sections = {"images above their projections, with the distance": columns[:count], "training images": columns[count:]}
    parts = []
    for title, blocks in sections.items():
        for first in range(0, len(blocks), COLUMNS):
            row = [np.pad(block, ((0, 8), (4, 4), (0, 0)), constant_values=255) for block in blocks[first : first + COLUMNS]]
            body = np.concatenate(row, axis=1)
            parts.append(body if first else add_caption(body, title))
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 8), (0, width - part.shape[1]), (0, 0)), constant_values=255) for part in parts])
