"""How fast are 3×3 convolutions, their gradients, and the gradient of a penalty on a gradient, in each implementation?

    python -m benchmarks.convolutions_3x3
    python -m benchmarks.convolutions_3x3 --rounds 30

For the shapes that `crisp` and the architectures `dcgan_up` and `resnet` have at 64 pixels and a width of 32: the milliseconds of
the forward pass; of the gradients of the sum of squares, by the input and by the kernel; and of the kernel's gradient of the
squared norm of the input's gradient, as R1 takes it. Times are medians, and the programs run in turns.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.layers import measure
from sharingan_jax.model.convolutions_3x3 import direct_same, patches_same, winograd_same

IMPLEMENTATIONS = {"direct": direct_same, "patches": patches_same, "winograd": winograd_same}
SHAPES = ((64, 3, 16), (64, 3, 32), (64, 32, 32), (32, 64, 64), (16, 128, 128), (8, 256, 256))
"""(side of the image, channels in, channels out). The first is D's first convolution in `crisp`."""
PASSES = ("forward", "gradients", "gradient of the penalty")


def passes_of(convolve: Callable[[Array, Array], Array], x: Array, kernel: Array) -> dict[str, Callable[[], object]]:
    """Return a call for each of `PASSES`, of images [B, H, W, in] and a kernel [3, 3, in, out]."""

    def loss(x: Array, kernel: Array) -> Array:
        return jnp.sum(jnp.square(convolve(x, kernel)))

    def penalty(x: Array, kernel: Array) -> Array:
        return jnp.sum(jnp.square(jax.grad(loss)(x, kernel)))

    compiled = (jax.jit(convolve), jax.jit(jax.grad(loss, argnums=(0, 1))), jax.jit(jax.grad(penalty, argnums=1)))
    return {name: lambda call=call: call(x, kernel) for name, call in zip(PASSES, compiled, strict=True)}  # type: ignore[misc]


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=15)
    flags = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, batch {flags.batch}\n")
    print(f"| milliseconds | {' | '.join(PASSES)} |\n|---|{'---|' * len(PASSES)}")
    for side, c_in, c_out in SHAPES:
        x = jnp.asarray(rng.standard_normal((flags.batch, side, side, c_in)), jnp.float32)
        kernel = jnp.asarray(rng.standard_normal((3, 3, c_in, c_out)), jnp.float32)
        timed: dict[Any, Callable[[], object]] = {}
        for name, convolve in IMPLEMENTATIONS.items():
            timed |= {(name, which): call for which, call in passes_of(convolve, x, kernel).items()}
        ms = measure(timed, rounds=flags.rounds)
        for name in IMPLEMENTATIONS:
            cells = " | ".join(f"{ms[name, which]:.2f}" for which in PASSES)
            print(f"| {side}×{side}, {c_in} → {c_out}, {name} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
