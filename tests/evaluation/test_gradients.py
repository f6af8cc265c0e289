"""The feature space "gradients": its formula in plain loops, and what it sees that means over positions hide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from sharingan_jax.data.emblems.draw import draw_emblem
from sharingan_jax.evaluation import gradients
from sharingan_jax.evaluation.features import random_features
from sharingan_jax.evaluation.gradients import COARSEST, COLOURS, QUANTILES, SEEN, gradient_features
from sharingan_jax.evaluation.measures.kid import kid


@pytest.fixture(scope="module")
def emblems() -> np.ndarray:
    return np.stack([draw_emblem(i, size=32) for i in range(120)])


def _plain(image_u8: np.ndarray) -> np.ndarray:
    """Return the features of one image, pixel by pixel."""
    level = image_u8.astype(np.float64) @ COLOURS.astype(np.float64)
    taps, found = np.array([1, 4, 6, 4, 1]) / 16, []
    while min(level.shape[:2]) > COARSEST:
        height, width, _ = level.shape
        for down, right in ((1, 0), (0, 1)):
            sizes = np.array(
                [
                    [np.log(1 + np.abs(level[y + down, x + right] - level[y, x]) / SEEN) for x in range(width - right)]
                    for y in range(height - down)
                ]
            )
            top, left = (sizes.shape[0] + 1) // 2, (sizes.shape[1] + 1) // 2
            for rows in (sizes[:top], sizes[top:]):
                for quarter in (rows[:, :left], rows[:, left:]):
                    pixels = quarter.reshape(-1, 3)
                    found += [np.quantile(pixels[:, colour], q) / 4 for q in QUANTILES for colour in range(3)]
        padded = np.pad(level, ((2, 2), (2, 2), (0, 0)), mode="edge")
        level = np.array(
            [
                [sum(taps[i] * taps[j] * padded[y + i, x + j] for i in range(5) for j in range(5)) for x in range(0, width, 2)]
                for y in range(0, height, 2)
            ]
        )
    return np.concatenate([found, level.reshape(-1) / 128])


@pytest.mark.parametrize("size", [5, 11, 16])
def test_the_features_are_those_of_plain_loops(size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    np.testing.assert_allclose(gradient_features(images), [_plain(image) for image in images], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("size", "width"), [(32, 408), (64, 528)])
def test_the_width_is_the_documented_one_and_most_features_are_small(size: int, width: int) -> None:
    found = gradient_features(np.stack([draw_emblem(i, size=size) for i in range(8)]))
    assert found.shape == (8, width)
    assert found.dtype == np.float32
    assert -1 <= np.quantile(found, 0.01) <= np.quantile(found, 0.99) <= 2


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(0, 255))
def test_one_colour_has_no_gradients(size: int, level: int) -> None:
    found = gradient_features(np.full((2, size, size, 3), level, np.uint8))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0][np.abs(found[0]) > 1e-4], level / 128, rtol=1e-4)  # The coarsest level's lightness.


def test_images_are_treated_alike_whatever_else_is_in_the_array(emblems: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gradient_features(emblems)
    monkeypatch.setattr(gradients, "BLOCK_BYTES", 4 * emblems[0].size * 7)
    np.testing.assert_array_equal(gradient_features(emblems), whole)
    np.testing.assert_array_equal(gradient_features(emblems[5:6]), whole[5:6])


def test_grey_images_have_the_features_of_grey_images_in_colour(emblems: np.ndarray) -> None:
    grey = emblems[:4, :, :, :1]
    np.testing.assert_array_equal(gradient_features(grey), gradient_features(grey.repeat(3, axis=-1)))


def _noisy(images_u8: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, deviation, images_u8.shape)
    return np.clip(np.round(images_u8 + noise), 0, 255).astype(np.uint8)


def test_speckle_blur_and_few_motifs_are_seen(emblems: np.ndarray) -> None:
    real, new = gradient_features(emblems[:60]), emblems[60:]
    clean = kid(real, gradient_features(new))
    spoilt = {
        "noise 4": _noisy(new, 4),
        "noise 12": _noisy(new, 12),
        "blur": np.round(gaussian_filter(new.astype(np.float32), (0, 0.7, 0.7, 0))).astype(np.uint8),
        "few": new[np.arange(60) % 3],
    }
    values = {name: kid(real, gradient_features(images)).value for name, images in spoilt.items()}
    assert abs(clean.value) < 4 * clean.standard_error
    assert all(value > clean.value + 8 * clean.standard_error for value in values.values()), values
    assert values["noise 12"] > 2 * values["noise 4"]


def test_the_random_network_misses_speckle_that_gradients_see(emblems: np.ndarray) -> None:
    new, speckled = emblems[60:], _noisy(emblems[60:], 12)
    for features, seen in ((random_features, False), (gradient_features, True)):
        real = features(emblems[:60])
        error = kid(real, features(new)).standard_error
        assert (kid(real, features(speckled)).value > kid(real, features(new)).value + 8 * error) is seen
