"""Does D see what gives samples away, does it know its training images by heart, or does it only see how varied a batch is?

python -m experiments.disc_scores --runs runs/my_crisp

For the last checkpoint of each run below the folders: the mean and the standard deviation of D's logits for training images, as
they were trained on (turned, but without augmentation), for held-out images, and for samples of both kinds of weights. Prints a
table in Markdown. Its last column is the share of D's lead that is overfitting, r_v in Karras et al. 2020, "Training Generative
Adversarial Networks with Limited Data", equation 1: (training − held-out) / (training − samples). It is 0 if D scores unseen
images as it scores those that it was trained on, and 1 if it scores them as it scores samples.

Each kind is scored in batches of its own. With `model.minibatch_std` D also sees how varied a batch is. "among training images"
is for samples of the weights that D was trained against, each in the place of one image of a training batch: what is left of D's
lead there is what it sees in single images.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from sharingan_jax.__main__ import exit_code
from sharingan_jax.config.parse import checked
from sharingan_jax.config.schema import Rule
from sharingan_jax.data.sources.load import load_dataset_from_config
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.evaluate import load_reference
from sharingan_jax.gan.losses import logits_of_images
from sharingan_jax.gan.state import TrainState
from sharingan_jax.gan.step import scale_images
from sharingan_jax.run.listing import list_runs
from sharingan_jax.run.load import Run, load_run

SEED = 7
IMAGES = 200


@dataclass(frozen=True)
class Scores:
    """D's logits float32 [N] of each kind of image. `averaged` is None if the run keeps no averaged weights.

    `among` are samples again, each in the place of one image of a batch of training images.
    """

    run: str
    step: int
    training: np.ndarray
    held_out: np.ndarray
    samples: np.ndarray
    among: np.ndarray
    averaged: np.ndarray | None

    @property
    def overfitting(self) -> float:
        """Return r_v of Karras et al. 2020, equation 1, with samples of the weights that D was trained against."""
        lead = float(self.training.mean() - self.samples.mean())
        return float(self.training.mean() - self.held_out.mean()) / lead if lead else float("nan")


def measure_scores(run: Run, *, images: int = IMAGES) -> Scores:
    """Score up to `images` images of each kind with D of the run's last checkpoint.

    Raise UserError if nothing is held out, if there are fewer images than a batch, or if the run's networks know classes.
    """
    config = run.config
    batch = config.train.batch_size
    checked("images", images, int, Rule(at_least=batch))
    if config.model.classes:
        raise UserError(f"{run.path}: model.classes={config.model.classes}: expected 0, since D's score depends on the class.")
    split, _ = load_reference(config.data)
    if split.held_out.count < batch:
        got = f"data.holdout={config.data.holdout:g} holds out {split.held_out.count} images"
        raise UserError(f"{run.path}: {got}; expected a batch of {batch}.")
    state, trained = run.state(), load_dataset_from_config(config.data)
    if trained.count < batch:
        raise UserError(f"{run.path}: it trains on {trained.count} images; expected a batch of {batch}.")
    score = _scorer(run, state)
    training = trained.gather(np.random.default_rng(SEED).permutation(trained.count)[:images])
    samples = run.sample(images, seed=SEED, weights="raw")
    return Scores(
        run=str(run.path),
        step=int(state.step),
        training=score(training),
        held_out=score(split.held_out.preview(images)),
        samples=score(samples),
        among=score_among(score, samples, training, batch=batch),
        averaged=None if state.ema is None else score(run.sample(images, seed=SEED, weights="averaged")),
    )


def _scorer(run: Run, state: TrainState) -> Callable[[np.ndarray], np.ndarray]:
    """Return D as a function from uint8 [N, H, W, C] to logits, in whole batches: D may see how varied one is."""
    size = run.config.train.batch_size

    @jax.jit
    def score(batch_u8: jax.Array) -> jax.Array:
        with jax.default_matmul_precision(run.config.train.precision):
            logits, _ = run.gan.disc.apply(state.disc.params, state.disc.buffers, scale_images(batch_u8), mode="batch")
            return logits_of_images(logits)

    def score_all(images_u8: np.ndarray) -> np.ndarray:
        batches = images_u8[: len(images_u8) // size * size].reshape(-1, size, *images_u8.shape[1:])
        return np.concatenate([np.asarray(score(batch)) for batch in batches])

    return score_all


def score_among(
    score: Callable[[np.ndarray], np.ndarray], samples: np.ndarray, training: np.ndarray, *, batch: int
) -> np.ndarray:
    """Return the scores of samples uint8 [N, H, W, C], each in the place of one image of a batch of training images."""
    found = []
    for place in range(batch):
        mixed = training[: len(training) // batch * batch].copy()
        mixed[place::batch] = samples[: len(mixed)][place::batch]
        found.append(score(mixed)[place::batch])
    return np.concatenate(found)


def markdown(found: list[Scores]) -> str:
    """Return the table."""
    lines = ["| run | step | training | held-out | samples | among training images | averaged weights | r_v |", f"|{'---|' * 8}"]
    for each in found:
        kinds = (each.training, each.held_out, each.samples, each.among, each.averaged)
        cells = ["–" if scores is None else f"{scores.mean():.2f} ± {scores.std():.2f}" for scores in kinds]
        lines.append(f"| {each.run} | {each.step} | {' | '.join(cells)} | {each.overfitting:.2f} |")
    return "\n".join(lines)


def command(arguments: list[str]) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="experiments.disc_scores", description=__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders with runs below them")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"images of each kind; default: {IMAGES}")
    flags = parser.parse_args(arguments)

    def run() -> int:
        runs = [load_run(each.path) for folder in flags.runs for each in list_runs(folder)]
        if not runs:
            raise UserError(f"--runs: no run in {', '.join(map(str, flags.runs))}. Give folders with runs.")
        print(markdown([measure_scores(each, images=flags.images) for each in runs]))
        return 0

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
