"""Sets of images whose quality is known: rows of every table, so that a reader sees what each measure can and cannot tell."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sharingan_jax.evaluation.panel import Reference
from sharingan_jax.evaluation.turns import Turns, turn

REAL_HALF = "real half against real half"
COPIES = "exact copies"
TURNED = "turned copies, light noise"
COPIES_WITH_NOISE = "copies, light noise"
MEAN = "the mean image"
NOISE = "noise"

LIGHT_NOISE = 4.0
"""Standard deviation of the light noise, in grey levels: too little to see."""
OFF_GRID = 50
"""Rotations of the turned copies: steps of 7.2 degrees, so that few of them fall on the 5 degrees that distances try."""


@dataclass(frozen=True)
class Control:
    """A set of images uint8 [F, H, W, C] and the reference to measure it against."""

    name: str
    images: np.ndarray
    reference: Reference


def make_controls(reference: Reference, *, count: int, seed: int = 0) -> Iterator[Control]:
    """Yield the controls, each of at most `count` images (at least 2), made from the training images.

    - one half of the training images against the other half, chosen by `seed`: what a perfect sampler of this size would reach;
    - exact copies, drawn with replacement: what a memoriser reaches;
    - turned (and mirrored) copies with light noise: a memoriser that hides it. Without free orientation they are not turned;
    - the mean image: no diversity at all; uniform noise: nothing learnt.
    """
    rng = np.random.default_rng(seed)
    train = reference.train
    order = rng.permutation(len(train))
    first, second = order[: len(train) // 2], order[len(train) // 2 :]
    yield Control(REAL_HALF, train[first], replace(reference, train=train[second], digest=""))
    copies = train[rng.integers(0, len(train), count)]
    yield Control(COPIES, copies, reference)
    is_turned = reference.turns.count > 1
    yield Control(TURNED if is_turned else COPIES_WITH_NOISE, _turn_with_noise(copies, reference.turns, rng), reference)
    mean = np.round(train.mean(0)).astype(np.uint8)
    yield Control(MEAN, np.repeat(mean[None], count, axis=0), reference)
    yield Control(NOISE, rng.integers(0, 256, copies.shape, np.uint8), reference)


def _turn_with_noise(images_u8: np.ndarray, turns: Turns, rng: np.random.Generator) -> np.ndarray:
    images = images_u8.astype(np.float32)
    if turns.count > 1:
        grid = Turns(angles=OFF_GRID if turns.angles > 1 else 1, mirrors=turns.mirrors)
        chosen = rng.integers(0, grid.count, len(images))
        for index in np.unique(chosen):
            images[chosen == index] = turn(images[chosen == index], int(index), grid)
    noisy = images + rng.normal(0, LIGHT_NOISE, images.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)
