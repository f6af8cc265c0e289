"""Evaluate a run, or images from any other tool: quality, diversity and memorisation, next to controls."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

import numpy as np

from sharingan_jax.config.parse import checked
from sharingan_jax.config.schema import Rule
from sharingan_jax.devices.compile_cache import keep_compiled
from sharingan_jax.devices.environment import pin_jax
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.defaults import ALWAYS, SAMPLES
from sharingan_jax.evaluation.measures.collapse import best_step
from sharingan_jax.files import make_folder, user_path
from sharingan_jax.run.manifest import labels_digest
from sharingan_jax.run.metrics import read_metrics

if TYPE_CHECKING:
    from sharingan_jax.config.schema import Config, DataConfig
    from sharingan_jax.data.dataset import ImageDataset
    from sharingan_jax.data.split import Split
    from sharingan_jax.evaluation.judge import Evaluation, Judge
    from sharingan_jax.gan.ema import Weights
    from sharingan_jax.run.load import Run

LATENTS_SEED = 0

NO_HELD_OUT = (
    "the run trains on all {count} images, so nothing is held out: figures against training images reward copies."
    " Set data.holdout=0.2 in a new run for a fair one."
)
TOO_FEW_HELD_OUT = (
    "data.holdout={holdout:g} holds out {count} of {all} images, and KID needs at least {fewest}: none is used, so figures"
    " against training images reward copies. Set a larger data.holdout in a new run for a fair one."
)
DRAWN = "the held-out images are {count} emblems that are drawn after the {trained} of the data set: the run saw none of them."


def evaluate(
    run: "Run | Path | str",
    *,
    step: "int | Literal['last', 'best', 'all']" = "last",
    features: Sequence[str] = ALWAYS,
    samples: int = SAMPLES,
    out: Path | str | None = None,
    stream: TextIO | None = None,
) -> "list[Evaluation]":
    """Evaluate checkpoints of a run, write everything below `out` (default: RUN/evaluation), and return one evaluation each.

    `step` is a checkpoint, "last", "best" (the one that `checkpoint.best` chose) or "all". `samples` images are drawn from fixed
    latents, the same for every run with the same `model.nz`, and rounded to uint8. They are compared with the training
    images, and with held-out ones, in each of the feature spaces (`features.make_spaces`). Held-out images are those of
    `data.holdout`, or emblems that the run has not seen if it trains on all emblems. Progress goes to `stream` (default:
    standard output). Raise UserError.
    """
    check_samples(samples)
    features = feature_names(features)
    keep_compiled()

    from sharingan_jax.evaluation.judge import Judge
    from sharingan_jax.run.load import Run, load_run

    loaded = run if isinstance(run, Run) else load_run(user_path(run, name="run"))
    steps = _steps(loaded, step)
    split, note = load_reference(loaded.config.data)
    check_images(loaded, split)
    root = user_path(out, name="out") if out is not None else loaded.path / "evaluation"
    make_folder(root)  # Raises now, and not after minutes, if it cannot be made.
    sets, place = row_count(loaded.config) * len(steps), place_of(loaded.config.data)
    with Judge(split, features, samples=samples, sets=sets, stream=stream or sys.stdout, place=place) as judge:
        return [evaluate_step(loaded, at, judge, note, root / folder_name(at)) for at in steps]


def evaluate_images(
    images: Path | str,
    reference: Path | str,
    *,
    held_out: Path | str | None = None,
    size: int = 64,
    features: Sequence[str] = ALWAYS,
    out: Path | str | None = None,
    stream: TextIO | None = None,
) -> "Evaluation":
    """Evaluate a folder of images from any tool against a folder of real ones (their training images), as `evaluate` does.

    Both have at least 8 images. `reference` may be "emblems". `held_out` is a folder of at least 3 real images that were not
    trained on: none of them may have the pixels of a training image. Images are resized and cropped to `size` pixels, at least
    11, as for training. Results go to `out`, if given. Raise UserError.
    """
    features = feature_names(features)
    keep_compiled()

    from sharingan_jax.data.sources.load import load_dataset
    from sharingan_jax.data.split import Split
    from sharingan_jax.evaluation.judge import FEWEST, FEWEST_HELD_OUT, GIVEN, Judge
    from sharingan_jax.evaluation.panel import LEAST_SIDE

    if checked("size", size, int, Rule()) < LEAST_SIDE:
        raise UserError(f"size={size}: expected at least {LEAST_SIDE} pixels a side, as the measures need. Use 64.")

    def load(place: Path | str, name: str) -> "ImageDataset":
        try:
            return load_dataset("emblems" if str(place) == "emblems" else Path(place), size=size)
        except UserError as error:
            raise UserError(str(error).replace("data.path", name).replace("data.size", "size")) from None

    given, train = load(images, "images"), load(reference, "reference")
    unseen = load(held_out, "held_out") if held_out is not None else train.subset(())
    if held_out is not None and unseen.count < FEWEST_HELD_OUT:
        got = f"expected at least {FEWEST_HELD_OUT} images, as KID needs, got {unseen.count}"
        raise UserError(f"held_out={held_out}: {got}. Add images, or leave it out.")
    if copies := _shared_images(unseen, train):
        held, trained = next(iter(copies.items()))
        raise UserError(
            f"held_out={held_out}: expected images that were not trained on, but {held} equals {trained} in"
            f" reference={reference} ({len(copies)} of {unseen.count} images do). Remove them from one of the two folders."
        )
    if given.count < FEWEST:
        raise UserError(f"images={images}: expected at least {FEWEST} images, got {given.count}. Fewer measure nothing.")
    folder = user_path(out, name="out") if out is not None else None
    if folder is not None:
        make_folder(folder)
    note = "" if unseen.count else "no held-out images were given: figures against training images reward copies."
    split, place = Split(train, unseen), f"reference={reference}"
    with Judge(split, features, samples=given.count, sets=1, stream=stream or sys.stdout, place=place) as judge:
        return judge.judge(
            {GIVEN: given.preview(given.count)},
            subject=str(images),
            step=None,
            digest=given.digest,
            note=note,
            folder=folder,
        )


def _shared_images(some: "ImageDataset", others: "ImageDataset") -> dict[str, str]:
    """Return the images of `some` whose pixels, as uint8 [H, W, C], equal those of one in `others`: name -> name.

    Files with equal bytes have equal pixels. Files that differ in format or metadata alone have equal pixels too.
    """
    from sharingan_jax.data.dataset import array_digests

    there = dict(zip(array_digests(others.preview(others.count)), others.names, strict=True))
    digests = array_digests(some.preview(some.count))
    return {name: there[digest] for name, digest in zip(some.names, digests, strict=True) if digest in there}


def check_samples(samples: int) -> None:
    """Raise UserError if this number of samples cannot be evaluated."""
    if type(samples) is not int or not 100 <= samples <= 100_000:
        raise UserError(f"samples={samples}: expected a whole number from 100 to 100000. Use {SAMPLES}.")


def feature_names(features: Sequence[str] | str) -> tuple[str, ...]:
    """Return the names of feature spaces; one may be given alone. Raise UserError if there is none, or for something else."""
    names = (features,) if isinstance(features, str) else features
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"features={features!r}: expected names of feature spaces, such as {', '.join(ALWAYS)}.")
    return tuple(names)


def check_features(names: Sequence[str]) -> None:
    """Raise UserError if the name or the file of a feature space is wrong.

    Inception's weights are loaded only if there is no other space, since an evaluation leaves this one out without them.
    """
    pin_jax()

    from sharingan_jax.evaluation.features import make_spaces
    from sharingan_jax.evaluation.turns import UNTURNED

    for name in names:
        kind, _, weights = name.partition(":")
        if kind == "inception" and weights and not Path(weights).expanduser().is_file():
            raise UserError(f"features={name}: expected a file with the weights of FID's Inception, found none.")
    light = [name for name in names if name != "aligned" and name.partition(":")[0] != "inception"]
    if "aligned" not in names and not light:
        light = list(names)
    make_spaces(light, train_u8=np.zeros((1, 1, 1, 3), np.uint8), turns=UNTURNED)


def load_reference(data: "DataConfig", *, fetch: bool = True) -> "tuple[Split, str]":
    """Return the training images and the images to judge by, and a note on where the latter come from. Raise UserError.

    `fetch` is that of `load_dataset`. If the run holds out too few images for KID, the split has none of them, and the note says
    so.
    """
    from sharingan_jax.data.sources.emblems import emblem_dataset
    from sharingan_jax.data.sources.load import load_split_from_config
    from sharingan_jax.data.split import Split
    from sharingan_jax.evaluation.judge import FEWEST_HELD_OUT

    split = load_split_from_config(data, fetch=fetch)
    held_out = split.held_out.count
    if 0 < held_out < FEWEST_HELD_OUT:
        numbers = {"holdout": data.holdout, "count": held_out, "all": held_out + split.train.count, "fewest": FEWEST_HELD_OUT}
        return Split(split.train, split.held_out.subset(())), TOO_FEW_HELD_OUT.format(**numbers)
    if held_out:
        return split, ""
    if data.source == "emblems":
        unseen = emblem_dataset(size=data.size, channels=data.channels, first=split.train.count)
        return Split(split.train, unseen), DRAWN.format(count=unseen.count, trained=split.train.count)
    return split, NO_HELD_OUT.format(count=split.train.count)


def check_images(run: "Run", split: "Split") -> None:
    """Raise UserError if the training images are not those that the run recorded."""
    recorded, data = run.manifest.data, run.config.data
    if recorded is not None and split.train.digest != recorded.digest:
        raise UserError(f"{place_of(data)}: these are not the images that {run.path} was trained on. Put those back.")
    if run.data is not None and labels_digest(run.config, split.train) != run.data.labels:
        raise UserError(f"{place_of(data)}: these images have other classes than when {run.path} was trained. Put those back.")


def place_of(data: "DataConfig") -> str:
    """Return the setting that says where a run's images are, for errors: `data.path=FOLDER`, or `data.source=emblems`."""
    return f"data.path={data.path}" if data.path else f"data.source={data.source}"


def folder_name(step: int) -> str:
    """Return the name of the folder with a checkpoint's evaluation."""
    return f"step_{step:06d}"


def row_count(config: "Config") -> int:
    """Return the number of sets of samples that are evaluated at each step of a run: two if it keeps averaged weights."""
    return 2 if config.train.ema_half_life else 1


def _steps(run: "Run", step: "int | str") -> list[int]:
    if not run.steps:
        run.state()  # Raises, and says when the first checkpoint comes.
    match step:
        case "all":
            return list(run.steps)
        case "last":
            return [run.steps[-1]]
        case "best":
            by = run.config.checkpoint.best
            best = best_step(read_metrics(run.folder), run.steps, by=by)
            if best is None:
                reason = f"checkpoint.best={by} chose no checkpoint of this run" if by else "the run has no checkpoint.best"
                raise UserError(f"step=best: {reason}. Give a step.")
            return [best]
        case int():
            run.state(step)  # Raises if there is no such checkpoint, before anything is measured.
            return [step]
    raise UserError(f"step={step}: expected a number, last, best or all.")


def classes_in_shares(labels: np.ndarray, count: int) -> np.ndarray:
    """Return `count` classes in the shares of `labels` int [N], in an order that is drawn, always the same one.

    Drawn, so that images which batch norm sees together are of mixed classes, as in training.
    """
    return np.resize(np.random.default_rng(LATENTS_SEED).permutation(labels), count)


class NotFiniteError(UserError):
    """A checkpoint's G draws values that are not finite, so its samples cannot be measured."""


def _finite(images: np.ndarray, run: "Run", step: int) -> np.ndarray:
    if not np.isfinite(images).all():
        raise NotFiniteError(f"{run.path}: at step {step} G draws values that are not finite. Evaluate an earlier step.")
    return images


def evaluate_step(run: "Run", step: int, judge: "Judge", note: str, folder: Path) -> "Evaluation":
    """Evaluate one checkpoint with a judge that was made for the run's images, and write the results into `folder`.

    Raise NotFiniteError if G draws NaN or infinity, and UserError if a feature function fails.
    """
    from sharingan_jax.evaluation.judge import AVERAGED, RAW
    from sharingan_jax.gan.state import digest
    from sharingan_jax.reporting.grids import to_u8
    from sharingan_jax.run.latents import draw_run_latents

    state = run.state(step)
    model = run.config.model
    labels = classes_in_shares(judge.labels, judge.samples) if model.classes and judge.labels is not None else None
    z = draw_run_latents(LATENTS_SEED, count=judge.samples, nz=model.nz, classes=model.classes, labels=labels)
    kinds: tuple[tuple[str, Weights], ...] = ((RAW, "raw"), (AVERAGED, "averaged"))
    rows = {}
    for name, weights in kinds[: row_count(run.config)]:
        sampler = run.sampler_of(state, weights=weights)
        rows[name] = np.concatenate([to_u8(_finite(images, run, step)) for images in sampler.draw_groups(z)])
    subject = f"{run.path}, step {step}"
    return judge.judge(rows, subject=subject, step=step, digest=digest(state), note=note, folder=folder, asked=labels)
