"""What train.deterministic costs on a GPU, and whether it keeps its promise.

    python -m benchmarks.deterministic
    python -m benchmarks.deterministic --batch 128 --rounds 9

Four processes train the default system from the same seed, two with train.deterministic and two without. They run in turns, so
that other load affects all of them. Prints milliseconds a step (median, smallest, largest), the ratio, and whether each pair ends
with the same digest. If JAX has no GPU, the flag is not set, all four run the same program, and the output says so.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time

from benchmarks.spread import spread

STEPS_A_CHUNK = 10


def serve(batch: int, deterministic: bool) -> None:
    """Serve in one process: for each line read, train STEPS_A_CHUNK steps and print the seconds. Print the digest at the end."""
    from pathlib import Path

    from sharingan_jax.config.load import load_config
    from sharingan_jax.devices.environment import pin_environment

    overrides = [("train.deterministic", str(deterministic)), ("train.batch_size", str(batch))]
    config = load_config(Path(__file__).parents[1] / "configs" / "default.py", overrides)
    pin_environment(config, recorded=0)

    import jax
    import numpy as np

    from sharingan_jax.data.emblems.draw import draw_emblems
    from sharingan_jax.devices.mesh import make_mesh
    from sharingan_jax.devices.trainer import Trainer
    from sharingan_jax.gan.state import digest

    images = draw_emblems(100, size=config.data.size)[0]
    chosen = np.resize(np.arange(len(images)), (STEPS_A_CHUNK, batch))
    real_u8 = images[chosen]
    trainer = Trainer(config, make_mesh(1, batch_sizes={batch}))
    state = trainer.init(config.seed)
    print(jax.devices()[0].device_kind, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        state, metrics = trainer.run_steps(state, [real_u8])
        jax.block_until_ready((state, metrics))
        print(time.perf_counter() - started, flush=True)
    print(digest(state), flush=True)


def start(batch: int, deterministic: bool) -> subprocess.Popen[str]:
    """Start one of the four processes."""
    command = [sys.executable, "-m", "benchmarks.deterministic", "--serve", str(deterministic), "--batch", str(batch)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def measure(processes: dict[tuple[bool, int], subprocess.Popen[str]], *, rounds: int) -> dict[bool, list[float]]:
    """Return the milliseconds a step of each round, with and without the flag, after one round of compiling."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for number, (key, process) in itertools.product(range(rounds + 1), processes.items()):
        assert process.stdin is not None
        assert process.stdout is not None
        print("go", file=process.stdin, flush=True)
        seconds = float(process.stdout.readline())
        if number:
            times[key[0]].append(1000 * seconds / STEPS_A_CHUNK)
    return times


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        serve(flags.batch, flags.serve == "True")
        return 0
    processes = {(with_it, twin): start(flags.batch, with_it) for with_it in (True, False) for twin in (0, 1)}
    kinds = {process.stdout.readline().strip() for process in processes.values() if process.stdout}
    times = measure(processes, rounds=flags.rounds)
    ends = {key: process.communicate()[0].strip() for key, process in processes.items()}
    print(f"{', '.join(kinds)}, batch {flags.batch}\n\n| train.deterministic | ms a step | two runs |\n|---|---|---|")
    for with_it, each in times.items():
        same = "the same bits" if ends[with_it, 0] == ends[with_it, 1] else "other bits"
        print(f"| {with_it} | {spread(each, 1)} | {same} |")
    print(f"\nwith it a step takes {statistics.median(times[True]) / statistics.median(times[False]):.2f} times as long")
    if kinds == {"cpu"}:
        print("there is no GPU here, so the flag was not set: this is the noise of the measurement")
    return 0


if __name__ == "__main__":
    sys.exit(main())
