"""Fréchet distance between features: the formula of FID, for any feature space."""

import numpy as np

from sharingan_jax.evaluation.measures.kid import as_feature_pair


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the squared Fréchet distance between Gaussians fitted to features real [N, D] and fake [M, D].

        |μ₁ − μ₂|² + tr(S₁ + S₂ − 2 (S₁ S₂)^½)

    μ and S are means and unbiased covariances. Lower is better; 0 for equal means and covariances; no upper bound. On features
    of FID's Inception network it is FID.

    With centred features X₁ and X₂, tr (S₁ S₂)^½ = ‖X₁ X₂ᵀ‖_* / √((N − 1)(M − 1)), the sum of singular values. This is exact
    if N or M is below D too. There the covariance is singular, and a matrix square root loses digits. The time grows with
    N · M · min(N, M); if both counts exceed D, with D³.

    The estimate is biased upwards by an amount that depends on N, M and the generator (Chong & Forsyth 2020). For 100 real
    images it rewards copies of them: use `kid` to rank generators.
    Paper: Heusel et al. 2017, equation 6; Dowson & Landau 1982.
    Raise ValueError if an array is not finite numbers [N, D] of one D, or if N < 2 or M < 2.
    """
    real, fake = as_feature_pair(real, fake)
    mean_difference = real.mean(axis=0) - fake.mean(axis=0)  # [D]
    real_root, fake_root = _covariance_root(real), _covariance_root(fake)
    if min(len(real), len(fake)) > real.shape[1]:  # Only rootᵀ root enters, so a [D, D] factor of it serves as well.
        real_root, fake_root = _triangle(real_root), _triangle(fake_root)
    singular_values = np.linalg.svd(real_root @ fake_root.T, compute_uv=False)
    traces = np.square(real_root).sum() + np.square(fake_root).sum()
    return float(max(np.square(mean_difference).sum() + traces - 2 * singular_values.sum(), 0.0))


def _covariance_root(features: np.ndarray) -> np.ndarray:
    """Return A [N, D] with Aᵀ A = the unbiased covariance of features [N, D]."""
    return (features - features.mean(axis=0, keepdims=True)) / np.sqrt(len(features) - 1)


def _triangle(root: np.ndarray) -> np.ndarray:
    """Return R [D, D] with Rᵀ R = rootᵀ root, for root [N, D] with N > D."""
    return np.asarray(np.linalg.qr(root, mode="r"))
