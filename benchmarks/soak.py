"""Does a run leak? Train thousands of tiny steps with samples and checkpoints, and measure the process.

    python -m benchmarks.soak
    python -m benchmarks.soak --steps 20000 --every 500

Prints the memory, threads, open files and child processes of the training process over the run, and the size of its files. The
exit code is 1 if the median of the run's last quarter exceeds the median of its second quarter. 2% more memory is allowed, and a
tenth more threads, because writing a checkpoint uses some. Reads /proc, so it needs Linux.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.metrics import read_metrics

ROOT = Path(__file__).parents[1]
TINY = {
    "model.gen.width": 4, "model.disc.width": 4, "model.nz": 8, "data.size": 32, "train.batch_size": 10,
    "train.steps_per_dispatch": 25, "train.devices": 1, "model.conv_impl": "direct", "log.every": 5000,
}  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """The process's resources at a step: resident memory in MB, threads, open files, children, and MB on disk."""

    step: int
    memory: float
    threads: int
    files: int
    children: int
    disk: float


def look(pid: int, workdir: Path) -> Taken | None:
    """Return the process's resources now. None if it has ended or has not started."""
    run = RunFolder(workdir)
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        children = sum(len(path.read_text().split()) for path in Path(f"/proc/{pid}/task").glob("*/children"))
        step = read_metrics(run)[-1]["step"]
        disk = sum(path.stat().st_size for path in workdir.rglob("*") if path.is_file())
        memory = int(status["VmRSS"].split()[0])  # This line is missing if the process has just ended.
    except (OSError, IndexError, KeyError):
        return None
    return Taken(step, memory / 1000, int(status["Threads"]), files, children, disk / 1e6)


def soak(workdir: Path, *, steps: int, every: int) -> tuple[int, list[Taken]]:
    """Train in another process. Return its exit code and its resources, measured about every second."""
    settings = {**TINY, "train.steps": steps, "sample.every": every, "checkpoint.every": every}
    overrides = [f"--config.{key}={value}" for key, value in settings.items()]
    command = [sys.executable, str(ROOT / "main.py"), "--config", str(ROOT / "configs" / "default.py"), *overrides]
    process = subprocess.Popen([*command, "--workdir", str(workdir)], stdout=subprocess.DEVNULL)
    seen: list[Taken] = []
    while process.poll() is None:
        time.sleep(1)
        taken = look(process.pid, workdir)
        if taken:
            seen.append(taken)
    return process.returncode, seen


def grown(seen: list[Taken]) -> list[str]:
    """Return the resources that the last quarter of the run uses more of than the second quarter, which is after compiling.

    Measurements after the last step are left out: then the plots and the GIF are made, once.
    """
    training = [taken for taken in seen if taken.step < seen[-1].step]
    quarter = len(training) // 4
    early, late = training[quarter : 2 * quarter], training[-quarter:]
    found = []
    for name, allowed in (("memory", 1.02), ("threads", 1.1), ("files", 1.0), ("children", 1.0)):
        before, after = (statistics.median(getattr(taken, name) for taken in part) for part in (early, late))
        if after > before * allowed:
            found.append(f"{name}: {before:g}, and then {after:g}")
    return found


def main() -> int:
    """Train, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--every", type=int, default=500, help="steps between samples and between checkpoints")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sharingan-jax-soak-") as folder:
        code, seen = soak(Path(folder) / "run", steps=flags.steps, every=flags.every)
    print("| step | memory, MB | threads | open files | children | on disk, MB |\n|---|---|---|---|---|---|")
    for taken in [*seen[:: max(1, len(seen) // 10)], seen[-1]]:
        print(f"| {taken.step} | {taken.memory:.0f} | {taken.threads} | {taken.files} | {taken.children} | {taken.disk:.1f} |")
    more = grown(seen)
    print(f"exit code {code}; " + ("; ".join(more) if more else "nothing has grown but what is on disk"))
    return 1 if code or more else 0


if __name__ == "__main__":
    sys.exit(main())
