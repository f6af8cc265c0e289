"""Permutation tests of two groups of runs: against scipy, against known cases, and for their level."""

import numpy as np
import pytest
from scipy.stats import permutation_test

from experiments.groups import Measure, permutation_tests


def _measure(seed: int, *, shift: float = 0.0, count: int = 5, others: int = 5) -> Measure:
    draws = np.random.default_rng(seed)
    return Measure("m", draws.normal(shift, 1, count), draws.normal(0, 1, others))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("count", "others"), [(5, 5), (4, 6)])
def test_p_is_scipys_exact_one(seed: int, count: int, others: int) -> None:
    measure = _measure(seed, shift=seed / 2, count=count, others=others)
    theirs = permutation_test(
        (measure.ours, measure.theirs),
        lambda x, y: abs(x.mean() - y.mean()),
        vectorized=False,
        n_resamples=np.inf,
        alternative="greater",
    )
    alone, among = permutation_tests([measure])
    assert alone == pytest.approx([theirs.pvalue])
    assert among == pytest.approx(alone)


def test_separate_groups_give_the_smallest_possible_p() -> None:
    apart = Measure("apart", np.arange(5.0) + 10, np.arange(5.0))
    alone, among = permutation_tests([apart, _measure(0)])
    assert alone[0] == pytest.approx(2 / 252)
    assert among[0] == pytest.approx(2 / 252)
    assert among[1] >= alone[1] > 0.05


def test_a_curves_difference_is_the_area_between_the_mean_curves() -> None:
    # The means agree; only the curves, which cross, differ.
    rising = np.linspace(-1, 1, 9) + np.arange(5)[:, None] / 100
    alone, _ = permutation_tests(
        [Measure("curve", rising, rising[:, ::-1]), Measure("mean", rising.mean(1), rising[:, ::-1].mean(1))]
    )
    assert alone[0] == pytest.approx(2 / 252)
    assert alone[1] == 1.0


def test_groups_of_one_distribution_differ_as_often_as_the_level_says() -> None:
    found = [permutation_tests([_measure(3 * i + k) for k in range(3)]) for i in range(150)]
    alone = np.mean([p[0][0] <= 0.1 for p in found])
    any_alone = np.mean([p[0].min() <= 0.1 for p in found])
    any_among = np.mean([p[1].min() <= 0.1 for p in found])
    assert 0.04 < alone < 0.17
    assert 0.04 < any_among < 0.17
    assert any_alone > 0.19  # Three chances: 1 − 0.9³ = 0.27.


def test_measures_of_groups_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="different sizes"):
        permutation_tests([_measure(0), _measure(1, count=4)])
