"""What does a run cost beside its steps? Grids, checkpoints, records, events and lines against a run with none of them.

    python -m benchmarks.overhead
    python -m benchmarks.overhead --rounds 5

The default configuration trains in turns as it is and with everything off that can be; both read their pictures. Compared is the
time from the figures of step FIRST to those of step LAST, between which a default run draws and saves as often as in its long run
(one of each in a hundred steps), past compiling and the first drawing, for which one program more is compiled and packages are
imported, and before the end. The peak memory of the default run is told too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.metrics import read_metrics

ROOT = Path(__file__).parents[1]
FIRST, LAST, STEPS = 110, 310, 320
QUIET = {"sample.every": STEPS, "checkpoint.every": STEPS, "log.every": STEPS, "log.tensorboard": False}


def train(settings: Mapping[str, object], *, cache: Path) -> tuple[float, float]:
    """Trains in a process of its own; returns the seconds from FIRST to LAST and the process's peak memory in MB."""
    with tempfile.TemporaryDirectory(prefix="sharingan-jax-overhead-") as folder:
        command = [sys.executable, str(ROOT / "main.py"), "--config", str(ROOT / "configs" / "default.py"), "--workdir", folder]
        command += [f"--config.{key}={value}" for key, value in {"train.steps": STEPS, **settings}.items()]
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"the run ended with {process.returncode}")
        times = {record["step"]: record["time"] for record in read_metrics(RunFolder(Path(folder)))}
        assert json.loads((Path(folder) / "manifest.json").read_text())["status"] == "complete"
    return times[LAST] - times[FIRST], used.ru_maxrss / 1000


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    ratios, peaks = [], []
    with tempfile.TemporaryDirectory(prefix="sharingan-jax-cache-") as cache:
        for number in range(flags.rounds):
            pair = [{}, QUIET] if number % 2 == 0 else [QUIET, {}]
            taken = {not settings: train(settings, cache=Path(cache)) for settings in pair}
            ratios.append(taken[True][0] / taken[False][0])
            peaks.append(taken[True][1])
            print(
                f"steps {FIRST} to {LAST}: {taken[True][0]:.1f} s as it is, {taken[False][0]:.1f} s with nothing beside",
                flush=True,
            )
    print(
        f"\nall that is beside the steps: {statistics.median(ratios) - 1:+.1%} ({min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%})"
    )
    print(f"peak memory: {statistics.median(peaks):.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
