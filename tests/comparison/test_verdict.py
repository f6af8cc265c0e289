"""How many seeds are needed, against statsmodels and simulation; the words; and the rate of false alarms of the whole."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sharingan_jax.comparison.statistics import Difference, holm, paired_difference
from sharingan_jax.comparison.verdict import Verdict, fewest_seeds, seeds_needed, smallest_p, verdict, with_lost_runs

FINITE = st.floats(-1e6, 1e6, allow_subnormal=False)
QUICK = settings(max_examples=50, deadline=None)


def compare(a: np.ndarray, b: np.ndarray) -> Difference:
    return paired_difference(a, b, better="lower", n_resamples=200)


def test_a_side_that_lost_more_runs_is_not_called_better() -> None:
    better, worse, none = (Verdict(kind, kind) for kind in ("better", "worse", "none"))
    assert with_lost_runs(better, lost=0, lost_by_baseline=4) is better
    assert with_lost_runs(better, lost=2, lost_by_baseline=2) is better
    assert with_lost_runs(worse, lost=4, lost_by_baseline=0) is worse
    assert with_lost_runs(none, lost=4, lost_by_baseline=0) is none
    words = "no difference shown, since 4 runs of the better side have no figure"
    assert with_lost_runs(better, lost=4, lost_by_baseline=0) == Verdict("none", words)
    assert with_lost_runs(worse, lost=0, lost_by_baseline=4) == Verdict("none", words)


def test_the_smallest_p_is_reached_if_all_differences_have_one_sign() -> None:
    for n, p in ((5, 0.0625), (6, 0.03125), (8, 0.0078125), (10, 0.001953125)):
        assert smallest_p(n) == compare(np.zeros(n), np.arange(1.0, n + 1)).p == p


def test_more_variants_need_more_seeds() -> None:
    assert [fewest_seeds(m) for m in range(1, 7)] == [6, 7, 7, 8, 8, 8]
    assert max(holm([smallest_p(7)] * 3)) <= 0.05 < max(holm([smallest_p(6)] * 2))


@pytest.mark.parametrize("effect", [-0.2, 0.5, 0.8, 1.0, 1.3])
@pytest.mark.parametrize(("power", "alpha"), [(0.8, 0.05), (0.9, 0.05 / 3)])
def test_seeds_needed_is_the_paired_t_power_of_statsmodels(effect: float, power: float, alpha: float) -> None:
    module = pytest.importorskip("statsmodels.stats.power")
    noise = scipy.stats.zscore(np.random.default_rng(0).lognormal(size=10), ddof=1)
    needed = seeds_needed(3 * (noise + effect), power=power, alpha=alpha)
    theirs = module.TTestPower().solve_power(effect_size=effect, power=power, alpha=alpha)
    assert needed == max(math.ceil(theirs), fewest_seeds(alpha=alpha))


def test_seeds_needed_is_at_least_6_and_none_without_a_difference() -> None:
    assert seeds_needed([1.0, 1.0]) == seeds_needed([5.0, 5.1, 4.9]) == 6
    for differences in ([0.0, 0.0], [1.0, -1.0], [1.0], [1.0, -1.0, 1e-9]):
        assert seeds_needed(differences) is None


@QUICK
@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=5), st.floats(0, 1), st.sampled_from(["lower", "higher"]))
def test_the_verdict_claims_nothing_under_6_seeds(values: list[tuple[float, float]], p: float, better: str) -> None:
    a, b = np.array(values).T
    found = verdict(paired_difference(a, b, better=better, n_resamples=50), p, better=better)
    assert found.kind == "exploratory"
    assert found.words.startswith("exploratory: ")
    assert "better" not in found.words
    assert "worse" not in found.words


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ([-1, -2, -3], "exploratory: lower in 3 of 3 seeds"),
        ([-1, 2, 3, 0], "exploratory: higher in 2 of 4 seeds"),
        ([-1], "exploratory: lower in the only seed"),
        ([0], "exploratory: exactly the same in the only seed"),
        ([0, 0, 0], "exploratory: exactly the same in all 3 seeds"),
        ([0] * 6, "exactly the same in all 6 seeds"),
        ([-1, -2, -3, -4, -5, -6], "better: lower on average, and in 6 of 6 seeds"),
        ([1, 2, 3, 4, 5, 6], "worse: higher on average, and in 6 of 6 seeds"),
        ([0, 2, 3, 4, 5, 6], "no difference shown"),  # p is 2 / 2^5
    ],
)
def test_the_words_follow_the_figures(differences: list[float], words: str) -> None:
    values = np.array(differences, float)
    difference = paired_difference(np.zeros(values.size), values, better="lower")
    assert verdict(difference, difference.p, better="lower").words == words
    mirrored = re.sub("lower|higher", lambda match: "higher" if match[0] == "lower" else "lower", words)
    difference = paired_difference(np.zeros(values.size), -values, better="higher")
    assert verdict(difference, difference.p, better="higher").words == mirrored


def test_the_words_name_both_directions_if_as_many_seeds_went_either_way() -> None:
    difference = compare(np.zeros(2), np.array([-1.0, 2.0]))
    assert verdict(difference, difference.p, better="lower").words == "exploratory: lower in 1 and higher in 1 of 2 seeds"


def test_a_difference_at_the_level_of_rounding_is_no_difference_shown() -> None:
    a = np.linspace(50, 60, 10)
    difference = compare(a, np.nextafter(a, 0))
    assert verdict(difference, difference.p, better="lower").words == "no difference shown"


def test_a_measure_without_a_better_direction_differs() -> None:
    difference = paired_difference(np.zeros(10), -np.arange(1.0, 11.0), better="higher")
    expected = Verdict("differs", "differs: lower on average, and in 10 of 10 seeds")
    assert verdict(difference, difference.p, better="neither") == expected
    assert verdict(difference, 0.06, better="neither").kind == "none"


def test_a_claim_needs_both_the_interval_and_the_adjusted_p() -> None:
    difference = compare(np.zeros(10), np.arange(10.0))
    difference = replace(difference, low=-2.0, high=-1.0)
    nothing = Verdict("none", "no difference shown")
    assert verdict(difference, 0.05, better="lower").kind == "better"
    assert verdict(difference, 0.05, better="higher").kind == "worse"
    assert verdict(difference, 0.0501, better="lower") == nothing
    assert verdict(replace(difference, high=0.0), 0.01, better="lower") == nothing
    assert verdict(replace(difference, low=None, high=None), 0.01, better="lower") == nothing


def test_unfit_input_is_refused_by_name() -> None:
    for name, call in {
        "n": lambda: smallest_p(0),
        "comparisons": lambda: fewest_seeds(0),
        "alpha": lambda: fewest_seeds(alpha=0.0),
        "power": lambda: seeds_needed([1.0, 2.0], power=1.0),
        "p_adjusted": lambda: verdict(compare(np.zeros(2), np.ones(2)), math.nan, better="lower"),
    }.items():
        with pytest.raises(ValueError, match=f"^{name}"):
            call()


# The whole, by simulation


def claims(values: np.ndarray) -> list[str]:
    """Return the kinds of verdict of the variants `values[1:]` against the baseline `values[0]`, [V, n] paired by seed."""
    differences = [compare(values[0], variant) for variant in values[1:]]
    adjusted = holm([difference.p for difference in differences])
    return [verdict(d, p, better="lower").kind for d, p in zip(differences, adjusted, strict=True)]


def false_alarms(noise: str, n: int, experiments: int) -> int:
    """Count the experiments in which any of 3 variants, all equal to the baseline in truth, is called better or worse."""
    rng = np.random.default_rng(17)
    shape = (4, n)
    draw = {
        "normal": lambda: rng.normal(size=shape),
        "skewed": lambda: rng.lognormal(size=shape),
        "heavy-tailed": lambda: rng.standard_t(2, shape),
        "collapsing": lambda: rng.normal(size=shape) + 50 * (rng.random(shape) < 0.1),
    }[noise]
    shared = rng.normal(size=(experiments, 1, n))  # Makes the runs of one seed correlated.
    return sum(bool({"better", "worse"} & set(claims(draw() + shared[i]))) for i in range(experiments))


def most_alarms(experiments: int) -> float:
    """Return the count that a true rate of 5% exceeds with probability 0.001."""
    return scipy.stats.binom.isf(0.001, experiments, 0.05)


def test_few_of_150_experiments_without_a_difference_raise_a_false_alarm() -> None:
    assert false_alarms("skewed", n=10, experiments=150) <= most_alarms(150)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "n"), [("skewed", 7), ("normal", 10), ("skewed", 10), ("heavy-tailed", 10), ("collapsing", 10)]
)
def test_at_most_5_percent_of_experiments_without_a_difference_raise_a_false_alarm(noise: str, n: int) -> None:
    experiments = 2000
    alarms = false_alarms(noise, n, experiments)
    print(f"{noise}, {n} seeds: {alarms / experiments:.1%} false alarms")
    assert alarms <= most_alarms(experiments)


@pytest.mark.slow
def test_variants_with_only_the_mean_in_common_raise_as_many_false_alarms_as_the_docstring_says() -> None:
    rng, experiments, n = np.random.default_rng(8), 1000, 10
    alarms = 0
    for _ in range(experiments):
        a = rng.normal(size=(1, n))
        alarms += bool({"better", "worse"} & set(claims(np.concatenate([a, a + rng.exponential(size=(3, n)) - 1]))))
    assert alarms / experiments == pytest.approx(0.12, abs=0.03)  # Three standard errors of the simulation.


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "n"), [(1.0, 10), (1.5, 7), (0.8, 15)])
def test_a_difference_is_shown_as_often_as_the_power_says(effect: float, n: int) -> None:
    rng, experiments = np.random.default_rng(5), 1000
    predicted = scipy.stats.ncf.sf(scipy.stats.f.isf(0.05, 1, n - 1), 1, n - 1, n * effect**2)
    shown = 0
    for _ in range(experiments):
        a = rng.normal(size=n)
        difference = compare(a, a + rng.normal(-effect, 1, n))
        shown += verdict(difference, difference.p, better="lower").kind == "better"
    print(f"effect {effect}, {n} seeds: power {shown / experiments:.3f}, t test {predicted:.3f}")
    # Sign flips are a little weaker than the t test for few seeds; the simulation's standard error is 0.013.
    assert shown / experiments == pytest.approx(predicted, abs=0.05)


@pytest.mark.slow
def test_the_seeds_needed_show_the_difference_with_the_stated_power() -> None:
    rng, experiments = np.random.default_rng(6), 1000
    noise = scipy.stats.zscore(rng.normal(size=30), ddof=1)
    n = seeds_needed(0.9 - noise)
    assert n is not None
    shown = 0
    for _ in range(experiments):
        difference = compare(np.zeros(n), rng.normal(0.9, 1, n))
        shown += verdict(difference, difference.p, better="higher").kind in ("better", "worse")
    assert 0.75 <= shown / experiments <= 0.9
