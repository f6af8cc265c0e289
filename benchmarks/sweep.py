"""How a step grows: over the batch, the pictures' size and the number of seeds, on whatever device JAX finds.

    python -m benchmarks.sweep
    python -m benchmarks.sweep --dtypes float32 bfloat16 --forms direct winograd
    python -m benchmarks.sweep --batches 25 512 --sizes --seeds 1 8

Prints a Markdown table: milliseconds a step (of several seeds: of all of them), pictures a second over all seeds, operations a
step as convolutions are defined, the rate that makes, and what share that is of the rate of a large square product in the same
dtype and precision, in the same run; the operations of Winograd's products as a share likewise, where they are done; seconds to
compile, without any cache; the program's memory as XLA plans it. Seeds are side by side in one program. Steps run several a
dispatch with the pictures on the device, after one dispatch to warm up; medians over dispatches.
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
    "form, dtype",
    "batch",
    "size",
    "seeds",
    "ms a step",
    "pictures a second",
    "GFLOP a step",
    "GFLOP/s",
    "of the large product's",
    "done as Winograd",
    "compiling, s",
    "memory, MB",
)


class Case(NamedTuple):
    """One row."""

    form: str
    dtype: str
    batch: int
    size: int
    seeds: int


def cases(flags: argparse.Namespace) -> Iterator[Case]:
    """The batches at 64 pixels, the other sizes and the numbers of seeds at the first batch, for each form and dtype."""
    for form in flags.forms:
        for dtype in flags.dtypes:
            yield from (Case(form, dtype, batch, 64, 1) for batch in flags.batches)
            yield from (Case(form, dtype, flags.batches[0], size, 1) for size in flags.sizes if size != 64)
            yield from (Case(form, dtype, flags.batches[0], 64, seeds) for seeds in flags.seeds if seeds != 1)


def configured(case: Case, *, precision: str) -> Config:
    """The default configuration in a row's form."""
    changes = {
        "data.size": case.size,
        "model.conv_impl": case.form,
        "model.dtype": case.dtype,
        "train.batch_size": case.batch,
        "train.precision": precision,
    }
    return load_config(ROOT / "configs" / "default.py", [(name, str(value)) for name, value in changes.items()])


def compiled(case: Case, config: Config, *, steps: int) -> tuple[Callable[[], object], jax.stages.Compiled, float]:
    """A call that runs `steps` steps to their end, the program beneath it, and the seconds that it took to compile."""
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
    began = time.perf_counter()
    executable = lowered.compile()
    seconds = time.perf_counter() - began

    def run() -> None:
        nonlocal state
        state, _ = executable(state, real_u8)
        jax.block_until_ready(state)

    return run, executable, seconds


def median_seconds(run: Callable[[], object], *, rounds: int) -> float:
    """Median over `rounds` calls, after one."""
    run()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def large_rate(dtype: str, *, side: int, precision: str, rounds: int) -> float:
    """Operations a second of a square product of that side."""
    matrix = jnp.asarray(np.random.default_rng(0).standard_normal((side, side)), dtype)
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=None if precision == "default" else precision))
    return 2 * side**3 / median_seconds(lambda: jax.block_until_ready(product(matrix)), rounds=max(rounds, 5))


def row(case: Case, rates: dict[str, float], *, precision: str, steps: int, rounds: int) -> str:
    """Measures one case."""
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
        f"{case.form}, {case.dtype}",
        case.batch,
        case.size,
        case.seeds,
        f"{1000 * seconds:.1f}",
        f"{case.seeds * case.batch / seconds:,.0f}",
        f"{case.seeds * counted.direct / 1e9:.1f}",
        f"{direct / 1e9:,.0f}",
        f"{direct / rates[case.dtype]:.0%}",
        f"{winograd / rates[case.dtype]:.0%}" if case.form == "winograd" else "–",
        f"{compiling:.0f}",
        f"{memory / 1e6:,.0f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Measures and prints row by row."""
    on_cpu = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[25, 64, 128, 256, 512])
    parser.add_argument("--sizes", type=int, nargs="*", default=[32, 128], choices=(32, 64, 128))
    parser.add_argument("--seeds", type=int, nargs="*", default=[2, 4, 8])
    parser.add_argument(
        "--forms", nargs="+", default=[fastest_conv_impl(jax.default_backend())], choices=("winograd", "direct", "patches")
    )
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=("float32", "bfloat16"))
    parser.add_argument("--precision", default="highest", choices=("highest", "high", "default"), help="train.precision")
    parser.add_argument("--steps", type=int, default=2 if on_cpu else 50, help="steps a dispatch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=2048 if on_cpu else 8192, help="of the large product")
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
