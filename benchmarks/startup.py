"""How fast does training start? Seconds to the help text, and to the first step's metrics, without and with the compile cache.

    python -m benchmarks.startup
    python -m benchmarks.startup --rounds 5

Each start is another process, timed until the metrics of step 1 of the default configuration are in metrics.jsonl. A cold start
has an empty cache of compiled programs, a warm start has the cache that an earlier start filled. The packages' files are in the
system's page cache in both cases, because the help text is printed first.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.spread import spread

ROOT = Path(__file__).parents[1]
OWN = ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME")


def seconds_to_help() -> float:
    """Return the seconds that `main.py --help` takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, str(ROOT / "main.py"), "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def seconds_to_first_step(cache: Path, *settings: str) -> float:
    """Return the seconds until the first step's metrics are on disk, with `cache` as the user's cache folder."""
    environment = {**{name: value for name, value in os.environ.items() if name not in OWN}, "XDG_CACHE_HOME": str(cache)}
    with tempfile.TemporaryDirectory(prefix="sharingan-jax-startup-") as folder:
        metrics = Path(folder) / "run" / "metrics.jsonl"
        command = [sys.executable, str(ROOT / "main.py"), "--config", str(ROOT / "configs" / "default.py")]
        command += ["--workdir", str(metrics.parent), "--config.train.steps=1", *settings]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
            while not (metrics.is_file() and metrics.stat().st_size):
                if process.poll() not in (None, 0):
                    raise SystemExit("the start ended before its first step")
                time.sleep(0.01)
            seconds = time.perf_counter() - start
            process.wait()  # The programs that it compiles after the step go into the cache too.
    return seconds


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    taken: dict[str, list[float]] = {"main.py --help": [], "first step, cold": [], "first step, warm": []}
    for _ in range(flags.rounds):
        with tempfile.TemporaryDirectory(prefix="sharingan-jax-cache-") as cache:
            taken["main.py --help"].append(seconds_to_help())
            for name in ("first step, cold", "first step, warm"):
                taken[name].append(seconds_to_first_step(Path(cache)))
    print("| to | seconds |\n|---|---|")
    for name, seconds in taken.items():
        print(f"| {name} | {spread(seconds, 1)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
