"""Time of a training step, ours beside PyTorch's, in one run.

    python -m benchmarks.train_step --rounds 7 --steps 10

Prints a Markdown table. Every round takes each system in turn, so that what else the machine does falls on all of them alike,
and ratios are taken within a round. Needs torch (requirements-dev.txt). Weights, pictures and latents are the same for all;
compiling is not counted. The PyTorch system is the tests' oracle, eager, as the original is.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np
import torch

from sharingan_jax.config_files import load_config
from sharingan_jax.data.emblems import draw_emblems
from sharingan_jax.interop.state_dict import to_tensors
from sharingan_jax.parallel import compile_programs, make_mesh
from sharingan_jax.state import build_system
from sharingan_jax.streams import draw_latents

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import pytorch_oracle as oracle  # noqa: E402

B, NZ = 25, 100
Steps = Callable[[int], None]


def our_steps(form: str, real_u8: np.ndarray, *, width: int) -> Steps:
    """`run(steps)`: that many steps of the default configuration in one dispatch, to their end."""
    config = load_config(ROOT / "configs" / "default.py", [("model.convolution", form), *_widths(width)])
    mesh = make_mesh(1, batch_sizes={B})
    programs = compile_programs(build_system(config), mesh, precision=config.train.precision)
    state = programs.init(0)

    def run(steps: int) -> None:
        nonlocal state
        state, metrics = programs.chunk(state, np.broadcast_to(real_u8, (steps, *real_u8.shape)))
        jax.block_until_ready((state, metrics))

    return run


def pytorch_steps(memory_format: torch.memory_format, real_u8: np.ndarray, *, width: int) -> Steps:
    """`run(steps)`: that many steps of the PyTorch system from the same weights, on the CPU."""
    config = load_config(ROOT / "configs" / "default.py", _widths(width))
    system = build_system(config)
    programs = compile_programs(system, make_mesh(1, batch_sizes={B}), precision="highest")
    state = programs.init(0)
    gen, disc = oracle.Generator(nz=NZ, ngf=width, normalised=True), oracle.Discriminator(ndf=width, normalised=True)
    tensors = to_tensors(config, state)
    oracle.load(gen, tensors)
    oracle.load(disc, tensors)
    gen, disc = gen.to(memory_format=memory_format), disc.to(memory_format=memory_format)
    training = oracle.Training(gen, disc, beta=0.0, clip_norm=config.optim.disc.clip_norm)
    real = torch.tensor(real_u8.transpose(0, 3, 1, 2).copy()).to(memory_format=memory_format)
    z = torch.tensor(np.asarray(draw_latents(state.key, step=1, count=B, nz=NZ)))

    def run(steps: int) -> None:
        for _ in range(steps):
            training.step(real.float() / 127.5 - 1.0, z)

    return run


def measure(systems: dict[str, Steps], *, rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds a step of each system in each round, after a warm-up that compiles."""
    for run in systems.values():
        run(steps)
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for round_ in range(rounds):
        order = list(systems) if round_ % 2 == 0 else list(reversed(systems))
        for name in order:
            start = time.perf_counter()
            systems[name](steps)
            seconds[name].append((time.perf_counter() - start) / steps)
    return seconds


def table(seconds: dict[str, list[float]], *, baseline: str) -> str:
    """A Markdown table: milliseconds a step, and speed as a multiple of the baseline's, median with smallest and largest."""
    lines = ["| system | ms a step | times as fast as " + baseline + " |", "|---|---|---|"]
    for name, values in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(seconds[baseline], values, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        ms = [1000 * value for value in values]
        lines.append(f"| {name} | {statistics.median(ms):.0f} ({min(ms):.0f}–{max(ms):.0f}) | {spread} |")
    return "\n".join(lines)


def _widths(width: int) -> list[tuple[str, str]]:
    return [("model.ngf", str(width)), ("model.ndf", str(width))]


def command(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds; default: 7")
    parser.add_argument("--steps", type=int, default=10, help="steps of each system in a round; default: 10")
    parser.add_argument("--direct", action="store_true", help="XLA's own convolutions too; on a CPU they take minutes")
    parser.add_argument("--width", type=int, default=64, help="ngf and ndf; default: 64")
    flags = parser.parse_args(arguments)
    real_u8 = draw_emblems(B)[0]
    systems: dict[str, Callable[[], Steps]] = {
        "ours, winograd": partial(our_steps, "winograd", real_u8, width=flags.width),
        "PyTorch": partial(pytorch_steps, torch.contiguous_format, real_u8, width=flags.width),
        "PyTorch, channels_last": partial(pytorch_steps, torch.channels_last, real_u8, width=flags.width),
    }
    if flags.direct:
        systems["ours, direct"] = partial(our_steps, "direct", real_u8, width=flags.width)
    seconds = measure({name: make() for name, make in systems.items()}, rounds=flags.rounds, steps=flags.steps)
    device = jax.devices()[0]
    print(f"jax {jax.__version__} on {device.platform}, torch {torch.__version__} on cpu with {torch.get_num_threads()} threads;")
    print(f"{platform.machine()}, Python {platform.python_version()}; batch {B}, width {flags.width};", end=" ")
    print(f"{flags.rounds} rounds of {flags.steps} steps\n")
    print(table(seconds, baseline="PyTorch"))


if __name__ == "__main__":
    command(sys.argv[1:])
