"""Colour, noise and sharpness against known changes of a drawing."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from sharingan_jax.data.emblems.draw import draw_emblems
from sharingan_jax.evaluation.measures import appearance
from sharingan_jax.evaluation.measures.appearance import (
    NOISE_FLOOR,
    colour_distance,
    colour_statistics,
    edge_sharpness,
    flat_noise,
    to_luma,
)


def _drawing(side: int = 64) -> np.ndarray:
    """Return a dark red ring and a black dot on white with smooth edges, uint8 [4, side, side, 3], each at another place."""
    y, x = np.mgrid[:side, :side] * 64 / side
    images = []
    for shift in range(4):
        radius = np.hypot(x - 30 - shift, y - 31)
        ring = np.clip(6 - np.abs(radius - 22), 0, 1)[..., None]
        dot = np.clip(7 - radius, 0, 1)[..., None]
        image = 255 * (1 - ring) + ring * np.array([180, 20, 30])
        images.append(image * (1 - dot))
    return np.round(np.stack(images)).astype(np.uint8)


def _emblems() -> np.ndarray:
    return draw_emblems(24, size=64)[0]


def _with_noise(images: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    """Add the same noise to all channels."""
    noise = np.random.default_rng(seed).normal(0, sigma, (*images.shape[:3], 1))
    return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    return np.round(gaussian_filter(images.astype(float), (0, sigma, sigma, 0))).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_statistics_equal_numpys_over_all_pixels(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appearance, "PIXELS", 200)
    images = np.random.default_rng(0).integers(0, 256, (7, 9, 8, channels), np.uint8)
    result = colour_statistics(images)
    np.testing.assert_allclose(result.mean, images.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(result.std, images.std(axis=(0, 1, 2)), rtol=1e-12)
    high, low = images.max(axis=3).astype(float), images.min(axis=3)
    np.testing.assert_allclose(result.saturation, np.mean((high - low) / np.maximum(high, 1)), rtol=1e-6)


def test_saturation_is_one_for_pure_red_and_zero_for_grey_and_black() -> None:
    red, grey, black = (np.full((2, 4, 4, 3), colour, np.uint8) for colour in ([200, 0, 0], [90, 90, 90], [0, 0, 0]))
    assert [colour_statistics(images).saturation for images in (red, grey, black)] == [1.0, 0.0, 0.0]


def test_the_colour_distance_is_the_shift_of_means_and_spreads() -> None:
    images = _drawing() // 2
    assert colour_distance(images, images) == 0.0
    assert colour_distance(images, images + 10) == pytest.approx(10 * np.sqrt(3))
    black, white = np.zeros((1, 8, 8, 3), np.uint8), np.full((3, 6, 6, 3), 255, np.uint8)
    assert colour_distance(black, white) == pytest.approx(255 * np.sqrt(3))
    with pytest.raises(ValueError, match="fake_u8: expected images of 3 channels, as the real ones, got 1"):
        colour_distance(images, images[..., :1])


@pytest.mark.parametrize("side", [32, 64, 128])
def test_the_noise_of_a_clean_drawing_is_the_floor(side: int) -> None:
    assert flat_noise(_drawing(side)) == pytest.approx(NOISE_FLOOR)


def test_the_noise_of_clean_emblems_is_close_to_the_floor() -> None:
    assert flat_noise(_emblems()) < NOISE_FLOOR + 0.1


@pytest.mark.parametrize("sigma", [2, 4, 8, 16])
def test_the_noise_of_a_noisy_drawing_is_about_its_sigma(sigma: float) -> None:
    assert flat_noise(_with_noise(_emblems(), sigma)) == pytest.approx(sigma, rel=0.15)
    assert flat_noise(_with_noise(draw_emblems(24, size=32)[0], sigma)) == pytest.approx(sigma, rel=0.25)
    grey = np.full((8, 64, 64, 1), 128, np.uint8)
    assert flat_noise(_with_noise(grey, sigma)) == pytest.approx(sigma, rel=0.15)


def test_edges_do_not_raise_the_noise() -> None:
    plain, lines = np.full((1, 64, 64, 1), 200, np.uint8), np.full((1, 64, 64, 1), 200, np.uint8)
    lines[:, ::12] = 0
    assert flat_noise(lines) == flat_noise(plain) == pytest.approx(NOISE_FLOOR)


def test_blur_lowers_the_sharpness_step_by_step() -> None:
    for images in (_drawing(), _emblems()):
        values = [edge_sharpness(images)] + [edge_sharpness(_blurred(images, sigma)) for sigma in (0.5, 1, 2, 4)]
        assert (np.diff(values) < 0).all()


@pytest.mark.parametrize("sigma", [2, 4, 8])
def test_light_noise_hardly_changes_the_sharpness(sigma: float) -> None:
    for images in (_drawing(), _emblems()):
        assert edge_sharpness(_with_noise(images, sigma)) == pytest.approx(edge_sharpness(images), rel=0.05)


def test_speckle_does_not_count_as_an_edge() -> None:
    images = np.full((3, 64, 64, 3), 255, np.uint8)
    speckled = images.copy()
    speckled[:, ::5, ::5] = 0
    assert edge_sharpness(images) == edge_sharpness(speckled) == 0.0


def test_the_sharpness_of_a_ramp_is_its_slope() -> None:
    ramp = np.broadcast_to((np.arange(32) * 5)[None, None, :, None], (2, 32, 32, 1)).astype(np.uint8)
    assert edge_sharpness(ramp) == pytest.approx(5.0)


def test_values_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    images = _with_noise(_drawing(), 3)
    whole = flat_noise(images), edge_sharpness(images)
    monkeypatch.setattr(appearance, "PIXELS", 1)
    assert (flat_noise(images), edge_sharpness(images)) == pytest.approx(whole, rel=1e-6)


def test_luma_weighs_the_channels() -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [255, 255, 255]], np.uint8)[None, None]
    np.testing.assert_allclose(to_luma(colours)[0, 0], [76.245, 149.685, 255.0], rtol=1e-6)


def test_arrays_that_are_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images_u8: expected images uint8 \[N, H, W, 1 or 3\], got float32 \[2, 8, 8, 3\]"):
        colour_statistics(np.zeros((2, 8, 8, 3), np.float32))
    for measure in (flat_noise, edge_sharpness):
        with pytest.raises(ValueError, match="at least 5 pixels a side"):
            measure(np.zeros((2, 4, 8, 3), np.uint8))
