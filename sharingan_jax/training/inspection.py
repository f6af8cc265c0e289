"""Look at images before training: what `sharingan-jax data` and `--dry-run` say about them, and what to set."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from sharingan_jax.config.load import ConfigSource, load_config
from sharingan_jax.config.schema import Config
from sharingan_jax.data.dataset import ImageDataset, evenly
from sharingan_jax.data.inspect import (
    Colours,
    DataReport,
    Directions,
    NearDuplicate,
    choose_shown,
    measure_ground,
    measure_sizes,
)
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.sources.files import lies_among, shown
from sharingan_jax.data.sources.load import load_dataset_from_config
from sharingan_jax.data.split import near_pairs
from sharingan_jax.data.turned import TurnedDataset
from sharingan_jax.devices.environment import pin_environment
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.measures.appearance import colour_statistics
from sharingan_jax.evaluation.turns import FREE_BELOW, measure_orientation, soften
from sharingan_jax.files import make_folder, user_path, write_json
from sharingan_jax.reporting.contact_sheet import contact_sheet
from sharingan_jax.reporting.grids import lay_on_white, save_png
from sharingan_jax.training.advice import RECIPE, advise, recipe_settings
from sharingan_jax.training.schedule import make_schedule

REPORT, SHEET = "inspection.json", "contact_sheet.png"
MOST_MEASURED = 2000
"""Images that are measured at most. Near duplicates and directions take time with the square of their number."""
MOST_TURNED = 500
"""Images that are turned at most, to see whether orientation is free."""
MOST_SHOWN = 100
MOST_CLASSES = 20  # on the contact sheet


def inspect_images(
    config: ConfigSource, *, out: Path | str | None = None, say: Callable[[str], object] = lambda line: None
) -> DataReport:
    """Look at the images of `config.data`, all of them, and return what they are like and what to set for them.

    `config` is what `load_config` takes.

    Files that cannot be read are listed and left out. Nothing is written unless `out` is given: then inspection.json with the
    whole report and contact_sheet.png go into this folder. The sheet shows up to 100 images as the network will see them, by
    class if there are classes. This pins the environment, as `train` does. `say` gets a line before a set is downloaded.
    Raise UserError if the images cannot be loaded, or if `out` lies among them: a contact sheet would be an image there.
    """
    config = pin_environment(load_config(config), recorded=0)
    folder = None if out is None else user_path(out, name="out")
    if folder and config.data.path and lies_among(folder, Path(config.data.path)):
        found = f"got {folder} in data.path={config.data.path}, and its contact sheet would be an image there"
        raise UserError(f"out: expected a folder outside of the images, {found}. Give another one.")
    whole = replace(config.data, holdout=0.0, turns=1, mirrors=False, on_bad="skip")
    dataset = load_dataset_from_config(whole, say=say)
    report = inspect_dataset(dataset, config)
    report = replace(report, costs=tuple(_costs(report, config)))
    if folder is not None:
        make_folder(folder)
        write_json(folder / REPORT, asdict(report))
        save_png(folder / SHEET, draw_sheet(dataset))
    return report


def inspect_dataset(dataset: ImageDataset, config: Config) -> DataReport:
    """Return the report on images that are loaded already, without the costs. Turned and mirrored copies are left out."""
    images = dataset.upright if isinstance(dataset, TurnedDataset) else dataset
    measured = images.subset(evenly(images.count, MOST_MEASURED).tolist())
    pixels = lay_on_white(measured.preview(measured.count))  # [N, H, W, 1 or 3]
    found = colour_statistics(pixels)
    report = DataReport(
        place=config.data.path or config.data.name,
        kind=images.kind,
        count=images.count,
        image_shape=images.image_shape,
        digest=images.digest,
        skipped=dict(images.skipped),
        bad=dict(images.bad),
        remarks=images.remarks,
        classes=_class_counts(images),
        sizes=measure_sizes(images.originals, size=config.data.size),
        copies=images.copies,
        measured=measured.count,
        near_duplicates=_near_duplicates(measured),
        colours=Colours(found.mean, found.std, found.saturation, measure_ground(pixels)),
        directions=measure_directions(pixels),
    )
    return replace(report, advice=advise(report, config))


def _near_duplicates(dataset: ImageDataset) -> tuple[NearDuplicate, ...]:
    """Return the pairs that look alike, nearest first, without copies of one file."""
    names, digests = dataset.names, dataset.digests
    return tuple(NearDuplicate(names[i], names[j], far) for i, j, far in near_pairs(dataset) if digests[i] != digests[j])


def measure_directions(images_u8: np.ndarray) -> Directions | None:
    """Return whether images uint8 [N, H, W, 1 or 3] may be turned and mirrored; None for fewer than 3 different images.

    For each image: its distance to the nearest other image, averaged over 23 turned copies of it, divided by that of the image
    as it is. `turned_ratio` is the median of this over the images, and `mirrored_ratio` the same for the mirror image. Turns are
    free up to the ratio 1.25, and so are mirror images (`evaluation/turns.py` says where 1.25 comes from). Distances are taken
    on 32×32 pixels, lightly blurred. Equal images count once, and at most 500 images are turned.
    """
    different = np.unique(images_u8, axis=0)
    if len(different) < 3:
        return None
    found = measure_orientation(soften(different[evenly(len(different), MOST_TURNED)]))
    return Directions(found.ratio, found.mirror_ratio, found.ratio <= FREE_BELOW, found.mirror_ratio <= FREE_BELOW)


def draw_sheet(dataset: ImageDataset) -> np.ndarray:
    """Return the contact sheet of a data set, uint8 [H, W, 3]: about 100 images, by class if there are classes."""
    size, channels = dataset.image_shape[0], dataset.image_shape[2]
    kind = {1: "grey", 3: "colour", 4: "colour and transparency"}[channels]
    counts = [*_class_counts(dataset).values()]
    drawn = []
    for label, indices in choose_shown(dataset.labels, count=dataset.count, most=MOST_SHOWN)[:MOST_CLASSES]:
        whole, name = (dataset.count, "") if label < 0 else (counts[label], f"{shown(dataset.classes[label])}: ")
        drawn.append((f"{name}{len(indices)} of {whole:,} images, {size} pixels, {kind}", dataset.gather(indices)))
    return contact_sheet(drawn)


def _class_counts(dataset: ImageDataset) -> dict[str, int]:
    if dataset.labels is None:
        return {}
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    return dict(zip(dataset.classes, counts.tolist(), strict=True))


def _costs(report: DataReport, config: Config) -> list[str]:
    """Return what training would take on this device, with these settings and with the recipe's: a line for each."""
    from sharingan_jax.devices.estimate import estimate_cost, in_words  # JAX takes a second to import.
    from sharingan_jax.devices.mesh import make_mesh
    from sharingan_jax.devices.trainer import Trainer

    if report.count < 2:
        return []
    lines = []
    recipe = load_config(RECIPE, recipe_settings(report, config))
    for name, each in {"these settings": config, f"the recipe, {RECIPE}": recipe}.items():
        batch = min(each.train.batch_size, report.count)
        variants = each.data.turns * (2 if each.data.mirrors else 1)
        plan = BatchPlan(report.count * variants, batch_size=batch, seed=each.seed, last_batch=each.data.last_batch)
        steps = make_schedule(each, plan).total_steps
        mesh = make_mesh(0, batch_sizes={batch})
        shape = (each.data.size, each.data.size, each.data.channels)
        cost = estimate_cost(Trainer(each, mesh), batch_size=batch, image_shape=shape)
        device = mesh.devices.flat[0]
        took = f"roughly {in_words(steps * cost.step_seconds)} and {cost.memory / 1e9:.1f} GB on this {device.platform}"
        lines.append(f"{name}: {steps:,} steps of {batch} images, {took}")
    return lines
