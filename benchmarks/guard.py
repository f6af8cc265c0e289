"""Has training become slower? Fail if, on a CPU, a step is less than LEAST times as fast as the best eager PyTorch.

    python -m benchmarks.guard

Run it by hand, on an idle machine. It takes about two minutes and interleaves the systems as `benchmarks.train_step` does. The
exit code is 1 if the median of the rounds' ratios is below LEAST.
"""

import statistics
import sys

from benchmarks.train_step import ROOT, configured, measure, systems, table

LEAST = 1.3
ROUNDS, STEPS, BATCH, WIDTH = 7, 6, 25, 64


def ratio_to_the_best(seconds: dict[str, list[float]], *, ours: str) -> float:
    """Return the median over the rounds of how many times as fast as its fastest rival `ours` was.

    >>> ratio_to_the_best({"a": [1.0, 1.0, 1.0], "b": [2.0, 3.0, 9.0], "c": [4.0, 2.0, 8.0]}, ours="a")
    2.0
    """
    others = [values for name, values in seconds.items() if name != ours]
    return statistics.median(min(theirs) / mine for mine, *theirs in zip(seconds[ours], *others, strict=True))


def main() -> int:
    """Measure, print and judge."""
    config, real_u8 = configured(ROOT / "configs" / "default.py", batch=BATCH, width=WIDTH)
    raced = systems(config, real_u8, direct=False, through_compile=False)
    seconds = measure({name: make() for name, make in raced.items()}, rounds=ROUNDS, steps=STEPS)
    ratio = ratio_to_the_best(seconds, ours="ours, winograd")
    print(f"{table(seconds, baseline='PyTorch')}\n\n{ratio:.2f} times as fast as the best of PyTorch; {LEAST} is the least")
    return 0 if ratio >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
