"""Each statistic against scipy, scikit-learn, statsmodels, rliable or a closed form."""

import math
from dataclasses import astuple

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sharingan_jax.comparison.statistics import (
    Difference,
    holm,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
    summarise,
    wilson_interval,
)
from sharingan_jax.comparison.verdict import smallest_p

FINITE = st.floats(-1e6, 1e6, allow_subnormal=False)
QUICK = settings(max_examples=50, deadline=None)


def pairs(min_size: int = 1, max_size: int = 10) -> st.SearchStrategy[list[tuple[float, float]]]:
    return st.lists(st.tuples(FINITE, FINITE), min_size=min_size, max_size=max_size)


def skewed_pair(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return correlated skewed values of a baseline and of a variant that is 0.3 lower, [n] each."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=n)
    return shared + rng.lognormal(size=n), shared + rng.lognormal(size=n) - 0.3


def compare(a: np.ndarray, b: np.ndarray) -> Difference:
    return paired_difference(a, b, better="lower", n_resamples=200)


# Summaries


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 10, 23])
def test_the_interquartile_mean_is_scipys_and_rliables(n: int) -> None:
    values = skewed_pair(n)[0]
    assert interquartile_mean(values) == pytest.approx(scipy.stats.trim_mean(values, 0.25), rel=1e-13)
    metrics = pytest.importorskip("rliable.metrics")
    assert interquartile_mean(values) == pytest.approx(metrics.aggregate_iqm(values[:, None]), rel=1e-13)


@QUICK
@given(st.lists(FINITE, min_size=1, max_size=30))
def test_the_interquartile_mean_lies_between_the_least_and_the_largest_value(values: list[float]) -> None:
    slack = 1e-12 * max(map(abs, values))  # A mean of floats may round past them.
    assert min(values) - slack <= interquartile_mean(values) <= max(values) + slack


def test_an_interval_that_ends_at_zero_covers_it() -> None:
    shares = np.array([-0.1, -0.2, 0.0, -0.1, -0.2, 0.1, -0.1, 0.0]) / 3
    interval = summarise(shares)
    assert interval.high == 0.0


def test_rounding_of_the_values_does_not_move_the_interval() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        values = rng.normal(size=8)
        plain = summarise(values)
        assert plain.low is not None
        assert plain.high is not None
        for relative in (1e-15, 1e-12):
            moved = summarise(values * (1 + relative * rng.normal(size=8)))
            np.testing.assert_allclose([moved.low, moved.high], [plain.low, plain.high], rtol=0, atol=1e-9)


def test_a_summary_holds_the_figures_of_numpy_and_a_bca_interval() -> None:
    values = skewed_pair(9)[0]
    summary = summarise(values)
    assert (summary.n, summary.mean, summary.median) == (9, values.mean(), np.median(values))
    assert summary.iqm == interquartile_mean(values)
    assert summary.low is not None
    assert summary.high is not None
    assert summary.low < summary.mean < summary.high


def test_a_summary_has_no_interval_for_one_value_or_without_spread() -> None:
    assert astuple(summarise([3.0])) == (1, 3.0, 3.0, 3.0, None, None)
    assert astuple(summarise([2.0] * 4)) == (4, 2.0, 2.0, 2.0, None, None)


@pytest.mark.parametrize("n", [5, 6])
def test_the_interval_is_the_bca_interval_of_the_book_over_all_resamples(n: int) -> None:
    a, b = skewed_pair(n, seed=n)
    difference = paired_difference(a, b, better="lower", n_resamples=50_000)
    # Efron & Tibshirani 1993, equations 14.9 to 14.15, on the means of all n^n resamples.
    means = (b - a)[np.indices((n,) * n).reshape(n, -1)].mean(0)
    left_out = np.array([np.delete(b - a, i).mean() for i in range(n)])
    gaps = left_out.mean() - left_out
    acceleration = np.sum(gaps**3) / (6 * np.sum(gaps**2) ** 1.5)
    bias = scipy.stats.norm.ppf(np.mean(means < np.mean(b - a)))
    z = bias + scipy.stats.norm.ppf([0.025, 0.975])
    expected = np.quantile(means, scipy.stats.norm.cdf(bias + z / (1 - acceleration * z)))
    # 50,000 resamples move the end points by about 1% of the interval's width.
    np.testing.assert_allclose([difference.low, difference.high], expected, atol=0.03 * (expected[1] - expected[0]))


# Paired differences


@pytest.mark.parametrize("n", [2, 5, 9, 12])
def test_p_is_the_exact_permutation_p_of_scipy(n: int) -> None:
    a, b = skewed_pair(n, seed=n)
    oracle = scipy.stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(y - x, axis=axis), permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    assert compare(a, b).p == pytest.approx(oracle.pvalue, rel=1e-12)


def test_sums_that_differ_by_rounding_count_as_equal() -> None:
    # ±0.1 ±0.2 ±0.3: |sum| is at least |0.1 + 0.2 - 0.3| = 0 for all, and at least 0.6 for two of eight.
    assert compare(np.zeros(3), np.array([0.1, 0.2, -0.3])).p == 1.0
    assert compare(np.zeros(3), np.array([0.3, 0.2, 0.1])).p == 0.25


@pytest.mark.parametrize(("n", "higher"), [(20, 15), (21, 16), (40, 27)])
def test_p_of_differences_of_equal_size_is_the_sign_test_of_scipy(n: int, higher: int) -> None:
    signs = np.where(np.arange(n) < higher, 1.0, -1.0)
    expected = scipy.stats.binomtest(higher, n).pvalue
    # Beyond 20 pairs 100,000 flips are sampled: five standard errors.
    tolerance = 1e-12 if n <= 20 else 5 * math.sqrt(expected * (1 - expected) / 100_000)
    assert compare(np.zeros(n), signs).p == pytest.approx(expected, abs=tolerance)


def test_a_sampled_p_is_never_zero() -> None:
    assert compare(np.zeros(60), np.arange(1.0, 61.0)).p == 1 / 100_001


@QUICK
@given(pairs())
def test_swapping_the_variants_mirrors_the_difference(values: list[tuple[float, float]]) -> None:
    a, b = np.array(values).T
    forward, backward = compare(a, b), compare(b, a)
    assert forward.p == backward.p
    assert smallest_p(len(values)) <= forward.p <= 1
    assert (forward.mean, forward.median) == (-backward.mean, -backward.median)
    assert (forward.seeds_better, forward.seeds_worse) == (backward.seeds_worse, backward.seeds_better)
    assert forward.probability_of_improvement == pytest.approx(1 - backward.probability_of_improvement)


def test_the_effect_size_is_the_paired_t_statistic_over_the_root_of_n() -> None:
    a, b = skewed_pair(8)
    difference = compare(a, b)
    assert difference.effect is not None
    assert difference.effect * math.sqrt(8) == pytest.approx(scipy.stats.ttest_rel(b, a).statistic)
    assert (difference.mean, difference.median) == (np.mean(b - a), np.median(b - a))


def test_equal_differences_give_a_point_as_interval() -> None:
    difference = compare(np.array([1.0, 2.0, 3.0]), np.array([1.1, 2.1, 3.1]))  # They differ by rounding only.
    assert difference.low == difference.high == difference.mean == pytest.approx(0.1)
    assert difference.effect is None
    assert difference.p == 0.25


def test_one_pair_gives_no_interval_and_p_of_1() -> None:
    difference = compare(np.array([1.0]), np.array([0.5]))
    assert (difference.low, difference.high, difference.effect, difference.p) == (None, None, None, 1.0)


def test_a_difference_at_the_level_of_rounding_is_no_evidence() -> None:
    a = np.linspace(50, 60, 10)
    difference = compare(a, np.nextafter(a, 0))
    assert (difference.mean, difference.p, difference.seeds_better) == (0.0, 1.0, 10)


def test_the_same_seed_gives_the_same_figures() -> None:
    a, b = skewed_pair(25)
    assert paired_difference(a, b, better="lower", seed=3) == paired_difference(a, b, better="lower", seed=3)
    assert paired_difference(a, b, better="lower", seed=3) != paired_difference(a, b, better="lower", seed=4)


# Unpaired


@pytest.mark.parametrize("tied", [False, True])
def test_the_probability_of_improvement_is_rliables_and_the_area_under_scikit_learns_roc_curve(tied: bool) -> None:
    a, b = (np.round(values) if tied else values for values in skewed_pair(12))
    b = b[:9]
    higher = probability_of_improvement(a, b, better="higher")
    assert probability_of_improvement(a, b, better="lower") == pytest.approx(1 - higher)
    learn = pytest.importorskip("sklearn.metrics")
    assert higher == pytest.approx(learn.roc_auc_score([0] * 12 + [1] * 9, np.concatenate([a, b])))
    rliable = pytest.importorskip("rliable.metrics")
    assert higher == pytest.approx(rliable.probability_of_improvement(b[:, None], a[:, None]))


# Holm and Wilson


@QUICK
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.2))
def test_holm_keeps_the_order_and_rejects_as_the_papers_procedure_does(p_values: list[float], alpha: float) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
    rejecting = True  # Step down from the smallest p, and stop at the first that is too large.
    for rank, i in enumerate(order):
        rejecting = rejecting and p_values[i] * (len(p_values) - rank) <= alpha
        assert (adjusted[i] <= alpha) == rejecting


def test_holm_is_that_of_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    for m in range(1, 9):
        p_values = np.random.default_rng(m).beta(0.3, 2, m).round(2)  # With ties from rounding.
        np.testing.assert_allclose(holm(p_values), multitest.multipletests(p_values, method="holm")[1], rtol=1e-12)


def test_holm_multiplies_the_smallest_by_the_number_of_tests() -> None:
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 6), (3, 10), (10, 10), (77, 1000)])
def test_the_wilson_interval_is_that_of_scipy(successes: int, trials: int) -> None:
    oracle = scipy.stats.binomtest(successes, trials).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson_interval(successes, trials), oracle, rtol=1e-12, atol=1e-15)


# Refusals and coverage


def test_unfit_input_is_refused_by_name() -> None:
    fine = [1.0, 2.0]
    for name, call in {
        "values": lambda: summarise([]),
        "values: expected finite numbers, got nan at position 1": lambda: interquartile_mean([1.0, math.nan]),
        "a": lambda: paired_difference([1.0, math.inf], fine, better="lower"),
        "b": lambda: paired_difference(fine, [1.0], better="lower"),
        "better": lambda: paired_difference(fine, fine, better="less"),
        "b: expected a list": lambda: paired_difference(fine, [fine], better="lower"),
        "p_values": lambda: holm([0.5, 1.5]),
        "successes": lambda: wilson_interval(3, 2),
        "trials": lambda: wilson_interval(0, 0),
    }.items():
        with pytest.raises(ValueError, match=f"^{name}"):
            call()


@pytest.mark.slow
@pytest.mark.parametrize(("n", "share"), [(6, 0.86), (10, 0.90), (20, 0.93)])
def test_the_interval_covers_the_mean_as_often_as_its_docstring_says(n: int, share: float) -> None:
    rng, experiments = np.random.default_rng(7), 2000
    inside = 0
    for _ in range(experiments):
        summary = summarise(rng.normal(size=n), n_resamples=1000)
        assert summary.low is not None
        assert summary.high is not None
        inside += summary.low <= 0 <= summary.high
    assert inside / experiments == pytest.approx(share, abs=0.025)  # Three standard errors of the simulation.
