"""Signs of collapse that are cheap enough to take at every sample grid, and the rule that says where collapse begins."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist, pdist

from sharingan_jax.evaluation.turns import soften

MOST_REAL = 500
"""Real images that the signs are taken against, at most."""
MOST_DRAWN = 100
"""Images of a grid that the signs are taken of: the first ones. All pairs of 10,000 would take minutes at each grid."""
DIGITS = 6
"""Significant digits that are recorded: fewer than rounding could change from one processor to another."""

ALIVE = 0.5
COLLAPSED = 0.3
AWAY = 1.15
FAR = 1.2
"""Chosen on 70 runs of docs/experiments.md at 32 pixels. Five runs on emblems fell apart while their grids stayed varied: in
two grids in a row their nearest ratio is above 3, and 1.19 to 1.47 times its lowest. `FAR` keeps out grids that are as near to
real images as these are to each other, or nearer. A young run may move away too: its first blobs resemble every image a little,
its first motifs none. Its KID falls meanwhile, and that of a run that falls apart rises."""
IN_A_ROW = 2
RULE = (
    f"{IN_A_ROW} sample grids in a row have lost their variety or their likeness. Grids count from the first with a diversity"
    f" of {ALIVE} on. A grid has lost its variety if its diversity is below {COLLAPSED}, and its likeness if its nearest ratio is"
    f" at least {FAR:g} and at least {AWAY} times the lowest of the grids before, and its KID is above that grid's. Collapse"
    " begins at the first of the two"
)
"""The rule of `find_collapse` in words, for readers of a report."""


@dataclass(frozen=True)
class Sign:
    """One number for each sample grid, under `name` in `metrics.jsonl`."""

    name: str
    label: str
    note: str


SIGNS = (
    Sign("diversity", "diversity of the grid", "mean distance between two images of the grid over that between two real images"),
    Sign("nearest_ratio", "nearest ratio", "median distance to the nearest real image over real images' own median; 0: copies"),
    Sign("kid_pixels", "KID of the grid, pixels ×10³", "against the training images, on few images: noisy"),
)
SIGN_NAMES = tuple(sign.name for sign in SIGNS)


@dataclass(frozen=True)
class SignReference:
    """The real images that a run's signs are taken against: uint8 [N, H, W, C], at most `MOST_REAL` of them."""

    real_u8: np.ndarray

    @cached_property
    def _flat(self) -> np.ndarray:
        return _flatten(self.real_u8)

    @cached_property
    def _mean_distance(self) -> float:
        return float(pdist(self._flat).mean())

    @cached_property
    def _nearest(self) -> float:
        """The median distance of a real image to its nearest other one."""
        between = cdist(self._flat, self._flat)
        np.fill_diagonal(between, np.inf)
        return float(np.median(between.min(1)))

    def signs(self, images_u8: np.ndarray) -> dict[str, float | None]:
        """Return the signs of a grid's images uint8 [B, H, W, C] by name. None if there are too few images, or only equal ones.

        All are taken on lightly blurred pixels at 32×32, without turns. Diversity and nearest ratio are 1 for real images.
        """
        fake = _flatten(images_u8[:MOST_DRAWN])
        enough = len(fake) > 1 and len(self._flat) > 1
        diversity = float(pdist(fake).mean()) / self._mean_distance if enough and self._mean_distance else None
        nearest = float(np.median(cdist(fake, self._flat).min(1))) / self._nearest if enough and self._nearest else None
        found = {"diversity": diversity, "nearest_ratio": nearest, "kid_pixels": self._kid(fake) if enough else None}
        return {name: None if value is None else float(f"{value:.{DIGITS}g}") for name, value in found.items()}

    @cached_property
    def _real_kernel(self) -> float:
        return _mean_kernel(self._flat)

    def _kid(self, fake: np.ndarray) -> float:
        """Return the KID of `measures/kid.py`, by sums that do not depend on the number of threads."""
        return 1000 * (self._real_kernel + _mean_kernel(fake) - 2 * float(_kernel(self._flat, fake).mean()))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.einsum("nd,md->nm", x, y) / x.shape[1] + 1) ** 3


def _mean_kernel(x: np.ndarray) -> float:
    kernel = _kernel(x, x)
    return float((kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1)))


def _flatten(images_u8: np.ndarray) -> np.ndarray:
    return soften(images_u8).reshape(len(images_u8), -1).astype(np.float64)


def best_step(records: Iterable[Mapping[str, Any]], steps: Sequence[int], *, by: str) -> int | None:
    """Return the one of `steps` with the best sign `by`: the lowest kid_pixels, or the diversity nearest to 1.

    None if no record of these steps has the sign, or `by` is "". The earlier one of equals. A sign is taken on few images, so the
    choice is noisy; and the best of many is an optimistic choice.
    """
    values = {record["step"]: record[by] for record in records if by and record.get(by) is not None and record["step"] in steps}
    return min(values, key=lambda step: (abs(values[step] - 1) if by == "diversity" else values[step], step), default=None)


def find_collapse(records: Iterable[Mapping[str, Any]]) -> int | None:
    """Return the step at which collapse begins by `RULE`, or None. `records` are lines of metrics.jsonl, in order.

    Before the diversity has once been at least 0.5, G has not learnt to draw different images yet. Its one kind of blob can be
    nearer to the real images than any later grid. A run that falls apart draws images that differ and resemble nothing: only the
    nearest ratio shows it.
    """
    return CollapseWatch().feed(records)


class CollapseWatch:
    """The rule of `find_collapse`, fed record by record. `in_a_row` counts the collapsed grids at the end."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self.step: int | None = None
        self._was_alive = False
        self._nearest, self._kid_of_nearest = math.inf, -math.inf
        self._first = 0

    def feed(self, records: Iterable[Mapping[str, Any]]) -> int | None:
        """Take more records; return the step at which collapse began, or None."""
        for record in records:
            diversity, nearest = record.get("diversity"), record.get("nearest_ratio")
            if diversity is None:
                continue
            self._was_alive |= diversity >= ALIVE
            if not self._was_alive:
                continue
            without_variety = diversity < COLLAPSED
            kid = record.get("kid_pixels")
            moved_away = nearest is not None and nearest >= max(FAR, AWAY * self._nearest)
            without_likeness = moved_away and (kid is None or kid > self._kid_of_nearest)
            if nearest is not None and nearest < self._nearest:
                self._nearest, self._kid_of_nearest = nearest, -math.inf if kid is None else kid
            if without_variety or without_likeness:
                self._first = record["step"] if self.in_a_row == 0 else self._first
                self.in_a_row += 1
            else:
                self.in_a_row = 0
            if self.step is None and self.in_a_row >= IN_A_ROW:
                self.step = self._first
        return self.step
