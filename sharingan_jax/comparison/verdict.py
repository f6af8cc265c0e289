"""What the seeds can show: how many of them a difference needs, and the words that the figures allow."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats

from sharingan_jax.comparison.statistics import ROUNDING, Better, Difference, Values, check_better, checked_values

ALPHA = 0.05
MAX_SEEDS = 1_000_000


@dataclass(frozen=True)
class Verdict:
    """The conclusion on one difference, as a kind for programs and as words for readers."""

    kind: Literal["better", "worse", "differs", "same", "none", "exploratory"]
    words: str


def smallest_p(n: int) -> float:
    """Return 2 / 2^n, the smallest two-sided p that sign flips of `n` paired seeds can reach. Source: Fisher 1935, section 21."""
    if n < 1:
        raise ValueError(f"n: expected at least 1, got {n}.")
    return 2.0 ** (1 - n)


def fewest_seeds(comparisons: int = 1, *, alpha: float = ALPHA) -> int:
    """Return the smallest n with comparisons · 2 / 2^n <= alpha: 6 for one comparison, 7 for two or three, 8 for four to six.

    With fewer paired seeds, no single difference can pass Holm's adjustment. Source: `smallest_p`, and Holm 1979.
    """
    if comparisons < 1:
        raise ValueError(f"comparisons: expected at least 1, got {comparisons}.")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: expected a number between 0 and 1, got {alpha}.")
    n = 1
    while comparisons * smallest_p(n) > alpha:
        n += 1
    return n


def seeds_needed(differences: Values, *, power: float = 0.8, alpha: float = ALPHA) -> int | None:
    """Return how many paired seeds would show a mean difference of this size and spread. Range: `fewest_seeds` to a million.

    It is the smallest n at which the paired t test has this power: P(F >= f) with F noncentral (1, n − 1 degrees, noncentrality
    n (mean / sd)²) and f the 1 − alpha quantile of F(1, n − 1). Sign flips need slightly more. For the first of m variants in
    Holm's order, pass alpha / m. Source: Cohen 1988, section 2.3.5. The size is itself an estimate from few seeds, so the answer
    is a rough plan.

    None if the mean difference is 0, if a single pair gives no spread, or if a million seeds do not suffice.
    """
    array = checked_values(differences, "differences")
    if not 0 < power < 1:
        raise ValueError(f"power: expected a number between 0 and 1, got {power}.")
    fewest = fewest_seeds(alpha=alpha)
    mean = abs(float(array.mean()))
    if array.size < 2 or mean <= ROUNDING * np.abs(array).max():
        return None
    spread = float(array.std(ddof=1))
    effect = min(mean / spread, 10.0) if spread > ROUNDING * mean else 10.0  # Above 10 every allowed n suffices.

    def suffices(n: int) -> bool:
        critical = scipy.stats.f.isf(alpha, 1, n - 1)
        return bool(scipy.stats.ncf.sf(critical, 1, n - 1, n * effect**2) >= power)

    low, high = fewest - 1, fewest
    while not suffices(high):
        low, high = high, 2 * high
        if low >= MAX_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high if high <= MAX_SEEDS else None


def with_lost_runs(found: Verdict, *, lost: int, lost_by_baseline: int) -> Verdict:
    """Return the verdict on a variant, or "no difference shown" if runs without a figure may have made it.

    `lost` runs of the variant and `lost_by_baseline` of the baseline have no figure, since they failed. If the better side has
    lost more runs than the other, its worst ones may be missing.
    """
    better, other = (lost, lost_by_baseline) if found.kind == "better" else (lost_by_baseline, lost)
    if found.kind not in ("better", "worse") or better <= other:
        return found
    return Verdict("none", f"no difference shown, since {better} runs of the better side have no figure")


def verdict(difference: Difference, p_adjusted: float, *, better: Better | Literal["neither"]) -> Verdict:
    """Return what may be said of a difference. `p_adjusted` is its p after `holm` over all variants compared.

    If neither direction is better, `difference` counts higher values as better ones.

    - exactly the same in all seeds: "exactly the same in all 6 seeds".
    - at least 6 seeds, an interval without 0 and p_adjusted <= 0.05: "better: ..." or "worse: ...", or "differs: ..." if neither
      direction is better.
    - every other case with at least 6 seeds: "no difference shown".
    - fewer than 6 seeds: "exploratory: lower in 3 of 3 seeds", never better or worse.

    Source: `smallest_p`: with 5 seeds p is at least 0.0625.
    """
    if better != "neither":
        check_better(better)
    if not 0 <= p_adjusted <= 1:
        raise ValueError(f"p_adjusted: expected a number from 0 to 1, got {p_adjusted}.")
    n, low, high = difference.n, difference.low, difference.high
    lower, higher = difference.seeds_better, difference.seeds_worse
    if better != "lower":
        lower, higher = higher, lower
    few = n < fewest_seeds()
    if n == 1:
        seen = "exactly the same" if lower == higher else "lower" if lower else "higher"
        return Verdict("exploratory", f"exploratory: {seen} in the only seed")
    if lower == higher == 0:
        words = f"exactly the same in all {n} seeds"
        return Verdict("exploratory", f"exploratory: {words}") if few else Verdict("same", words)
    if few:
        seen = f"lower in {lower}" if lower > higher else f"higher in {higher}"
        if lower == higher:
            seen = f"lower in {lower} and higher in {higher}"
        return Verdict("exploratory", f"exploratory: {seen} of {n} seeds")
    if low is None or high is None or low <= 0 <= high or p_adjusted > ALPHA:
        return Verdict("none", "no difference shown")
    direction, count = ("lower", lower) if high < 0 else ("higher", higher)
    kind: Literal["better", "worse", "differs"] = "better" if direction == better else "worse"
    if better == "neither":
        kind = "differs"
    return Verdict(kind, f"{kind}: {direction} on average, and in {count} of {n} seeds")
