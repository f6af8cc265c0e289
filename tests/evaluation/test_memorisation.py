"""The memorisation panel: closed forms on small matrices, scipy's Mann–Whitney test, a copier and a perfect sampler."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import mannwhitneyu, norm

from sharingan_jax.data.sources.emblems import emblem_dataset
from sharingan_jax.evaluation.measures.memorisation import (
    Memorisation,
    authentic_share,
    close_share,
    copying_z,
    distance_gap,
    distinct,
    leave_one_out,
    measure_memorisation,
    nearest_ratios,
    neighbours_used,
)
from sharingan_jax.evaluation.turns import Turns, distances, soften, turn

QUICK = settings(max_examples=60, deadline=None)
INF = np.inf


def _line(points: list[float], others: list[float]) -> np.ndarray:
    """Return the distances of points on a line to others, float32 [N, M], as `turns.distances` returns them."""
    return np.abs(np.subtract.outer(points, others)).astype(np.float32)


TRAIN = [0.0, 10.0, 30.0]
BETWEEN = leave_one_out(_line(TRAIN, TRAIN))
"""The nearest others are at 10, 10 and 20."""


def test_no_image_is_its_own_neighbour_and_the_matrix_is_not_changed() -> None:
    given_distances = _line(TRAIN, TRAIN)
    np.testing.assert_array_equal(leave_one_out(given_distances), [[INF, 10, 30], [10, INF, 20], [30, 20, INF]])
    assert np.diag(given_distances).tolist() == [0, 0, 0]


def test_ratios_and_the_authentic_share_of_points_on_a_line() -> None:
    samples = _line([1.0, 22.0, 45.0, 60.0], TRAIN)  # Nearest: 0 at 1, 30 at 8, 30 at 15, 30 at 30.
    np.testing.assert_allclose(nearest_ratios(samples, BETWEEN), [0.1, 0.4, 0.75, 1.5])
    assert authentic_share(samples, BETWEEN) == 0.25
    # At exactly the neighbour's own distance, a sample is not farther.
    assert authentic_share(_line([50.0], TRAIN), BETWEEN) == 0.0


def test_ratios_if_two_training_images_are_equal() -> None:
    train = [0.0, 0.0, 8.0]
    between = leave_one_out(_line(train, train))
    assert nearest_ratios(_line([0.0, 1.0, 8.0, 12.0], train), between).tolist() == [1.0, INF, 0.0, 0.5]


def test_the_close_share_counts_samples_with_one_far_nearer_image() -> None:
    # Ratios d1/d2 to 0 and 10: 0; 0.9/9.1; 2.4/7.6 just below a third; 2.6/7.4 just above; 1.
    assert close_share(_line([0.0, 0.9, 2.4, 2.6, 5.0], [0.0, 10.0])) == 0.6
    assert close_share(_line([0.0], [0.0, 0.0])) == 0.0


def test_the_gap_is_the_difference_of_medians() -> None:
    samples, unseen = _line([1.0, 2.0, 33.0], TRAIN), _line([14.0, 5.0], TRAIN)
    assert distance_gap(samples, unseen) == pytest.approx(2.0 - 4.5)


@pytest.mark.parametrize(("counts", "expected"), [((5, 5, 5), 1.0), ((9, 0, 0), 1 / 3), ((4, 4, 0), 2 / 3)])
def test_neighbours_used_is_one_if_all_serve_equally_and_1_over_n_if_one_serves_all(
    counts: tuple[int, ...], expected: float
) -> None:
    samples = np.repeat(np.array(TRAIN), counts)
    assert neighbours_used(_line(samples.tolist(), TRAIN)) == pytest.approx(expected)


@pytest.mark.parametrize(("count", "others", "shift"), [(500, 20, 0.0), (30, 80, 0.4), (7, 5, -1.0), (1, 1, 0.0)])
@pytest.mark.parametrize("decimals", [1, 6])
def test_c_t_is_the_z_score_of_scipys_mann_whitney_test(count: int, others: int, shift: float, decimals: int) -> None:
    rng = np.random.default_rng(count)
    # Distances to two training images, of which the second is far away. One decimal gives many ties.
    near = [np.round(rng.gamma(4, size=n) + extra, decimals) for n, extra in ((count, shift), (others, 0.0))]
    samples, unseen = (np.stack([x, x + 100], axis=1) for x in near)
    z = copying_z(samples, unseen)
    expected = mannwhitneyu(near[0], near[1], alternative="less", method="asymptotic", use_continuity=False)
    if decimals == 6:
        assert norm.cdf(z) == pytest.approx(expected.pvalue, rel=1e-9)
    u = (z * np.sqrt(count * others * (count + others + 1) / 12)) + count * others / 2
    assert u == pytest.approx(expected.statistic)  # With ties scipy shrinks the deviation; U itself counts them half.


def test_c_t_of_a_perfect_sampler_is_standard_normal() -> None:
    rng = np.random.default_rng(0)
    z = [copying_z(*(rng.gamma(4, size=(n, 1)) for n in (300, 20))) for _ in range(2000)]
    assert abs(np.mean(z)) < 4 / np.sqrt(2000)
    assert np.std(z) == pytest.approx(1, abs=0.07)
    assert np.mean(np.array(z) < -3) < 0.005


@st.composite
def _matrices(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances of F samples and M unseen images to N training images, and of these to each other: points in a plane."""
    sizes = [draw(st.integers(2, 12)) for _ in range(3)]
    whole = st.integers(-20, 20).map(float)
    samples, unseen, train = (draw(arrays(np.float64, (size, 2), elements=whole)) for size in sizes)
    train = np.unique(train, axis=0)
    if len(train) < 2:
        train = np.array([[0.0, 0.0], [1.0, 0.0]])
    return tuple(np.linalg.norm(x[:, None] - train[None], axis=2) for x in (samples, unseen, train))


@QUICK
@given(_matrices())
def test_the_panel_stays_in_its_ranges_and_does_not_depend_on_the_order(
    matrices: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    samples, unseen, train = matrices
    found = measure_memorisation(samples, train, unseen)
    assert 0 <= found.authentic <= 1
    assert 0 <= found.close_share <= 1
    assert 0 < found.neighbours_used <= 1 + 1e-12
    assert found.nearest_ratio >= 0
    again = measure_memorisation(samples[::-1], train, unseen[::-1])
    np.testing.assert_allclose(list(vars(again).values()), list(vars(found).values()))


@QUICK
@given(_matrices(), st.floats(0.1, 50))
def test_a_unit_of_distance_changes_the_gap_alone(matrices: tuple[np.ndarray, np.ndarray, np.ndarray], unit: float) -> None:
    # A power of two, so that no comparison changes by rounding.
    factor = 2.0 ** np.round(np.log2(unit))
    found = measure_memorisation(*(matrices[i] for i in (0, 2, 1)))
    scaled = measure_memorisation(*(matrices[i] * factor for i in (0, 2, 1)))
    assert scaled.gap == pytest.approx(found.gap * factor)
    assert {**vars(scaled), "gap": 0} == {**vars(found), "gap": 0}


@QUICK
@given(_matrices())
def test_copies_have_the_worst_value_of_everything_and_swapping_sides_turns_c_t_round(
    matrices: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    samples, unseen, train = matrices
    copies, others = measure_memorisation(train, train, unseen), measure_memorisation(samples, train, unseen)
    assert (copies.authentic, copies.nearest_ratio, copies.close_share) == (0, 0, 1)
    assert copies.c_t <= others.c_t + 1e-9 or len(samples) != len(train)
    assert copies.gap <= others.gap
    assert copying_z(samples, unseen) == pytest.approx(-copying_z(unseen, samples))


def test_an_image_that_is_there_twice_does_not_hide_its_copies() -> None:
    train = [0.0, 10.0, 30.0, 0.0, 30.0, 0.0]
    between, samples, unseen = _line(train, train), _line([0.1, 30.2, 9.9], train), _line([4.0, 16.0], train)
    assert distinct(between).tolist() == [0, 1, 2]
    found = measure_memorisation(samples, between, unseen)
    assert found == measure_memorisation(samples[:, :3], between[:3, :3], unseen[:, :3])
    assert (found.authentic, found.close_share) == (0.0, 1.0)
    # Without leaving them out, the same samples would count as new.
    assert authentic_share(samples, leave_one_out(between)) == pytest.approx(2 / 3)
    assert close_share(samples) == pytest.approx(1 / 3)


def test_without_unseen_images_each_training_image_stands_for_one_with_the_others_as_neighbours() -> None:
    train = _line(TRAIN, TRAIN)
    found = measure_memorisation(_line([1.0, 12.0], TRAIN), train, None)
    assert found.gap == pytest.approx(1.5 - 10)
    # Of 0, 10 and 30 the nearest others are 10, 0 and 10, whose own nearest are at 10: ratios 1, 1 and 2.
    assert found.nearest_ratio_real == 1.0
    assert found.c_t == copying_z(_line([1.0, 12.0], TRAIN), BETWEEN)


@pytest.fixture(scope="module")
def panel() -> dict[str, Memorisation]:
    """The panel of exact, of turned and noisy copies, and of a perfect sampler: emblems that were not trained on."""
    soft = soften(emblem_dataset(size=32, channels=3).preview(50))
    new = soften(emblem_dataset(size=32, channels=3, first=100).preview(70))
    rng, grid = np.random.default_rng(0), Turns(angles=50)
    turned = np.concatenate([turn(image[None], int(rng.integers(grid.count)), grid) for image in soft])
    noisy = turned + rng.normal(0, 2 / 255, turned.shape).astype(np.float32)
    samples = {"exact": soft, "turned": noisy, "perfect": new[30:]}
    train = distances(soft, soft, Turns())
    unseen = distances(new[:30], soft, Turns())
    return {name: measure_memorisation(distances(images, soft, Turns()), train, unseen) for name, images in samples.items()}


def test_a_copier_of_emblems_is_caught(panel: dict[str, Memorisation]) -> None:
    exact = panel["exact"]
    assert (exact.authentic, exact.nearest_ratio, exact.close_share, exact.neighbours_used) == (0, 0, 1, pytest.approx(1))
    assert exact.c_t < -6
    assert exact.gap < -15


def test_a_copier_that_turns_its_copies_and_adds_noise_is_caught(panel: dict[str, Memorisation]) -> None:
    turned = panel["turned"]
    assert turned.authentic < 0.05
    assert turned.nearest_ratio < 0.4
    assert turned.c_t < -6
    assert turned.gap < -10


def test_a_perfect_sampler_of_emblems_is_not_taken_for_a_copier(panel: dict[str, Memorisation]) -> None:
    perfect = panel["perfect"]
    assert perfect.authentic > 0.2  # Of 100 such sets of broad data 0.7, but emblems vary twenty motifs.
    assert perfect.nearest_ratio > 0.75
    assert perfect.nearest_ratio == pytest.approx(perfect.nearest_ratio_real, rel=0.3)
    assert perfect.close_share < 0.05
    assert abs(perfect.c_t) < 3
    assert abs(perfect.gap) < 5
