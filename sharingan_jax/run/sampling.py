"""Latents for a trained generator, and images drawn from them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sharingan_jax.errors import UserError
from sharingan_jax.rng import fixed_latents, seed_key

GROUP = 500  # Images drawn at once: at 64 pixels about a gigabyte of activations.


@dataclass(frozen=True)
class Sampler:
    """A trained generator; `origin` says which one it is. `generate` takes float32 [B, nz] to [B, H, W, C] in [−1, 1].

    `columns` is the number of images in a row of a grid: the run's sample.columns, if the run is known.
    """

    origin: str
    nz: int
    generate: Callable[[np.ndarray], Any]
    columns: int = 5

    def draw(self, z: np.ndarray, *, group: int = GROUP) -> np.ndarray:
        """Return images float32 [N, H, W, C] in [−1, 1] for latents [N, nz], in groups of nearly equal size, at most `group`."""
        parts = np.array_split(z, -(-len(z) // group))
        return np.concatenate([np.asarray(self.generate(part)) for part in parts])


def draw_run_latents(seed: int, *, count: int, nz: int) -> np.ndarray:
    """Draw latents N(0, 1), float32 [count, nz]: with a run's own seed and `count` = sample.num, those of its sample grids.

    Raises UserError if `seed` is not in 0 to 2³¹ − 1, or `count` below 1.
    """
    if not 0 <= seed < 2**31:
        raise UserError(f"--seed={seed}: expected 0 to {2**31 - 1}")
    if count < 1:
        raise UserError(f"--num={count}: expected at least 1")
    return np.asarray(fixed_latents(seed_key(seed), count=count, nz=nz))


def read_latents(path: Path, *, nz: int) -> np.ndarray:
    """Return latents [N, nz] from a .npy file, as float32. Raises UserError naming the file if it holds anything else."""
    try:
        z: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"--latents={path}: not a readable .npy array: {error}") from None
    if not isinstance(z, np.ndarray) or z.ndim != 2 or z.shape[1] != nz or not len(z) or z.dtype.kind not in "fiu":
        found = f"{z.dtype} {list(z.shape)}" if isinstance(z, np.ndarray) else type(z).__name__
        raise UserError(f"--latents={path}: expected numbers of shape [N, {nz}], got {found}")
    with np.errstate(over="ignore"):
        z = z.astype(np.float32)
    if not np.isfinite(z).all():
        raise UserError(f"--latents={path}: not all of its numbers are finite, or fit a float32")
    return z


def walk(z: np.ndarray, *, frames: int) -> np.ndarray:
    """Return a closed walk through latents [N, nz], `frames` steps from each to the next: [N * frames, nz].

    Along great circles, since a normal latent's length is nearly constant and a straight line would pass through shorter
    ones, which G never saw. Source: White 2016, "Sampling Generative Networks", section 2.1.
    """
    ends = np.roll(z, -1, axis=0)
    points = [_great_circle(a, b, t) for a, b in zip(z, ends, strict=True) for t in np.arange(frames) / frames]
    return np.stack(points).astype(np.float32)


def _great_circle(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    cosine = np.dot(a, b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    if np.sin(angle) < 1e-6:  # The same direction, or opposite ones: no great circle is determined.
        return (1 - t) * a + t * b
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
