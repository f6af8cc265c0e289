"""Random keys and named normal draws: each is a function of (seed, stream, step), and of nothing else."""

import hashlib
from collections.abc import Callable
from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Shape = tuple[int, ...]
BLOCK = 4096


class Stream(IntEnum):
    """The purpose of a draw. A run's numbers depend on these values: new ones may be added, existing ones never change."""

    GEN_INIT = 0
    DISC_INIT = 1
    LATENTS = 2
    FIXED_LATENTS = 3
    AUGMENT = 4


def seed_key(seed: int) -> Array:
    """Return a run's key as raw bits, uint32 [2], which the state and a checkpoint can hold."""
    return jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))


def stream_key(key: Array, stream: Stream, step: Array | int = 0) -> Array:
    """Return the typed key of one stream at one step; `key` is from `seed_key`."""
    base = jax.random.wrap_key_data(key, impl="threefry2x32")
    return jax.random.fold_in(jax.random.fold_in(base, int(stream)), step)


def draw_latents(key: Array, *, step: Array | int, count: int, nz: int) -> Array:
    """Draw the latents of a training step, N(0, 1), float32 [B, nz]."""
    return jax.random.normal(stream_key(key, Stream.LATENTS, step), (count, nz), "float32")


def fixed_latents(key: Array, *, count: int, nz: int) -> Array:
    """Draw the latents of a run's sample grids, the same at every step, N(0, 1), float32 [count, nz]."""
    return jax.random.normal(stream_key(key, Stream.FIXED_LATENTS), (count, nz), "float32")


class NamedNormals:
    """Standard normal arrays by name, for a network under construction; `supply(path, shape)` makes them."""

    def __init__(self, supply: Callable[[str, Shape], Array], path: str = "") -> None:
        self._supply = supply
        self._path = path

    def inside(self, name: str) -> "NamedNormals":
        """Return the draws of the submodule `name`."""
        return NamedNormals(self._supply, f"{self._path}{name}/")

    def draw(self, name: str, shape: Shape) -> Array:
        """Draw N(0, 1), float32, of the given shape."""
        return self._supply(self._path + name, shape)


def normal_arrays(key: Array, shapes: dict[str, Shape]) -> dict[str, Array]:
    """Draw standard normal arrays, float32, each a function of (key, its name, its shape) alone.

    Two networks that share a layer start with the same weights there, even if their other layers differ. So runs can be
    compared in pairs. All arrays come from one vectorised draw of blocks: one draw per array would take seconds to compile.
    """
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    blocks = {name: -(-size // BLOCK) for name, size in sizes.items()}
    words = {name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little") for name in shapes}
    names = np.concatenate([np.full(count, words[name], np.uint32) for name, count in blocks.items()])
    positions = np.concatenate([np.arange(count, dtype=np.uint32) for count in blocks.values()])

    def draw_block(name: Array, position: Array) -> Array:
        return jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, name), position), (BLOCK,), "float32")

    drawn = jax.vmap(draw_block)(jnp.asarray(names), jnp.asarray(positions))  # [all blocks, BLOCK]
    arrays, first = {}, 0
    for name, shape in shapes.items():
        flat = drawn[first : first + blocks[name]].reshape(-1)
        arrays[name] = flat[: sizes[name]].reshape(shape)
        first += blocks[name]
    return arrays
