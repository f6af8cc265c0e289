"""Sliced Wasserstein distance between features."""

import numpy as np

from sharingan_jax.evaluation.measures.kid import as_feature_pair

DIRECTIONS = 64  # projected at once


def sliced_wasserstein(real: np.ndarray, fake: np.ndarray, *, projections: int = 256, seed: int = 0) -> float:
    """Return the mean 1-Wasserstein distance W₁ between features real [N, D] and fake [M, D], projected on random directions.

        mean over directions θ of ∫₀¹ |F_real⁻¹(t) − F_fake⁻¹(t)| dt,   θ uniform on the unit sphere

    F⁻¹ is the quantile function of the projected features x·θ, a step function, so N and M may differ and the integral is exact.
    In the units of the features. Lower is better; 0 for equal sets; no upper bound. Few samples raise it: compare values at
    equal counts only. The directions follow from `seed`, `projections` and D.

    Paper: Rabin et al. 2011 and Bonneel et al. 2015, both with W₂. W₁ gives less weight to outliers.
    Raise ValueError if an array is not finite numbers [N, D] of one D with N ≥ 1, or if `projections` is below 1.
    """
    real, fake = as_feature_pair(real, fake, least_real=1, least_fake=1)
    if projections < 1:
        raise ValueError(f"projections: expected at least 1, got {projections}")
    directions = np.random.default_rng(seed).standard_normal((projections, real.shape[1]))  # [P, D]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    total = 0.0
    for start in range(0, projections, DIRECTIONS):
        some = directions[start : start + DIRECTIONS].T  # [D, P']
        total += _wasserstein(real @ some, fake @ some).sum()
    return float(total / projections)


def _wasserstein(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Return W₁ between the columns of real [N, P] and fake [M, P]: [P]."""
    n, m = len(real), len(fake)
    # Between these levels, in units of 1/(N M), both quantile functions are constant.
    steps = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)  # [L + 1]
    lengths = np.diff(steps) / (n * m)  # [L]
    gaps = np.abs(np.sort(real, axis=0)[steps[:-1] // m] - np.sort(fake, axis=0)[steps[:-1] // n])  # [L, P]
    return lengths @ gaps
