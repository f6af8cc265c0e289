"""Compare two groups of independent runs: exact permutation tests of several measures at once."""

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Measure:
    """One measure of every run: `ours` [S, ...] and `theirs` [S', ...], a number or a curve for each run."""

    name: str
    ours: np.ndarray
    theirs: np.ndarray


def permutation_tests(measures: list[Measure]) -> tuple[np.ndarray, np.ndarray]:
    """Return for each measure (p alone, p among all measures): how often random groups differ at least as much as these.

    Every division of the S + S' runs into groups of the same sizes is counted once, so both are exact. With five and five runs
    the smallest possible p is 2 / 252. The difference of two groups is the distance between their means. For a curve [T] this is
    the mean over its points: the area between the mean curves, over T. "Among all" is the share of divisions whose largest
    difference over the measures is at least this measure's, each in units of its own mean over all divisions. It is the
    probability that chance alone gives such a difference in any measure. Needs the same S and S' in all measures.
    Paper: Westfall and Young 1993, "Resampling-Based Multiple Testing", the maxT procedure in one step.
    """
    sizes = {(len(measure.ours), len(measure.theirs)) for measure in measures}
    if len(sizes) != 1:
        raise ValueError(f"the measures are of groups of different sizes: {sorted(sizes)}")
    ((count, others),) = sizes
    divisions = [list(chosen) for chosen in itertools.combinations(range(count + others), count)]  # the first is the real one
    apart = np.stack([_differences(measure, divisions) for measure in measures], axis=1)  # [divisions, measures]
    typical = apart.mean(axis=0)
    scaled = apart / np.where(typical > 0, typical, 1.0)
    observed = scaled[0] * (1 - 1e-9)  # The mirrored division gives the same difference up to rounding.
    return (scaled >= observed).mean(axis=0), (scaled.max(axis=1)[:, None] >= observed).mean(axis=0)


def _differences(measure: Measure, divisions: list[list[int]]) -> np.ndarray:
    values = np.concatenate([measure.ours, measure.theirs]).reshape(len(measure.ours) + len(measure.theirs), -1)
    total, found = values.sum(axis=0), []
    for chosen in divisions:
        part = values[chosen].sum(axis=0)
        means = part / len(chosen), (total - part) / (len(values) - len(chosen))
        found.append(np.abs(means[0] - means[1]).mean())
    return np.array(found)
