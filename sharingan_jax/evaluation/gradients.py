"""The feature space "gradients": how strongly neighbouring pixels differ, at every scale. No weights, and it sees speckle."""

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import correlate1d

from sharingan_jax.evaluation.measures.appearance import LUMA

SEEN = 4.0
"""Grey levels. Differences up to about this size count in proportion, larger ones by their logarithm."""
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
COARSEST = 4
"""Pixels a side, at most, of the level that is kept as colours."""
SMOOTHING = np.array([1, 4, 6, 4, 1], np.float32) / 16
COLOURS = np.array([LUMA, [0.5, -0.5, 0.0], [0.25, 0.25, -0.5]], np.float32).T
"""From red, green and blue to luma, red against green, and both against blue: how an eye separates them."""
GRADIENT_UNIT, COLOUR_UNIT = 4.0, 128.0
"""What a gradient's logarithm and a colour are divided by, so that most features lie between −1 and 2."""
BLOCK_BYTES = 2**26  # of the float32 images that are in work at once


def gradient_features(images_u8: np.ndarray) -> np.ndarray:
    """Return the quantiles of image gradients at every scale, and coarse colours, float32 [N, D], mostly in [−1, 2].

    Images are uint8 [N, H, W, C]; grey ones are repeated to three channels. D is 408 at 32×32 pixels and 528 at 64×64:

        D = levels · 2 directions · 4 quarters · 3 colours · 5 quantiles + the coarsest level's pixels · 3 colours

    Each level of a Gaussian pyramid (Burt & Adelson 1983, five taps with a = 0.375) has half the side of the level below. On each
    level but the coarsest, v is the difference of two neighbouring pixels in one direction, and each quarter of the image gives
    the quantiles `QUANTILES` of log(1 + |v| / `SEEN`). Heeger & Bergen 1995 describe textures by the histograms of a pyramid's
    bands in the same way. Low quantiles are those of flat areas. Speckle of a few grey levels moves them, while means over
    positions hide it behind edges; blur moves the high ones.
    """
    if images_u8.shape[-1] == 1:
        images_u8 = images_u8.repeat(3, axis=-1)
    block = max(1, BLOCK_BYTES // (4 * int(np.prod(images_u8.shape[1:]))))
    return np.concatenate([_features(images_u8[start : start + block]) for start in range(0, len(images_u8), block)])


def _features(images_u8: np.ndarray) -> np.ndarray:
    level, found = images_u8.astype(np.float32) @ COLOURS, []
    while min(level.shape[1:3]) > COARSEST:
        for axis in (1, 2):
            sizes = np.log1p(np.abs(np.diff(level, axis=axis)) / np.float32(SEEN))
            found += [_quantiles(quarter) / GRADIENT_UNIT for quarter in _quarters(sizes)]
        level = _smooth(level)[:, ::2, ::2]
    return np.concatenate([*found, level.reshape(len(level), -1) / COLOUR_UNIT], axis=1, dtype=np.float32)


def _smooth(images: np.ndarray) -> np.ndarray:
    rows = correlate1d(images, SMOOTHING, axis=1, mode="nearest")
    return correlate1d(rows, SMOOTHING, axis=2, mode="nearest")


def _quarters(images: np.ndarray) -> Iterator[np.ndarray]:
    for half in np.array_split(images, 2, axis=1):
        yield from np.array_split(half, 2, axis=2)


def _quantiles(images: np.ndarray) -> np.ndarray:
    """Return the quantiles of images [N, h, w, C] over positions, [N, quantiles · C]."""
    pixels = images.reshape(len(images), -1, images.shape[-1])
    return np.quantile(pixels, QUANTILES, axis=1).transpose(1, 0, 2).reshape(len(images), -1)
