"""The training step compiled for a TPU, on a machine without one.

    pip install "jax[tpu]"
    python -m benchmarks.tpu_program
    python -m benchmarks.tpu_program --topology v6e:2x4 --batches 32 --dtypes bfloat16

libtpu, which `jax[tpu]` installs (Linux on x86), compiles for chips that the machine does not have. Nothing is run or timed: the
table shows properties of the compiled program, per step and chip. Operations and bytes are XLA's own count. Bytes are moved
between the chip's large memory and its units. "Full" is the share of a convolution's result that is data and not padding: a TPU
stores arrays in tiles, for example of 8 by 128, and its matrix unit works on whole tiles. "Host" counts infeeds, outfeeds, sends,
receives and callbacks, for which the chip would wait.
"""

import argparse
import os
import re
import time
from dataclasses import replace
from functools import partial
from math import ceil, prod
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # Otherwise libtpu queries the cloud machine for its chips.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from sharingan_jax.config.load import load_config
from sharingan_jax.devices.mesh import BATCH
from sharingan_jax.devices.stacked_seeds import SEED, jit_stacked_steps
from sharingan_jax.devices.trainer import jit_steps
from sharingan_jax.gan.gan import build_gan, init_state

ROOT = Path(__file__).parents[1]
RESULT = re.compile(r"= (\w+)\[([\d,]+)\]\{([\d,]+):T\((\d+),(\d+)\)[^}]*\} convolution\(")
HOSTS = re.compile(r" (infeed|outfeed|send|recv|host-\w+|xla_python_cpu_callback)\(")
EXCHANGES = re.compile(r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(")
COLUMNS = (
    "dtype",
    "batch a chip",
    "seeds",
    "chips",
    "GFLOP",
    "MB moved",
    "convolutions",
    "full",
    "exchanges",
    "host",
    "temporary, MB",
    "compiling, s",
)


class Convolution(NamedTuple):
    """A convolution's result in a compiled program: its dtype, its shape, and the share of its tiles that is data."""

    dtype: str
    shape: tuple[int, ...]
    full: float


def convolutions_in(text: str) -> list[Convolution]:
    """Return the convolutions of a TPU's HLO, from their results' tiled layouts.

    >>> convolutions_in("x = bf16[25,8,8,64]{3,0,2,1:T(8,128)(2,1)S(1)} convolution(a, b)")
    [Convolution(dtype='bf16', shape=(25, 8, 8, 64), full=0.390625)]
    """
    found = []
    for dtype, sizes, order, rows, columns in RESULT.findall(text):
        shape = tuple(map(int, sizes.split(",")))
        minor, second = (shape[int(axis)] for axis in order.split(",")[:2])
        tiles = ceil(minor / int(columns)) * int(columns) * ceil(second / int(rows)) * int(rows)
        found.append(Convolution(dtype, shape, minor * second / tiles))
    return found


def compiled_for(devices: list[Any], *, batch: int, dtype: str, seeds: int) -> jax.stages.Compiled:
    """Compile five steps of the default configuration for these chips, with `batch` images a chip (or a seed)."""
    precision = "highest" if dtype == "float32" else "default"
    changes = [("model.conv_impl", "direct"), ("model.dtype", dtype), ("train.precision", precision)]
    config = load_config(ROOT / "configs" / "default.py", changes)
    state = jax.eval_shape(partial(init_state, build_gan(config), seed=0))
    real_u8 = jax.ShapeDtypeStruct((5, batch * len(devices), 64, 64, 3), np.uint8)
    if seeds == 1:
        return jit_steps(config, Mesh(np.array(devices), (BATCH,))).lower(state, real_u8).compile()
    stacked = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((seeds, *leaf.shape), leaf.dtype), state)
    program = jit_stacked_steps(config, Mesh(np.array(devices), (SEED,)))
    images_u8 = jax.ShapeDtypeStruct((seeds, *real_u8.shape), np.uint8)
    return program.lower(replace(stacked, step=state.step), images_u8).compile()


def row(devices: list[Any], *, batch: int, dtype: str, seeds: int = 1) -> str:
    """Compile, and return the row of the table."""
    start = time.perf_counter()
    program = compiled_for(devices, batch=batch, dtype=dtype, seeds=seeds)
    compiling = time.perf_counter() - start
    text = program.as_text() or ""
    costs: Any = program.cost_analysis()
    planned: Any = program.memory_analysis()
    found = convolutions_in(text)
    sizes = [prod(one.shape) for one in found]
    full = sum(sizes) / sum(size / one.full for size, one in zip(sizes, found, strict=True))
    kinds = ", ".join(f"{sum(one.dtype == kind for one in found)} {kind}" for kind in sorted({one.dtype for one in found}))
    exchanges = EXCHANGES.findall(text)
    cells = (
        dtype,
        batch,
        seeds,
        len(devices),
        f"{costs['flops'] / 1e9:.1f}",
        f"{costs['bytes accessed'] / 1e6:,.0f}",
        kinds,
        f"{full:.0%}",
        ", ".join(f"{exchanges.count(kind)} {kind}" for kind in sorted(set(exchanges))) or "none",
        len(HOSTS.findall(text)) or "none",
        f"{planned.temp_size_in_bytes / 1e6:,.0f}",
        f"{compiling:.0f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print a table row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", default="v5e:2x4", help="chips to compile for; default: v5e:2x4")
    parser.add_argument("--batches", type=int, nargs="+", default=[25, 32, 128])
    parser.add_argument("--seeds", type=int, nargs="*", default=[8], help="stacked on one chip, at the first batch")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=("float32", "bfloat16"))
    flags = parser.parse_args()
    chips: list[Any] = list(topologies.get_topology_desc(flags.topology, "tpu").devices)
    print(f"{flags.topology}, {chips[0].device_kind}, jax {jax.__version__}; five steps a chunk, numbers of one step\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
    for dtype in flags.dtypes:
        for batch in flags.batches:
            for devices in (chips[:1], chips):
                print(row(devices, batch=batch, dtype=dtype), flush=True)
        for seeds in flags.seeds:
            print(row(chips[:1], batch=flags.batches[0], dtype=dtype, seeds=seeds), flush=True)


if __name__ == "__main__":
    main()
