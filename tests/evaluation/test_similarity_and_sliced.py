"""MS-SSIM, pairwise distances and the sliced Wasserstein distance against TensorFlow, scipy and plain loops."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from sharingan_jax.evaluation.measures import similarity
from sharingan_jax.evaluation.measures.similarity import mean_pairwise_distance, ms_ssim, ms_ssim_diversity, scale_count
from sharingan_jax.evaluation.measures.sliced import sliced_wasserstein


def _waves(side: int, channels: int, phase: float) -> np.ndarray:
    """Return a smooth image with some fine structure, uint8 [1, side, side, channels]."""
    y, x = np.mgrid[:side, :side] / side
    parts = [
        np.sin(7 * x * (c + 1) + phase) + np.cos(11 * y + phase * (c + 1)) + 0.3 * np.sin(90 * x * y) for c in range(channels)
    ]
    return np.round(127.5 + 45 * np.stack(parts, axis=-1)).astype(np.uint8)[None]


def _random(count: int, side: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


# tf.image.ssim_multiscale(a, b, 255, power_factors=the first S weights over their sum), TensorFlow 2.21.0, float32.
@pytest.mark.parametrize(
    ("side", "channels", "tensorflow"),
    [
        (32, 3, 0.8186971545219421),
        (64, 3, 0.8263021111488342),
        (64, 1, 0.9198200702667236),
        (128, 3, 0.8441534638404846),
        (176, 1, 0.9368004202842712),
        (256, 3, 0.8710425496101379),
    ],
)
def test_ms_ssim_equals_tensorflows(side: int, channels: int, tensorflow: float) -> None:
    values = ms_ssim(_waves(side, channels, 0.0), _waves(side, channels, 0.4))
    np.testing.assert_allclose(values, [tensorflow], atol=5e-6)  # TensorFlow computes in float32.


def test_the_number_of_scales_follows_from_the_size() -> None:
    assert [scale_count(side) for side in (11, 21, 22, 32, 64, 128, 175, 176, 256)] == [1, 1, 2, 2, 3, 4, 4, 5, 5]


def test_ms_ssim_is_one_for_equal_images_symmetric_and_independent_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = _random(5, 33), _random(5, 33, seed=1)
    np.testing.assert_allclose(ms_ssim(a, a), np.ones(5), rtol=1e-12)
    whole = ms_ssim(a, b)
    np.testing.assert_allclose(ms_ssim(b, a), whole, rtol=1e-12)
    monkeypatch.setattr(similarity, "PIXELS", 1)
    np.testing.assert_allclose(ms_ssim(a, b), whole, rtol=1e-12)


def test_ms_ssim_falls_with_the_difference_and_stays_in_its_range() -> None:
    image = np.repeat(_waves(64, 3, 0.0), 4, axis=0)
    noise = np.random.default_rng(0).normal(size=image.shape) * np.array([0, 5, 20, 80])[:, None, None, None]
    values = ms_ssim(image, np.clip(image + noise, 0, 255).astype(np.uint8))
    assert (np.diff(values) < 0).all()
    opposite = ms_ssim(image, 255 - image)
    assert (opposite >= 0).all()
    assert (opposite < 0.1).all()


def test_diversity_is_the_mean_over_distinct_pairs() -> None:
    images = _random(6)
    pairs = list(combinations(range(6), 2))
    expected = np.mean([ms_ssim(images[i : i + 1], images[j : j + 1])[0] for i, j in pairs])
    assert ms_ssim_diversity(images, pairs=15) == pytest.approx(expected)
    assert ms_ssim_diversity(images, pairs=14) != pytest.approx(expected, abs=1e-9)
    first, second = similarity._pairs(40, 300, np.random.default_rng(0))
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == 300
    assert (first < second).all()
    assert (first >= 0).all()
    assert second.max() < 40


def test_all_pairs_are_numbered_once_even_for_many_images() -> None:
    first, second = similarity._pairs(1500, 1500 * 1499 // 2, np.random.default_rng(0))
    assert np.array_equal(second * (second - 1) // 2 + first, np.arange(len(first)))
    assert (first < second).all()
    assert (first.min(), second.max()) == (0, 1499)


def test_diversity_follows_from_the_seed_and_is_one_for_equal_images() -> None:
    images = _random(20)
    assert ms_ssim_diversity(images, pairs=30) == ms_ssim_diversity(images, pairs=30)
    assert ms_ssim_diversity(images, pairs=30) != ms_ssim_diversity(images, pairs=30, seed=1)
    assert ms_ssim_diversity(np.repeat(images[:1], 9, axis=0)) == pytest.approx(1.0)


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 11 pixels a side, got 8"):
        ms_ssim(_random(2, 8), _random(2, 8))
    with pytest.raises(ValueError, match=r"b_u8: expected the shape of a_u8"):
        ms_ssim(_random(2), _random(3))
    with pytest.raises(ValueError, match=r"a_u8: expected images uint8 .* got float64"):
        ms_ssim(_random(2) / 1.0, _random(2))
    with pytest.raises(ValueError, match="got 1 images"):
        ms_ssim_diversity(_random(1))


@pytest.mark.parametrize("count", [2, 50, 300])
def test_the_mean_pairwise_distance_equals_loops_over_pairs(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "BLOCK", 64)
    features = np.random.default_rng(0).normal(size=(count, 5)) + 100
    expected = np.mean([np.linalg.norm(a - b) for a, b in combinations(features, 2)])
    assert mean_pairwise_distance(features) == pytest.approx(expected, rel=1e-9)


def test_the_mean_pairwise_distance_of_equal_features_is_zero() -> None:
    assert mean_pairwise_distance(np.full((40, 300), 0.1, np.float32)) < 1e-6


@pytest.mark.parametrize(("n_real", "n_fake"), [(30, 30), (20, 31), (100, 7), (1, 5)])
def test_each_projection_equals_scipys_wasserstein_distance(n_real: int, n_fake: int) -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(n_real, 6)), rng.normal(size=(n_fake, 6)) * 2 + 1
    directions = np.random.default_rng(5).standard_normal((70, 6))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    expected = np.mean([wasserstein_distance(real @ direction, fake @ direction) for direction in directions])
    assert sliced_wasserstein(real, fake, projections=70, seed=5) == pytest.approx(expected, rel=1e-9)


def test_the_sliced_distance_of_a_shift_is_the_mean_absolute_cosine_times_its_length() -> None:
    real = np.random.default_rng(1).normal(size=(50, 2))
    shift = np.array([[3.0, 4.0]])
    value = sliced_wasserstein(real, real + shift, projections=4000)  # E|cos| on the circle is 2/π.
    assert value == pytest.approx(5 * 2 / np.pi, rel=0.03)
    assert sliced_wasserstein(real, np.tile(real, (3, 1))) == pytest.approx(0.0, abs=1e-12)


def test_projections_follow_from_the_seed_and_are_checked() -> None:
    rng = np.random.default_rng(2)
    real, fake = rng.normal(size=(2, 30, 4))
    assert sliced_wasserstein(real, fake) == sliced_wasserstein(real, fake)
    assert sliced_wasserstein(real, fake) != sliced_wasserstein(real, fake, seed=1)
    with pytest.raises(ValueError, match="projections: expected at least 1, got 0"):
        sliced_wasserstein(real, fake, projections=0)
