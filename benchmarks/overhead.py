"""What does a run cost in addition to its steps? Grids, checkpoints, records and events against a run with none of them.

    python -m benchmarks.overhead
    python -m benchmarks.overhead --rounds 5

The default configuration trains in turns, once unchanged and once with every file turned off that can be. Both read their images.
The times compared are from the metrics of step FIRST to the metrics of step LAST. In between, a default run samples and saves at
its usual rate (each once in a hundred steps). Compiling, the imports of the first grid, and the end of the run are left out. The
peak memory of the default run is printed too.
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
    """Train in another process. Return the seconds from FIRST to LAST and the process's peak memory in MB."""
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
    """Measure and print."""
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
                f"steps {FIRST} to {LAST}: {taken[True][0]:.1f} s by default, {taken[False][0]:.1f} s without files",
                flush=True,
            )
    spread = f"{min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%}"
    print(f"\neverything in addition to the steps: {statistics.median(ratios) - 1:+.1%} ({spread})")
    print(f"peak memory: {statistics.median(peaks):.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
