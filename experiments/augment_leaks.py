"""Does augmentation leak into samples? For each of its parts, how many samples look as if the part had changed them.

python -m experiments.augment_leaks --runs runs/leaks

The runs below the folders must be of the same data and of the same settings of `augment`, up to its probability: runs with a
probability of 0 are the control. For each part that is on, a small D learns to tell the training images that the part has
changed from those that it has not. A fifth of the images is kept from it, with their near duplicates. The classifier is then
asked about samples.

It is right about some images only: a small change cannot be seen. So the share of samples that it calls changed is corrected by
what it says of images that it was not trained on, changed and unchanged (`share_changed`). The rest of a share may be a fault
of the samples that looks like a change. The runs without augmentation have it, too, and a leak is what the other runs have more.

Prints a table in Markdown.
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sharingan_jax.__main__ import exit_code
from sharingan_jax.config.parse import checked
from sharingan_jax.config.schema import AugmentConfig, Config, Rule
from sharingan_jax.data.sources.load import load_dataset_from_config, load_split_from_config
from sharingan_jax.data.split import split
from sharingan_jax.errors import UserError
from sharingan_jax.gan.augment import PARTS, Augment, build_augment
from sharingan_jax.gan.gan import build_gan
from sharingan_jax.gan.step import scale_images
from sharingan_jax.model.functional import Arrays
from sharingan_jax.reporting.grids import to_u8
from sharingan_jax.run.listing import list_runs
from sharingan_jax.run.load import Run, load_run

SEED = 7
SAMPLES = 500
KEPT = 0.2
"""The share of the images that the classifiers are not trained on."""
DISTINCT = 0.2
"""A classifier whose shares for changed and unchanged images differ by less is not asked: the correction would be a guess."""
WIDTH = 32
BATCH = 50
STEPS = 1500
LEARNING_RATE = 2e-3
NOISE = 3 / 127.5
"""Standard deviation of the noise on a classifier's training images, in [−1, 1], so that a sample's speckle does not decide."""

Classifier = Callable[[np.ndarray], float]
"""The share of images uint8 [N, H, W, C] that it calls changed."""


@dataclass(frozen=True)
class Leaks:
    """The shares that the classifier of each of the `parts` calls changed: of unseen images, and of each run's samples.

    `runs` are the paths and the probabilities of augmentation, in the order of `samples`.
    """

    parts: tuple[str, ...]
    unchanged: tuple[float, ...]
    changed: tuple[float, ...]
    runs: tuple[tuple[str, float], ...]
    samples: tuple[tuple[float, ...], ...]


def share_changed(called: float, *, unchanged: float, changed: float) -> float:
    """Return the share of changed images in a set of which the share `called` is called changed.

    `unchanged` and `changed` are the shares called so of images that are not, and that are. The estimate can be below 0. It is
    NaN if they differ by less than `DISTINCT`. Paper: Forman 2008, "Quantifying Counts and Costs via Classification" (adjusted
    count).
    """
    return (called - unchanged) / (changed - unchanged) if changed - unchanged >= DISTINCT else float("nan")


def measure_leaks(runs: list[Run], *, samples: int = SAMPLES, steps: int = STEPS) -> Leaks:
    """Train a classifier for each part of the augmentation, by `steps` batches, and ask it about `samples` images of each run.

    Raise UserError if there are no runs, if they differ in data or augmentation, or if no part is on.
    """
    checked("samples", samples, int, Rule(at_least=BATCH))
    checked("steps", steps, int, Rule(at_least=1))
    config = _common_config(runs)
    parts = tuple(name for name in PARTS if getattr(config.augment, name))
    if not parts:
        raise UserError(f"{runs[0].path}: augment: expected a part that is on, found none. Known parts: {', '.join(PARTS)}.")
    learned, unseen = _draws(config)
    made = [run.sample(samples, seed=SEED) for run in runs]
    found: list[tuple[float, ...]] = []
    for part in parts:
        augment = build_augment(_only(config.augment, part))
        called = train_detector(config, augment, learned, steps=steps)
        rng = np.random.default_rng(SEED)
        changed = _change(augment, unseen(rng, samples), SEED)
        found.append((called(unseen(rng, samples)), called(changed), *map(called, made)))
    unchanged, changed_shares, *of_runs = zip(*found, strict=True)
    named = tuple((str(run.path), run.config.augment.probability) for run in runs)
    return Leaks(parts, unchanged, changed_shares, named, tuple(of_runs))


def _common_config(runs: list[Run]) -> Config:
    """Return the first run's configuration. Raise UserError if another run's data or augmentation differ, or if there is none."""
    if not runs:
        raise UserError("--runs: expected at least 1 run, found none.")

    def compared(run: Run) -> tuple[object, ...]:
        return run.config.data, replace(run.config.augment, probability=0.0)

    if other := next((run for run in runs if compared(run) != compared(runs[0])), None):
        wanted = f"the settings of `data` and, up to its probability, of `augment` of {runs[0].path}"
        raise UserError(f"{other.path}: expected {wanted}, found others.")
    return runs[0].config


def _only(augment: AugmentConfig, part: str) -> AugmentConfig:
    """Return the settings with no other part than this one."""
    off = {name: type(getattr(augment, name))(0) for name in PARTS if name != part}
    return replace(augment, **off)


Draw = Callable[[np.random.Generator, int], np.ndarray]
"""A number of images uint8 [N, H, W, C], drawn with replacement."""


def _draws(config: Config) -> tuple[Draw, Draw]:
    """Return draws of the training images, turned as they are trained on: of those to learn from, and of those kept."""
    upright, trained = load_split_from_config(config.data).train, load_dataset_from_config(config.data)
    kept_names = set(split(upright, KEPT).held_out.names)
    is_kept = np.array([name in kept_names for name in upright.names])
    indices = np.arange(trained.count)
    kept = is_kept[indices % upright.count]

    def draw(among: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
        return trained.gather(rng.choice(among, count))

    return partial(draw, indices[~kept]), partial(draw, indices[kept])


@partial(jax.jit, static_argnums=0)
def _changed(augment: Augment, images_u8: jax.Array, key: jax.Array) -> jax.Array:
    return augment(scale_images(images_u8), jax.random.split(key, len(images_u8)), 1.0)


def _change(augment: Augment, images_u8: np.ndarray, seed: int) -> np.ndarray:
    """Return images uint8 with every one changed by a random amount, as far as 8 bits hold it: samples have no other values."""
    return to_u8(np.asarray(_changed(augment, images_u8, jax.random.key(seed))))


def train_detector(config: Config, augment: Augment, draw: Draw, *, steps: int = STEPS) -> Classifier:
    """Return a D that was trained to tell images that `augment` has changed from others: 25 of each in a batch.

    `evaluation.classifier` averages over places, and so could not see a shift. This one has the post's architecture, half as
    wide, without norm, at the run's size. Binary cross-entropy, Adam with a cosine schedule, light noise on each image. All is
    drawn from `SEED`.
    """
    disc = replace(config.model.disc, arch="dcgan", width=WIDTH, norm="none", spectral_norm=False, init="he")
    model = replace(config.model, disc=disc, minibatch_std=False, classes=0)
    net = build_gan(replace(config, model=model)).disc
    params, buffers = net.init(jax.random.key(SEED))
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))
    opt = optimizer.init(params)
    is_changed = jnp.arange(BATCH) < BATCH // 2

    @jax.jit
    def update(params: Arrays, opt: optax.OptState, images_u8: jax.Array, key: jax.Array) -> tuple[Arrays, optax.OptState]:
        images = scale_images(images_u8)
        images = images + NOISE * jax.random.normal(key, images.shape)

        def loss(params: Arrays) -> jax.Array:
            logits, _ = net.apply(params, buffers, images, mode="batch")
            return optax.sigmoid_binary_cross_entropy(logits, is_changed.astype(logits.dtype)).mean()

        updates, opt = optimizer.update(jax.grad(loss)(params), opt)
        return optax.apply_updates(params, updates), opt

    @jax.jit
    def score(images_u8: jax.Array) -> jax.Array:
        return net.apply(params, buffers, scale_images(images_u8), mode="batch")[0]

    rng = np.random.default_rng(SEED)
    for step in range(steps):
        images = draw(rng, BATCH)
        images = np.concatenate([_change(augment, images[: BATCH // 2], step), images[BATCH // 2 :]])
        params, opt = update(params, opt, images, jax.random.fold_in(jax.random.key(SEED), step))

    def called(images_u8: np.ndarray) -> float:
        """Return the share called changed, in whole batches."""
        batches = images_u8[: len(images_u8) // BATCH * BATCH].reshape(-1, BATCH, *images_u8.shape[1:])
        return float(np.mean([np.asarray(score(batch)) > 0 for batch in batches]))

    return called


def markdown(found: Leaks) -> str:
    """Return the table: what is called changed, then, for each run, the share of samples that are estimated to be."""
    lines = [f"| | {' | '.join(found.parts)} |", f"|---|{'---|' * len(found.parts)}"]

    def row(name: str, shares: tuple[float, ...]) -> str:
        return f"| {name} | {' | '.join('–' if math.isnan(share) else f'{share:.2f}' for share in shares)} |"

    lines += [row("unseen images, unchanged: called changed", found.unchanged)]
    lines += [row("unseen images, changed: called changed", found.changed)]
    for (path, probability), called in zip(found.runs, found.samples, strict=True):
        pairs = zip(called, found.unchanged, found.changed, strict=True)
        estimates = tuple(share_changed(share, unchanged=no, changed=yes) for share, no, yes in pairs)
        lines.append(row(f"{path}, augment.probability={probability:g}: estimated to be changed", estimates))
    return "\n".join(lines)


def command(arguments: list[str]) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="experiments.augment_leaks", description=__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders with runs below them")
    parser.add_argument("--samples", type=int, default=SAMPLES, help=f"samples of each run; default: {SAMPLES}")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"batches that train each classifier; default: {STEPS}")
    flags = parser.parse_args(arguments)

    def run() -> int:
        runs = [load_run(each.path) for folder in flags.runs for each in list_runs(folder)]
        print(markdown(measure_leaks(runs, samples=flags.samples, steps=flags.steps)))
        return 0

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
