"""How the time of a step grows with the batch, the image size and the number of seeds, on the device that JAX finds.

    python -m benchmarks.sweep
    python -m benchmarks.sweep --dtypes float32 bfloat16 --conv-impls direct winograd
    python -m benchmarks.sweep --batches 25 512 --sizes --seeds 1 8

Prints a Markdown table: milliseconds a step (of all seeds together), images a second over all seeds, operations a step by the
definition of a convolution, their rate, and that rate as a share of the rate of a large square product in the same dtype and
precision, in the same run. For Winograd's implementation, the rate of its own products is a share in the same way. Then the
seconds to compile without a cache, and the program's memory as XLA plans it. Several seeds are stacked in one program. Steps run
in chunks with the images on the device, after one chunk to warm up. Times are medians over chunks.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.flops import step_operations
from sharingan_jax.config.load import load_config
from sharingan_jax.config.schema import Config
from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.stacked_seeds import jit_stacked_steps, seeds_mesh
from sharingan_jax.devices.trainer import jit_steps
from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.state import TrainState
from sharingan_jax.model.convolutions import fastest_conv_impl

ROOT = Path(__file__).parents[1]
COLUMNS = (
    "implementation, dtype",
    "batch",
    "size",
    "seeds",
    "ms a step",
    "images a second",
    "GFLOP a step",
    "GFLOP/s",
    "of the large product's",
    "done as Winograd",
    "compiling, s",
    "memory, MB",
)


class Case(NamedTuple):
    """One row of the table."""

    conv_impl: str
    dtype: str
    batch: int
    size: int
    seeds: int


def cases(flags: argparse.Namespace) -> Iterator[Case]:
    """Yield, for each implementation and dtype: the batches at 64 pixels, then sizes and numbers of seeds at the first batch."""
    for conv_impl in flags.conv_impls:
        for dtype in flags.dtypes:
            yield from (Case(conv_impl, dtype, batch, 64, 1) for batch in flags.batches)
            yield from (Case(conv_impl, dtype, flags.batches[0], size, 1) for size in flags.sizes if size != 64)
            yield from (Case(conv_impl, dtype, flags.batches[0], 64, seeds) for seeds in flags.seeds if seeds != 1)


def configured(case: Case, *, precision: str) -> Config:
    """Return the default configuration with a row's settings."""
    changes = {
        "data.size": case.size,
        "model.conv_impl": case.conv_impl,
        "model.dtype": case.dtype,
        "train.batch_size": case.batch,
        "train.precision": precision,
    }
    return load_config(ROOT / "configs" / "default.py", [(name, str(value)) for name, value in changes.items()])


def compiled(case: Case, config: Config, *, steps: int) -> tuple[Callable[[], object], jax.stages.Compiled, float]:
    """Return a call that runs `steps` steps to their end, its compiled program, and the seconds that compiling took."""
    gan = build_gan(config)
    states: list[TrainState] = [jax.jit(lambda seed=seed: init_state(gan, seed=seed))() for seed in range(case.seeds)]
    rng = np.random.default_rng(0)
    shape = (steps, case.batch, case.size, case.size, config.data.channels)
    if case.seeds == 1:
        program = jit_steps(config, make_mesh(1, batch_sizes={case.batch}))
        state, real_u8 = states[0], jnp.asarray(rng.integers(0, 256, shape, np.uint8))
    else:
        program = jit_stacked_steps(config, seeds_mesh(1, seeds=case.seeds))
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        state = TrainState(states[0].step, stacked.key, stacked.gen, stacked.disc)
        real_u8 = jnp.asarray(rng.integers(0, 256, (case.seeds, *shape), np.uint8))
    lowered = program.lower(state, real_u8)
    start = time.perf_counter()
    executable = lowered.compile()
    seconds = time.perf_counter() - start

    def run() -> None:
        nonlocal state
        state, _ = executable(state, real_u8)
        jax.block_until_ready(state)

    return run, executable, seconds


def median_seconds(run: Callable[[], object], *, rounds: int) -> float:
    """Return the median over `rounds` calls, after one call to warm up."""
    run()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def large_rate(dtype: str, *, side: int, precision: str, rounds: int) -> float:
    """Return the operations a second of a square product of that side."""
    matrix = jnp.asarray(np.random.default_rng(0).standard_normal((side, side)), dtype)
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=None if precision == "default" else precision))
    return 2 * side**3 / median_seconds(lambda: jax.block_until_ready(product(matrix)), rounds=max(rounds, 5))


def row(case: Case, rates: dict[str, float], *, precision: str, steps: int, rounds: int) -> str:
    """Measure a case, and return its row."""
    config = configured(case, precision=precision)
    run, program, compiling = compiled(case, config, steps=steps)
    seconds = median_seconds(run, rounds=rounds) / steps
    counted = step_operations(config, batch=case.batch)
    direct, winograd = (case.seeds * operations / seconds for operations in counted)
    planned: Any = program.memory_analysis()
    memory = (
        planned.argument_size_in_bytes + planned.output_size_in_bytes - planned.alias_size_in_bytes + planned.temp_size_in_bytes
    )
    cells = (
        f"{case.conv_impl}, {case.dtype}",
        case.batch,
        case.size,
        case.seeds,
        f"{1000 * seconds:.1f}",
        f"{case.seeds * case.batch / seconds:,.0f}",
        f"{case.seeds * counted.direct / 1e9:.1f}",
        f"{direct / 1e9:,.0f}",
        f"{direct / rates[case.dtype]:.0%}",
        f"{winograd / rates[case.dtype]:.0%}" if case.conv_impl == "winograd" else "–",
        f"{compiling:.0f}",
        f"{memory / 1e6:,.0f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Measure and print row by row."""
    on_cpu = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[25, 64, 128, 256, 512])
    parser.add_argument("--sizes", type=int, nargs="*", default=[32, 128], choices=(32, 64, 128))
    parser.add_argument("--seeds", type=int, nargs="*", default=[2, 4, 8])
    parser.add_argument(
        "--conv-impls", nargs="+", default=[fastest_conv_impl(jax.default_backend())], choices=("winograd", "direct", "patches")
    )
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=("float32", "bfloat16"))
    parser.add_argument("--precision", default="highest", choices=("highest", "high", "default"), help="train.precision")
    parser.add_argument("--steps", type=int, default=2 if on_cpu else 50, help="steps a chunk")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=2048 if on_cpu else 8192, help="side of the large product")
    flags = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    rates = {dtype: large_rate(dtype, side=flags.side, precision=flags.precision, rounds=flags.rounds) for dtype in flags.dtypes}
    said = ", ".join(f"{dtype} {rate / 1e9:,.0f} GFLOP/s" for dtype, rate in rates.items())
    device = jax.devices()[0]
    print(f"{device.device_kind}, jax {jax.__version__}; precision {flags.precision}; a product of {flags.side}: {said}\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
    for case in cases(flags):
        print(row(case, rates, precision=flags.precision, steps=flags.steps, rounds=flags.rounds), flush=True)


if __name__ == "__main__":
    main()
