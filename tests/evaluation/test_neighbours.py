"""Measures on nearest neighbours against the package prdc, closed forms and simulation."""

from collections.abc import Callable

import numpy as np
import pytest

from sharingan_jax.evaluation.measures.neighbours import (
    PRDC,
    clipped_coverage,
    clipped_density,
    expected_clipped_counts,
    expected_coverage,
    precision_recall_density_coverage,
    resampled,
    subsets_of,
)

CLIPPED = [clipped_density, clipped_coverage]


def _normal(seed: int, count: int, *, dimensions: int = 16, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions)) * scale


@pytest.mark.parametrize(("n_real", "n_fake", "k"), [(100, 100, 5), (60, 200, 3), (200, 50, 1)])
def test_the_four_measures_equal_the_package_prdc(n_real: int, n_fake: int, k: int) -> None:
    prdc = pytest.importorskip("prdc")
    for scale in (0.8, 1.0, 1.3):
        real, fake = _normal(0, n_real), _normal(1, n_fake, scale=scale) + 0.2
        expected = PRDC(**prdc.compute_prdc(real, fake, k))
        ours = precision_recall_density_coverage(real, fake, k=k)
        np.testing.assert_allclose(
            [ours.precision, ours.recall, ours.density, ours.coverage],
            [expected.precision, expected.recall, expected.density, expected.coverage],
            rtol=1e-6,
        )


def test_exact_copies_score_one_in_everything() -> None:
    real = _normal(2, 100)
    copies = np.random.default_rng(3).permutation(real)
    assert precision_recall_density_coverage(real, copies) == PRDC(1.0, 1.0, 1.0, 1.0)
    assert clipped_density(real, copies) == clipped_coverage(real, copies) == 1.0


def test_equal_fakes_have_precision_but_no_recall() -> None:
    real = _normal(4, 100, dimensions=2)
    centre = np.repeat(real.mean(axis=0, keepdims=True), 100, axis=0)
    result = precision_recall_density_coverage(real, centre)
    assert (result.precision, result.recall) == (1.0, 0.0)
    assert 0 < result.coverage < 0.2
    assert clipped_density(real, centre) == 1.0
    assert 0 < clipped_coverage(real, centre) < 0.2


def test_duplicates_among_the_real_images_give_finite_values() -> None:
    real = np.repeat(_normal(5, 10), 10, axis=0)
    result = precision_recall_density_coverage(real, _normal(6, 100))
    assert result == PRDC(0.0, result.recall, 0.0, 0.0)
    for measure in CLIPPED:
        assert measure(real, _normal(6, 100)) == 0.0
    assert clipped_density(real, real) == 1.0


def test_distant_fakes_score_zero() -> None:
    real, fake = _normal(7, 50), _normal(8, 50) + 1000
    assert precision_recall_density_coverage(real, fake) == PRDC(0.0, 0.0, 0.0, 0.0)
    assert clipped_density(real, fake) == clipped_coverage(real, fake) == 0.0


@pytest.mark.parametrize(("n_real", "n_fake", "k"), [(100, 100, 5), (20, 60, 5), (80, 30, 3)])
def test_the_coverage_of_a_perfect_sampler_is_as_expected(n_real: int, n_fake: int, k: int) -> None:
    coverages = []
    for seed in range(100):
        both = _normal(seed, n_real + n_fake, dimensions=3)
        coverages.append(precision_recall_density_coverage(both[:n_real], both[n_real:], k=k).coverage if n_fake > k else 0)
    assert abs(np.mean(coverages) - expected_coverage(n_real, n_fake, k)) < 4 * np.std(coverages) / 10


def test_the_expected_coverage_has_its_closed_form() -> None:
    assert expected_coverage(100, 100, 5) == pytest.approx(1 - np.prod([(99 - i) / (199 - i) for i in range(5)]))
    assert expected_coverage(2, 1, 1) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="got k=5, n_real=5, n_fake=9"):
        expected_coverage(5, 9, 5)


def test_the_calibration_of_clipped_coverage_agrees_with_closed_forms() -> None:
    # Up to k good fakes nothing is clipped, so f(m) = E[J] / k = m / N. With k = 1 it is the expected coverage.
    np.testing.assert_allclose(expected_clipped_counts(100, 100, 5)[:6], np.arange(6) / 100, rtol=1e-9, atol=1e-12)
    expected = [expected_coverage(40, m, 1) for m in range(1, 61)]
    np.testing.assert_allclose(expected_clipped_counts(40, 60, 1)[1:], expected, rtol=1e-9)
    assert (np.diff(expected_clipped_counts(100, 5000, 5)) > 0).all()


def test_the_calibration_of_clipped_coverage_agrees_with_simulation() -> None:
    raw = []
    for seed in range(200):
        both = _normal(seed, 90, dimensions=2)
        real, fake = both[:50], both[50:]
        distances = np.linalg.norm(real[:, None] - real[None], axis=2)
        radii = np.sort(distances, axis=1)[:, 5]
        inside = (np.linalg.norm(real[:, None] - fake[None], axis=2) < radii[:, None]).sum(axis=1)
        raw.append(np.minimum(inside / 5, 1).mean())
    assert abs(np.mean(raw) - expected_clipped_counts(50, 40, 5)[-1]) < 4 * np.std(raw) / np.sqrt(200)


def test_clipped_density_equals_loops_over_its_definition() -> None:
    real, fake = _normal(9, 30, dimensions=4), _normal(10, 40, dimensions=4, scale=1.6)
    own = [sorted(np.linalg.norm(x - y) for y in real)[5] for x in real]
    radii = [min(radius, np.median(own)) for radius in own]
    pairs = list(zip(real, radii, strict=True))
    of_fakes = np.mean([min(1, sum(np.linalg.norm(x - y) <= radius for x, radius in pairs) / 5) for y in fake])
    of_reals = np.mean([min(1, (sum(np.linalg.norm(x - y) <= radius for x, radius in pairs) - 1) / 5) for y in real])
    assert of_fakes < of_reals
    assert clipped_density(real, fake) == pytest.approx(of_fakes / of_reals)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("measure", CLIPPED)
def test_a_share_of_bad_fakes_lowers_the_clipped_measures_linearly(measure: Callable[..., float], share: float) -> None:
    scores = []
    for seed in range(10):
        real, fake = _normal(2 * seed, 400), _normal(2 * seed + 1, 400)
        fake[: int(share * 400)] += 100
        scores.append(measure(real, fake))
    # Scores above 1 are cut, so the mean of good samplers is below 1.
    assert np.mean(scores) == pytest.approx(1 - share, abs=0.05 if share else 0.08)


def test_one_outlier_among_the_reals_does_not_admit_bad_fakes_to_clipped_density() -> None:
    real, bad = _normal(11, 100, dimensions=2), _normal(12, 100, dimensions=2) + 50
    real[0] = 100.0
    assert precision_recall_density_coverage(real, bad).precision == 1.0
    assert clipped_density(real, bad) == 0.0


def test_resampling_compares_equal_counts_and_averages_each_field() -> None:
    real, fake = _normal(13, 40), _normal(14, 300)
    counts: list[tuple[int, int]] = []

    def measure(real: np.ndarray, fake: np.ndarray) -> PRDC:
        counts.append((len(real), len(fake)))
        assert len(np.unique(fake[:, 0])) == len(fake)
        return precision_recall_density_coverage(real, fake)

    result = resampled(measure, real, fake, resamples=7)
    assert counts == [(40, 40)] * 7
    assert result == resampled(precision_recall_density_coverage, real, fake, resamples=7)
    assert result != resampled(precision_recall_density_coverage, real, fake, resamples=7, seed=1)
    resampled(measure, fake, real, resamples=2)
    resampled(measure, real, fake[:40])
    assert counts[7:] == [(40, 40)] * 3
    assert resampled(lambda real, fake: float(len(fake)), real, fake) == 40.0


def test_large_sets_are_drawn_from_less_often_but_at_least_once() -> None:
    assert [subsets_of(count) for count in (100, 200, 400, 900, 5000)] == [20, 20, 5, 1, 1]
    drawn: list[int] = []
    features = np.arange(1300.0)[:, None]
    resampled(lambda real, fake: float(drawn.append(len(fake)) or 0), features[:1000], features)
    assert drawn == [1000]


def test_the_mean_over_resamples_is_close_to_the_expected_coverage() -> None:
    results = [
        resampled(precision_recall_density_coverage, _normal(s, 100, dimensions=3), _normal(s + 99, 1000, dimensions=3))
        for s in range(20)
    ]
    assert np.mean([result.coverage for result in results]) == pytest.approx(expected_coverage(100, 100), abs=0.01)


def test_a_k_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="k: expected at least 1, got 0"):
        clipped_density(_normal(0, 10), _normal(1, 10), k=0)
    for measure in (*CLIPPED, precision_recall_density_coverage):
        with pytest.raises(ValueError, match="real: expected features of at least 6 images, got 5"):
            measure(_normal(0, 5), _normal(1, 10), k=5)
    with pytest.raises(ValueError, match="resamples: expected at least 1, got 0"):
        resampled(clipped_density, _normal(0, 10), _normal(1, 10), resamples=0)
