"""Where a step's time goes: each convolution's passes, their matrix products alone, and the machine's best product.

    python -m benchmarks.layers
    python -m benchmarks.layers --batch 128

For every strided convolution of the published system in Winograd's implementation: the milliseconds of the forward pass, of its
input's gradient and of its kernel's gradient, each compiled alone; the milliseconds of the nine matrix products in each of them;
and the rate of the nine as a share of the rate of a large square product. Times are medians, and the programs run in turns. The
last line is the sum over a step.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sharingan_jax.model.convolutions import winograd_down, winograd_up

LARGE = 2048


class Layer(NamedTuple):
    """A strided convolution: its network, the side of its input, its channels, and how often a step runs each of its passes
    (forward, the input's gradient, the kernel's gradient)."""

    net: str
    side: int
    c_in: int
    c_out: int
    passes: tuple[int, int, int]


LAYERS = (
    Layer("D", 64, 3, 64, (3, 1, 2)),
    Layer("D", 32, 64, 128, (3, 3, 2)),
    Layer("D", 16, 128, 256, (3, 3, 2)),
    Layer("D", 8, 256, 512, (3, 3, 2)),
    Layer("G", 4, 512, 256, (1, 1, 1)),
    Layer("G", 8, 256, 128, (1, 1, 1)),
    Layer("G", 16, 128, 64, (1, 1, 1)),
    Layer("G", 32, 64, 3, (1, 1, 1)),
)


def measure(timed: dict[Any, Callable[[], object]], *, rounds: int) -> dict[Any, float]:
    """Return the median milliseconds of each, called in turns, after one call that compiles."""
    for call in timed.values():
        jax.block_until_ready(call())
    taken: dict[Any, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, call in timed.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            taken[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in taken.items()}


def passes_of(layer: Layer, normal: Callable[..., Array], *, batch: int) -> dict[Any, Callable[[], object]]:
    """Return calls for the three passes of a layer, and for the nine products of each pass alone."""
    convolve = winograd_down if layer.net == "D" else winograd_up
    x, kernel = normal(batch, layer.side, layer.side, layer.c_in), normal(4, 4, layer.c_in, layer.c_out)
    forward = jax.jit(convolve)
    grad = normal(*forward(x, kernel).shape)
    to_input = jax.jit(lambda x, kernel, grad: jax.vjp(lambda x: convolve(x, kernel), x)[1](grad))
    to_kernel = jax.jit(lambda x, kernel, grad: jax.vjp(lambda kernel: convolve(x, kernel), kernel)[1](grad))
    m, k, n = sizes_of(layer, batch=batch)
    a, b, c = ([normal(*shape) for _ in range(9)] for shape in ((m, k), (k, n), (m, n)))
    products = jax.jit(lambda a, b: [one @ other for one, other in zip(a, b, strict=True)])
    products_bt = jax.jit(lambda c, b: [one @ other.T for one, other in zip(c, b, strict=True)])
    products_at = jax.jit(lambda a, c: [one.T @ other for one, other in zip(a, c, strict=True)])
    return {
        (layer, "pass", 0): lambda: forward(x, kernel),
        (layer, "pass", 1): lambda: to_input(x, kernel, grad),
        (layer, "pass", 2): lambda: to_kernel(x, kernel, grad),
        (layer, "products", 0): lambda: products(a, b),
        (layer, "products", 1): lambda: products_bt(c, b),
        (layer, "products", 2): lambda: products_at(a, c),
    }


def sizes_of(layer: Layer, *, batch: int) -> tuple[int, int, int]:
    """Return (M, K, N): each of the nine products of the forward pass is [M, K] @ [K, N]."""
    if layer.net == "D":
        return batch * (layer.side // 4) ** 2, 4 * layer.c_in, layer.c_out
    return batch * (layer.side // 2) ** 2, layer.c_in, 4 * layer.c_out


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=15)
    flags = parser.parse_args()
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    large = normal(LARGE, LARGE)
    square = jax.jit(lambda a: a @ a)
    timed: dict[Any, Callable[[], object]] = {"large": lambda: square(large)}
    for layer in LAYERS:
        timed |= passes_of(layer, normal, batch=flags.batch)
    ms = measure(timed, rounds=flags.rounds)
    peak = 2 * LARGE**3 / ms["large"] / 1e6
    print(
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}, batch {flags.batch}; a product of {LARGE}: {peak:.0f} GFLOP/s\n"
    )
    columns = ("layer", "passes", "forward, ms", "to its input", "to its kernel", "products alone", "of the large one's rate")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    step = {"pass": 0.0, "products": 0.0}
    for layer in LAYERS:
        m, k, n = sizes_of(layer, batch=flags.batch)
        rates = [9 * 2 * m * k * n / ms[layer, "products", i] / 1e6 / peak for i in range(3)]
        passes, products = ([f"{ms[layer, what, i]:.1f}" for i in range(3)] for what in step)
        for what in step:
            step[what] += sum(count * ms[layer, what, i] for i, count in enumerate(layer.passes))
        name = f"{layer.net} {layer.side}×{layer.side}, {layer.c_in} → {layer.c_out}"
        shares = ", ".join(f"{rate:.0%}" for rate in rates)
        print(f"| {name} | {', '.join(map(str, layer.passes))} | {' | '.join(passes)} | {', '.join(products)} | {shares} |")
    print(f"\nthe passes of one step, summed: {step['pass']:.0f} ms, of which products {step['products']:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
