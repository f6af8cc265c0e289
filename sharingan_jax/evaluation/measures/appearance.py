"""Measures of what the eye objects to first: wrong colours, noise in flat areas, soft edges. All on images uint8."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601
NOISE_FLOOR = 12**-0.5  # standard deviation of rounding to whole grey levels
WINDOW = 5  # pixels a side, at most
SMALL_SIDE = 48  # pixels; smaller images get a window of 3
FLAT_QUANTILE = 0.1
EDGE_QUANTILE = 0.95
PIXELS = 2**20  # in memory at once


@dataclass(frozen=True)
class ColourStatistics:
    """Mean and standard deviation of each channel, in grey levels 0 to 255, and the mean saturation, 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    saturation: float


def colour_statistics(images_u8: np.ndarray) -> ColourStatistics:
    """Return statistics of the colours of images uint8 [N, H, W, C], over all pixels of all images.

    The saturation of a pixel is (max − min) / max over its channels as in HSV, 0 for black. Means and standard deviations are
    exact, from histograms. Neither direction is better: compare with the real images.
    Source: the HSV model, Smith 1978. Raise ValueError if the images are not uint8 [N, H, W, 1 or 3].
    """
    images_u8 = as_images("images_u8", images_u8)
    channels = images_u8.shape[3]
    histograms = np.zeros((channels, 256), np.int64)
    saturation = 0.0
    for block in _blocks(images_u8):
        for channel in range(channels):
            histograms[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
        high, low = block.max(axis=3).astype(np.float32), block.min(axis=3).astype(np.float32)
        saturation += float(((high - low) / np.maximum(high, 1)).sum(dtype=np.float64))
    pixels = images_u8.size // channels
    levels = np.arange(256.0)
    means = histograms @ levels / pixels  # [C]
    variances = (histograms * np.square(levels[None, :] - means[:, None])).sum(axis=1) / pixels  # [C]
    return ColourStatistics(tuple(means.tolist()), tuple(np.sqrt(variances).tolist()), saturation / pixels)


def colour_distance(real_u8: np.ndarray, fake_u8: np.ndarray) -> float:
    """Return how far the colours of two sets of images differ, uint8 [N, H, W, C] and [M, H', W', C], in grey levels.

        √(Σ over channels of (difference of means)² + (difference of standard deviations)²)

    The statistics are `colour_statistics`'. Lower is better; 0 for equal statistics; at most 255 √C.
    It is the 2-Wasserstein distance between Gaussians fitted to each channel of the pixels, taken as independent.
    Source: Dowson & Landau 1982. Raise ValueError if the images are not uint8 [N, H, W, 1 or 3] with one C.
    """
    real, fake = colour_statistics(real_u8), colour_statistics(fake_u8)
    if len(real.mean) != len(fake.mean):
        raise ValueError(f"fake_u8: expected images of {len(real.mean)} channels, as the real ones, got {len(fake.mean)}")
    return float(np.linalg.norm(np.subtract(real.mean + real.std, fake.mean + fake.std)))


def flat_noise(images_u8: np.ndarray) -> float:
    """Return the noise in flat areas of images uint8 [N, H, W, C], in grey levels: the mean over the images of

        max(1/√12, 10th percentile over windows of max(s₋, s₊)),   s± = √(2 · mean over the window of min(0, ±(m − v))²)

    v is luma and m the window's median. s₋ and s₊ are the spreads below and above it. The larger one also estimates σ of Gaussian
    noise on white or black, where clipping removes one side. A window on an edge has a large spread. The low percentile passes
    over such windows if at least a tenth of all windows is flat. A window has 5×5 pixels, or 3×3 if a side is shorter than 48
    pixels. Windows start every `shorter side // 32` pixels (at least 1). The floor is the rounding noise of uint8.

    Measured on the embedded emblems at 64 pixels: 0.33 as drawn, and within 13% of σ with grey noise of σ = 1 to 16 grey levels.
    At 32 pixels: 0.45, and within 21%. An image that is white everywhere shows about 0.63 σ. Noise that is independent in each
    channel has 0.67 σ in luma. If all windows are flat, the percentile is a little low, so compare images of one size.

    Lower is cleaner, from 0.289 up. Compare with the real images: less than theirs is as wrong as more. Structure that fills
    the image (a texture) counts as noise.
    Source: block-based noise estimation, Olsen 1993; the one-sided spread is ours.
    Raise ValueError if the images are not uint8 [N, H, W, 1 or 3], or if a side is shorter than 5 pixels.
    """
    images_u8 = as_images("images_u8", images_u8, least_side=WINDOW)
    side = min(images_u8.shape[1:3])
    window, stride = WINDOW if side >= SMALL_SIDE else 3, max(1, side // 32)

    def noise(luma: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(luma, (window, window), axis=(1, 2))[:, ::stride, ::stride]
        values = np.sort(windows.reshape(len(luma), -1, window**2), axis=2)  # [N, windows, window²]
        middle = window**2 // 2
        gaps = np.square(values - values[..., middle, None])
        below, above = gaps[..., :middle].sum(axis=2), gaps[..., middle:].sum(axis=2)
        spread = np.sqrt(2 * np.maximum(below, above) / window**2)  # [N, windows]
        return np.maximum(np.quantile(spread, FLAT_QUANTILE, axis=1), NOISE_FLOOR)

    return _mean_over_images(noise, images_u8)


def edge_sharpness(images_u8: np.ndarray) -> float:
    """Return the sharpness of edges of images uint8 [N, H, W, C], in grey levels per pixel: the mean over the images of

        95th percentile over the pixels of |∇ median₃ₓ₃(luma)|,   ∇ by central differences

    The median filter removes speckle, so that it does not count as an edge. Pixels at the image's border are left out. Higher is
    sharper, from 0 to 180. Compare with the real images. An image whose edges fill less than a twentieth of it has a low value.
    Source: gradient-based focus measures, Pertuz, Puig & García 2013; the percentile and the filter are ours.
    Raise ValueError if the images are not uint8 [N, H, W, 1 or 3], or if a side is shorter than 5 pixels.
    """
    images_u8 = as_images("images_u8", images_u8, least_side=WINDOW)

    def sharpness(luma: np.ndarray) -> np.ndarray:
        smooth = median_filter(luma, (1, 3, 3))[:, 1:-1, 1:-1]
        down = (smooth[:, 2:, 1:-1] - smooth[:, :-2, 1:-1]) / 2
        right = (smooth[:, 1:-1, 2:] - smooth[:, 1:-1, :-2]) / 2
        return np.quantile(np.hypot(down, right), EDGE_QUANTILE, axis=(1, 2))

    return _mean_over_images(sharpness, images_u8)


def as_images(name: str, images_u8: np.ndarray, *, least_side: int = 1) -> np.ndarray:
    """Return images uint8 [N, H, W, C] as an array. Raise ValueError, with `name`, if they are not, or too small, or none."""
    images_u8 = np.asarray(images_u8)
    if images_u8.ndim != 4 or images_u8.dtype != np.uint8 or images_u8.shape[3] not in (1, 3) or images_u8.size == 0:
        raise ValueError(f"{name}: expected images uint8 [N, H, W, 1 or 3], got {images_u8.dtype} {list(images_u8.shape)}")
    if min(images_u8.shape[1:3]) < least_side:
        raise ValueError(f"{name}: expected images of at least {least_side} pixels a side, got {list(images_u8.shape)}")
    return images_u8


def to_luma(images_u8: np.ndarray) -> np.ndarray:
    """Return the luma of images uint8 [N, H, W, C], float32 [N, H, W] in grey levels: 0.299 R + 0.587 G + 0.114 B."""
    if images_u8.shape[3] == 1:
        return images_u8[..., 0].astype(np.float32)
    return images_u8.astype(np.float32) @ np.array(LUMA, np.float32)


def _blocks(images_u8: np.ndarray) -> list[np.ndarray]:
    size = max(1, PIXELS // (images_u8.shape[1] * images_u8.shape[2]))
    return [images_u8[start : start + size] for start in range(0, len(images_u8), size)]


def _mean_over_images(measure: Callable[[np.ndarray], np.ndarray], images_u8: np.ndarray) -> float:
    """Return the mean of `measure(luma [n, H, W]) -> [n]` over all images, computed block by block."""
    return float(np.concatenate([measure(to_luma(block)) for block in _blocks(images_u8)]).mean())
