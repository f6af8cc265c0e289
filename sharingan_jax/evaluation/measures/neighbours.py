"""Measures on nearest neighbours: precision, recall, density, coverage, and their clipped forms."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import betabinom

from sharingan_jax.evaluation.measures.kid import as_feature_pair

Measured = TypeVar("Measured")
"""A measure's result: a float or a frozen dataclass of floats."""
RESAMPLES, PAIRS = 20, 800_000
"""Subsets that a measure is averaged over, at most, and pairs of images in all of them: with 200 images 20 subsets, with 900 or
more only one. A measure of many images varies less from subset to subset, and takes the square of their number."""


@dataclass(frozen=True)
class PRDC:
    """Precision, recall and coverage in [0, 1], density from 0 up. Higher is better."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(real: np.ndarray, fake: np.ndarray, *, k: int = 5) -> PRDC:
    """Return precision, recall, density and coverage of features real [N, D] and fake [M, D].

    The ball of a feature is open and reaches to its k-th nearest other feature of the same set (Euclidean distance).

        precision = share of fakes that lie in the ball of at least one real
        recall    = share of reals that lie in the ball of at least one fake
        density   = (number of pairs with the fake in the real's ball) / (k M)
        coverage  = share of reals whose ball holds at least one fake

    Higher is better. Precision, recall and coverage are in [0, 1]; density is in [0, N/k] and about 1 for a perfect sampler.
    Recall falls and coverage saturates if M grows, so call this at equal counts (`resampled`) and print `expected_coverage`
    with it. Exact copies of the reals score 1 in all four: none of them sees memorisation. An image with k exact duplicates
    in its set has an empty ball.

    Paper: Kynkäänniemi et al. 2019, section 2 (precision, recall); Naeem et al. 2020, section 3 (density, coverage).
    Torch: the package `prdc` 0.2 gives the same. Distances here are exact differences, so copies are at distance 0.
    Raise ValueError if an array is not finite numbers [N, D] of one D, or if k is not between 1 and min(N, M) − 1.
    """
    real, fake = _checked(real, fake, k, fakes_have_balls=True)
    across = cdist(real, fake)  # [N, M]
    real_radii, fake_radii = _radii(real, k), _radii(fake, k)  # [N], [M]
    in_real_ball = across < real_radii[:, None]  # [N, M]
    in_fake_ball = across < fake_radii[None, :]  # [N, M]
    return PRDC(
        precision=float(in_real_ball.any(axis=0).mean()),
        recall=float(in_fake_ball.any(axis=1).mean()),
        density=float(in_real_ball.sum(axis=0).mean() / k),
        coverage=float(in_real_ball.any(axis=1).mean()),
    )


def expected_coverage(n_real: int, n_fake: int, k: int = 5) -> float:
    """Return the expected coverage of a perfect sampler, which draws `n_fake` fakes from the distribution of the reals.

        1 − Π_{i<k} (N − 1 − i) / (M + N − 1 − i),   N = n_real, M = n_fake

    It holds for any distribution without ties. Coverage above it is a sign of copies, not of quality.
    Paper: Naeem et al. 2020, section 3 (expected coverage). Raise ValueError if k is not between 1 and N − 1, or M < 1.
    """
    if not 1 <= k < n_real or n_fake < 1:
        raise ValueError(f"expected 1 ≤ k < n_real and n_fake ≥ 1, got k={k}, n_real={n_real}, n_fake={n_fake}")
    i = np.arange(k)
    return float(1 - np.prod((n_real - 1 - i) / (n_fake + n_real - 1 - i)))


def clipped_density(real: np.ndarray, fake: np.ndarray, *, k: int = 5) -> float:
    """Return Clipped Density of features real [N, D] and fake [M, D]: about the share of good fakes, in [0, 1].

        raw(y) = min(1, (number of reals x ≠ y with |x − y| ≤ r(x)) / k)
        r(x)   = min(distance of x to its k-th nearest other real, the median of these distances)
        result = min(1, mean of raw over the fakes / mean of raw over the reals)

    Higher is better. Compared with density, an outlier among the reals cannot have a large ball, no fake counts more than one,
    and the reals themselves score 1. So a share p of bad fakes lowers the score to about 1 − p. Copies of the reals score 1.
    The score of a perfect sampler spreads around 1 before it is cut, so its mean is a little below 1.

    Paper: Salvy, Talbot & Thirion 2025 (arXiv 2507.01761, ICLR 2026), Clipped Density; as in the authors' code,
    github.com/nicolassalvy/ClippedDensityCoverage. They count at most k reals in a real's ball, here all of a tie count.
    Raise ValueError if an array is not finite numbers [N, D] of one D, or if k is not between 1 and N − 1.
    """
    real, fake = _checked(real, fake, k)
    within = cdist(real, real)  # [N, N]
    radii = np.partition(within, k, axis=1)[:, k]  # [N]; the image itself comes first, at distance 0
    radii = np.minimum(radii, np.median(radii))[:, None]  # [N, 1]
    in_balls = (within <= radii).sum(axis=0) - 1  # [N], without its own ball
    real_score = np.minimum(in_balls / k, 1).mean()  # positive: half of the balls hold at least k reals
    fake_score = np.minimum((cdist(real, fake) <= radii).sum(axis=0) / k, 1).mean()
    return float(min(fake_score / real_score, 1.0))


def clipped_coverage(real: np.ndarray, fake: np.ndarray, *, k: int = 5) -> float:
    """Return Clipped Coverage of features real [N, D] and fake [M, D]: about the share of good fakes, in [0, 1].

        raw    = mean over the reals of min(1, (number of fakes in the open ball of `precision_recall_density_coverage`) / k)
        f(m)   = expected raw if m of the M fakes come from the distribution of the reals, and the others lie far away
        result = m / M with f(m) = raw, between whole m by linear interpolation, at most 1

    The number of good fakes in a ball is beta-binomial with (m, k, N − k) for any distribution without ties, so f is exact.
    Higher is better. A share p of bad fakes lowers the score to about 1 − p. Fakes that miss a share of the reals score lower
    too, by an amount that depends on M/N. Copies of the reals score 1.

    Paper: Salvy, Talbot & Thirion 2025 (arXiv 2507.01761, ICLR 2026), Clipped Coverage and its calibration; as in the authors'
    code, github.com/nicolassalvy/ClippedDensityCoverage. It sets f to 0 below m = k and rounds m up, which differs by at most
    about 1/M, or by k/M for scores below k/M.
    Raise ValueError if an array is not finite numbers [N, D] of one D, or if k is not between 1 and N − 1.
    """
    real, fake = _checked(real, fake, k)
    counts = (cdist(real, fake) < _radii(real, k)[:, None]).sum(axis=1)  # [N]
    raw = np.minimum(counts / k, 1).mean()
    good = np.arange(len(fake) + 1)  # [M + 1]
    return float(np.interp(raw, expected_clipped_counts(len(real), len(fake), k), good / len(fake)))


def expected_clipped_counts(n_real: int, n_fake: int, k: int) -> np.ndarray:
    """Return f(m) = E[min(J, k)] / k for m = 0 … n_fake with J beta-binomial (m, k, n_real − k): float [n_fake + 1].

    J counts the good fakes in a real's ball. f increases from 0. It is the calibration curve of `clipped_coverage`.
    """
    good = np.arange(n_fake + 1)[None, :]  # [1, M + 1]
    inside = np.arange(k)[:, None]  # [k, 1]
    missing = (k - inside) * betabinom.pmf(inside, good, k, n_real - k)  # [k, M + 1]
    return 1 - missing.sum(axis=0) / k


def resampled(
    measure: Callable[[np.ndarray, np.ndarray], Measured],
    real: np.ndarray,
    fake: np.ndarray,
    *,
    resamples: int | None = None,
    seed: int = 0,
) -> Measured:
    """Return `measure(real, fake)` at equal counts, averaged over random subsets of the larger set.

    Each of the `resamples` times, as many fakes [M, …] as reals [N, …] are drawn without replacement, in their order. If there
    are fewer fakes, as many reals as fakes are drawn. By default `RESAMPLES` times, and fewer if the subsets would have more
    than `PAIRS` pairs, but at least once. With N = M the measure is called once. `measure` returns a float or a dataclass of
    floats; each field is averaged. Equal arguments give equal results. Raise ValueError if `resamples` is below 1.
    """
    count = min(len(real), len(fake))
    if resamples is None:
        resamples = subsets_of(count)
    if resamples < 1:
        raise ValueError(f"resamples: expected at least 1, got {resamples}")
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(1 if len(real) == len(fake) else resamples):
        results.append(measure(_drawn(real, count, rng), _drawn(fake, count, rng)))
    first = results[0]
    if not dataclasses.is_dataclass(first) or isinstance(first, type):
        return float(np.mean(results))  # type: ignore[arg-type, return-value]
    names = [field.name for field in dataclasses.fields(first)]
    return dataclasses.replace(first, **{name: float(np.mean([getattr(result, name) for result in results])) for name in names})


def subsets_of(count: int) -> int:
    """Return over how many subsets of `count` images `resampled` averages by default: 1 to `RESAMPLES`."""
    return min(RESAMPLES, max(1, PAIRS // count**2))


def _drawn(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    if len(features) == count:
        return features
    return features[np.sort(rng.choice(len(features), count, replace=False))]


def _radii(features: np.ndarray, k: int) -> np.ndarray:
    """Return each feature's distance to its k-th nearest other feature, [N]. The feature itself comes first, at distance 0."""
    return np.partition(cdist(features, features), k, axis=1)[:, k]


def _checked(real: np.ndarray, fake: np.ndarray, k: int, *, fakes_have_balls: bool = False) -> tuple[np.ndarray, np.ndarray]:
    if k < 1:
        raise ValueError(f"k: expected at least 1, got {k}")
    return as_feature_pair(real, fake, least_real=k + 1, least_fake=k + 1 if fakes_have_balls else 1)
