"""The format of repeated measurements in the benchmarks' tables."""

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], digits: int) -> str:
    """Return the median with the smallest and largest value.

    >>> spread([3.04, 1.0, 2.0], 1)
    '2.0 (1.0–3.0)'
    """
    median, smallest, largest = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({smallest}–{largest})"
