"""How soon does it start? Seconds to the help text, and to the first training step's figures, cold and from the compile cache.

    python -m benchmarks.startup
    python -m benchmarks.startup --rounds 5

Each start is a process of its own, from its beginning to the moment that the figures of step 1 of the default configuration lie
in metrics.jsonl. Cold is with an empty cache of compiled programs, warm with the one that a start before it filled; the files of
the packages themselves are in the system's page cache in both, as the help text is asked for first.
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
    """Seconds that `main.py --help` takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, str(ROOT / "main.py"), "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def seconds_to_first_step(cache: Path) -> float:
    """Seconds to the first step's figures on disk, with `cache` as the user's cache folder; the start then goes on to its end."""
    environment = {**{name: value for name, value in os.environ.items() if name not in OWN}, "XDG_CACHE_HOME": str(cache)}
    with tempfile.TemporaryDirectory(prefix="sharingan-jax-startup-") as folder:
        metrics = Path(folder) / "run" / "metrics.jsonl"
        command = [sys.executable, str(ROOT / "main.py"), "--config", str(ROOT / "configs" / "default.py")]
        command += ["--workdir", str(metrics.parent), "--config.train.steps=1"]
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
            while not (metrics.is_file() and metrics.stat().st_size):
                if process.poll() not in (None, 0):
                    raise SystemExit("the start ended before its first step")
                time.sleep(0.01)
            seconds = time.perf_counter() - began
            process.wait()  # What it compiles after the step is kept too.
    return seconds


def main() -> int:
    """Measures and prints."""
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
