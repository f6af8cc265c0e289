"""Latents for a trained generator: drawn from a seed, truncated, and on paths between others."""

import numpy as np
from scipy.special import erf, erfinv

from sharingan_jax.config.parse import checked
from sharingan_jax.config.schema import RULES, Rule
from sharingan_jax.errors import UserError
from sharingan_jax.model.rng import fixed_latents, seed_key

WIDEST = 5.0
"""The largest bound of a truncation: of a million normal numbers, one is farther from 0."""
OPPOSITE = 1e-6


def draw_run_latents(
    seed: int,
    *,
    count: int,
    nz: int,
    classes: int = 0,
    labels: np.ndarray | None = None,
    truncation: float | None = None,
) -> np.ndarray:
    """Draw latents N(0, 1), float32 [count, nz]: with a run's own seed and `count` = sample.num, those of its sample grids.

    The latent at an index is the same for every `count`. With `truncation` they are truncated: see `truncate`. With `classes`
    they are [count, nz + classes]: see `with_classes`, also for `labels`.
    Raise UserError if `seed` is not in 0 to 2³¹ − 1, `count` is below 1, or `truncation` is not in (0, WIDEST].
    """
    seed = checked("seed", seed, int, RULES["seed"])
    count = checked("num", count, int, Rule(at_least=1))
    z = np.asarray(fixed_latents(seed_key(seed), count=count, nz=nz))
    return with_classes(z if truncation is None else truncate(z, truncation), classes=classes, labels=labels)


def with_classes(z: np.ndarray, *, classes: int, labels: np.ndarray | None = None) -> np.ndarray:
    """Return latents [N, nz] followed by the class of each, one-hot: float32 [N, nz + classes]; `z` itself without classes.

    `labels` int [N] are the classes, by default 0, 1, 2 and so on in turn.
    """
    if not classes:
        return z
    labels = np.arange(len(z)) % classes if labels is None else labels
    return np.concatenate([z, np.eye(classes, dtype=np.float32)[labels]], axis=1)


def truncate(z: np.ndarray, bound: float) -> np.ndarray:
    """Return draws z of N(0, 1), of any shape, as draws of N(0, 1) restricted to [−bound, bound], float32.

    Each number x becomes √2 erf⁻¹(erf(x/√2) · erf(bound/√2)). This is the number at the same quantile of the truncated normal
    distribution, so each latent stays recognisable and moves towards 0, and nothing is drawn. Its distribution is that of
    Brock et al. 2019, "Large Scale GAN Training" (BigGAN), section 3.1, who draw a number again until it is in the range.
    Raise UserError if `bound` is not in (0, WIDEST].
    """
    check_truncation(bound)
    root = np.sqrt(2.0)
    inside = root * erfinv(erf(z.astype(np.float64) / root) * erf(bound / root))
    return np.clip(inside, -bound, bound).astype(np.float32)


def check_truncation(bound: float) -> None:
    """Raise UserError if numbers cannot be truncated to [−bound, bound]."""
    bound = checked("truncation", bound, float, Rule())
    if not 0 < bound <= WIDEST:
        nearest = "0.5" if bound <= 0 else f"{WIDEST:g}, which changes almost nothing, or leave it out"
        raise UserError(f"truncation={bound:g}: expected a number above 0, at most {WIDEST:g}. Use {nearest}.")


def with_signs(z: np.ndarray, of: np.ndarray, *, signs: int) -> np.ndarray:
    """Return latents [N, nz] whose first `signs` numbers have the signs of those of the latent `of` [nz]."""
    return np.concatenate([np.copysign(z[:, :signs], of[:signs]), z[:, signs:]], axis=1)


def walk(z: np.ndarray, *, frames: int, classes: int = 0) -> np.ndarray:
    """Return a closed walk through latents [N, nz], `frames` steps from each to the next: float32 [N * frames, nz].

    The last frames lead back to the first latent. The steps are those of `interpolate`, also for `classes`.
    """
    ends = np.roll(z, -1, axis=0)
    points = [interpolate(a, b, t, classes=classes) for a, b in zip(z, ends, strict=True) for t in np.arange(frames) / frames]
    return np.stack(points).astype(np.float32)


def between(corners: np.ndarray, *, rows: int, columns: int, classes: int = 0) -> np.ndarray:
    """Return rows × columns latents between four `corners` [4, nz], row by row: float32 [rows * columns, nz].

    The corners are top left, top right, bottom left and bottom right, and are among the latents if rows and columns are at least
    2. The left and right columns lead from corner to corner as `interpolate` does, and each row from its left to its right end.
    """
    top_left, top_right, bottom_left, bottom_right = corners
    points = []
    for down in np.linspace(0, 1, rows):
        left, right = (interpolate(*ends, down, classes=classes) for ends in ((top_left, bottom_left), (top_right, bottom_right)))
        points += [interpolate(left, right, across, classes=classes) for across in np.linspace(0, 1, columns)]
    return np.stack(points).astype(np.float32)


def interpolate(a: np.ndarray, b: np.ndarray, t: float, *, classes: int = 0) -> np.ndarray:
    """Return the point at t in [0, 1] between latents a and b [nz + classes]: normal numbers on the great circle, classes mixed.

    Between two classes lie their shares, (1 − t) of a's and t of b's. Networks saw whole classes only.
    """
    end = len(a) - classes
    return np.concatenate([great_circle(a[:end], b[:end], t), (1 - t) * a[end:] + t * b[end:]])


def great_circle(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """Return (sin((1 − t) θ) a + sin(t θ) b) / sin θ, the point at t in [0, 1] from a [nz] to b [nz]; θ is their angle.

    A normal latent's length is nearly constant, and so is it along a great circle. A straight line would pass through shorter
    latents, which G never saw. Of equal or opposite directions no great circle is determined: the line is taken.
    Source: White 2016, "Sampling Generative Networks", section 2.1.
    """
    cosine = np.dot(a, b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    if np.sin(angle) < OPPOSITE:
        return (1 - t) * a + t * b
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
