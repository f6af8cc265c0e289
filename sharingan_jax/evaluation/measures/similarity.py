"""Diversity of a set of images: MS-SSIM between pairs, and distances between features."""

import numpy as np
from scipy.ndimage import correlate1d

from sharingan_jax.evaluation.measures.appearance import as_images
from sharingan_jax.evaluation.measures.kid import as_features

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales, Wang et al. 2003, section 3.2
WINDOW = 11  # pixels a side of the Gaussian window
WINDOW_SIGMA = 1.5  # pixels
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
PIXELS = 2**20  # in memory at once, of one of a batch's images
BLOCK = 1024  # rows of a distance matrix in memory at once


def ms_ssim(a_u8: np.ndarray, b_u8: np.ndarray) -> np.ndarray:
    """Return the multi-scale structural similarity of pairs of images, uint8 [N, H, W, C] each: float64 [N].

        mean over channels of ssim_S^{w_S} · Π_{s<S} cs_s^{w_s}

    cs_s is the contrast-structure term of scale s and ssim_S the full SSIM of the coarsest scale. Both are means over the
    positions of a Gaussian window of 11 pixels (σ 1.5) inside the image. A negative mean counts as 0. Each next scale is the mean
    of 2×2 pixels; an odd last row or column is dropped.

    The paper's five scales need 176 pixels. For smaller images, S is the largest number whose coarsest side still holds the
    window: 2 at 32 pixels, 3 at 64, 4 at 128, 5 from 176 on. The weights of the first S scales are divided by their sum, so do
    not compare values of different sizes.

    The range is [0, 1]; 1 for equal images. Paper: Wang, Simoncelli & Bovik 2003, section 3.
    Torch: not in PyTorch; `tf.image.ssim_multiscale` gives the same with `power_factors` set to these weights (even sizes).
    Raise ValueError if the arrays are not uint8 [N, H, W, 1 or 3] of one shape, or if a side is shorter than 11 pixels.
    """
    a_u8, b_u8 = as_images("a_u8", a_u8), as_images("b_u8", b_u8)
    if a_u8.shape != b_u8.shape:
        raise ValueError(f"b_u8: expected the shape of a_u8, {list(a_u8.shape)}, got {list(b_u8.shape)}")
    side = min(a_u8.shape[1:3])
    if side < WINDOW:
        raise ValueError(f"a_u8: expected images of at least {WINDOW} pixels a side, got {side}")
    weights = np.array(WEIGHTS[: scale_count(side)])
    batch = max(1, PIXELS // a_u8[0].size)
    parts = [_ms_ssim(a_u8[i : i + batch], b_u8[i : i + batch], weights / weights.sum()) for i in range(0, len(a_u8), batch)]
    return np.concatenate(parts)


def scale_count(side: int) -> int:
    """Return the number of scales of `ms_ssim` for images whose shorter side is `side` pixels: side / 2^(S − 1) ≥ 11, S ≤ 5."""
    return max(s for s in range(1, len(WEIGHTS) + 1) if s == 1 or side >> (s - 1) >= WINDOW)


def ms_ssim_diversity(images_u8: np.ndarray, *, pairs: int = 500, seed: int = 0) -> float:
    """Return the mean MS-SSIM of random pairs of different images, uint8 [N, H, W, C].

    The range is [0, 1]. Lower is more diverse; 1 if all images are equal. Compare it with the value of the real images: noise
    lowers it as well. The pairs are distinct and follow from `seed`, `pairs` and N. If there are no more than `pairs` pairs,
    all are taken.

    Paper: Odena, Olah & Shlens 2017, section 4.2 (100 pairs of each class).
    Raise ValueError as `ms_ssim` does, or if N is below 2 or `pairs` below 1.
    """
    images_u8 = as_images("images_u8", images_u8)
    count = len(images_u8)
    if count < 2 or pairs < 1:
        raise ValueError(f"expected at least 2 images and 1 pair, got {count} images and pairs={pairs}")
    first, second = _pairs(count, pairs, np.random.default_rng(seed))
    return float(ms_ssim(images_u8[first], images_u8[second]).mean())


def mean_pairwise_distance(features: np.ndarray) -> float:
    """Return the mean Euclidean distance |x_i − x_j| over all pairs i < j of features [N, D].

    In the units of the features. Higher is more diverse; 0 if all are equal; no upper bound. Compare it with the value of the
    real images: less than 0.3 of it is a sign of collapse.
    Raise ValueError if the features are not finite numbers [N, D] with N of at least 2.
    """
    features = as_features("features", features, least=2)
    features -= features.mean(axis=0, keepdims=True)  # so that squares of close features do not cancel
    squares = np.square(features).sum(axis=1)  # [N]
    total = 0.0
    for start in range(0, len(features), BLOCK):
        rows = slice(start, start + BLOCK)
        squared = squares[rows, None] + squares[None, start:] - 2 * features[rows] @ features[start:].T  # [BLOCK, N − start]
        total += np.triu(np.sqrt(np.maximum(squared, 0)), k=1).sum()
    return float(total / (len(features) * (len(features) - 1) / 2))


def _pairs(count: int, pairs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of distinct pairs i < j of `count` images: two int arrays [min(pairs, count (count − 1) / 2)]."""
    total = count * (count - 1) // 2
    number = np.arange(total) if total <= pairs else np.sort(rng.choice(total, pairs, replace=False))
    second = (1 + np.floor(np.sqrt(1 + 8 * number.astype(np.float64)))).astype(np.int64) // 2  # pair t of j: j (j − 1) / 2 + i
    return number - second * (second - 1) // 2, second


def _ms_ssim(a_u8: np.ndarray, b_u8: np.ndarray, weights: np.ndarray) -> np.ndarray:
    a, b = a_u8.astype(np.float64), b_u8.astype(np.float64)
    result = np.ones((len(a), a.shape[3]))  # [N, C]
    for scale, weight in enumerate(weights):
        similarity, contrast = _ssim(a, b)  # [N, C] each
        last = scale == len(weights) - 1
        result *= np.maximum(similarity if last else contrast, 0) ** weight
        if not last:
            a, b = _halve(a), _halve(b)
    return result.mean(axis=1)


def _ssim(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return SSIM and its contrast-structure part, each the mean over the positions of the window: [N, C]."""
    mean_a, mean_b = _blur(a), _blur(b)
    variances = _blur(a * a + b * b) - mean_a**2 - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    contrast = (2 * covariance + C2) / (variances + C2)
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return (luminance * contrast).mean(axis=(1, 2)), contrast.mean(axis=(1, 2))


def _blur(x: np.ndarray) -> np.ndarray:
    """Return [N, H, W, C] under the Gaussian window, only where the window is inside: [N, H − 10, W − 10, C]."""
    reach = WINDOW // 2
    window = np.exp(-(np.arange(-reach, reach + 1.0) ** 2) / (2 * WINDOW_SIGMA**2))
    window /= window.sum()
    rows = correlate1d(x, window, axis=1)[:, reach:-reach]
    return correlate1d(rows, window, axis=2)[:, :, reach:-reach]


def _halve(x: np.ndarray) -> np.ndarray:
    count, height, width, channels = x.shape
    even = x[:, : height // 2 * 2, : width // 2 * 2]
    return even.reshape(count, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
