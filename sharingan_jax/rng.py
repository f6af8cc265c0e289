"""Every random draw's key, from (seed, what it is for, step) and nothing else."""

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
    """What a draw is for. The numbers are part of a run's identity: new ones are added, old ones never change."""

    GEN_INIT = 0
    DISC_INIT = 1
    LATENTS = 2
    FIXED_LATENTS = 3


def seed_key(seed: int) -> Array:
    """A run's key as raw bits, uint32 [2], so that it can lie in the state and in a checkpoint."""
    return jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))


def stream_key(key: Array, stream: Stream, step: Array | int = 0) -> Array:
    """The typed key of one stream at one step; `key` is from `seed_key`."""
    base = jax.random.wrap_key_data(key, impl="threefry2x32")
    return jax.random.fold_in(jax.random.fold_in(base, int(stream)), step)


def draw_latents(key: Array, *, step: Array | int, count: int, nz: int) -> Array:
    """The latents of a training step, N(0, 1), float32 [B, nz]."""
    return jax.random.normal(stream_key(key, Stream.LATENTS, step), (count, nz), "float32")


def fixed_latents(key: Array, *, count: int, nz: int) -> Array:
    """Latents drawn once for a whole run, N(0, 1), float32 [count, nz]."""
    return jax.random.normal(stream_key(key, Stream.FIXED_LATENTS), (count, nz), "float32")


class Draws:
    """Standard normal arrays under names, for a network that is being made; `supply(path, shape)` makes them."""

    def __init__(self, supply: Callable[[str, Shape], Array], path: str = "") -> None:
        self._supply = supply
        self._path = path

    def inside(self, name: str) -> "Draws":
        """The draws of the submodule `name`."""
        return Draws(self._supply, f"{self._path}{name}/")

    def normal(self, name: str, shape: Shape) -> Array:
        """N(0, 1), float32, of the given shape."""
        return self._supply(self._path + name, shape)


def normal_arrays(key: Array, shapes: dict[str, Shape]) -> dict[str, Array]:
    """Standard normal arrays, float32, each a function of (key, its name, its shape) alone.

    Two networks that share a layer begin with the same weights there, whatever else they differ in, so that runs can be
    compared in pairs. All come from one vectorised draw of blocks: a draw for each array would take seconds to compile.
    """
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    blocks = {name: -(-size // BLOCK) for name, size in sizes.items()}
    names = np.concatenate([np.full(count, _number_of(name), np.uint32) for name, count in blocks.items()])
    places = np.concatenate([np.arange(count, dtype=np.uint32) for count in blocks.values()])

    def draw_block(name: Array, place: Array) -> Array:
        return jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, name), place), (BLOCK,), "float32")

    drawn = jax.vmap(draw_block)(jnp.asarray(names), jnp.asarray(places))  # [all blocks, BLOCK]
    arrays, first = {}, 0
    for name, shape in shapes.items():
        flat = drawn[first : first + blocks[name]].reshape(-1)
        arrays[name] = flat[: sizes[name]].reshape(shape)
        first += blocks[name]
    return arrays


def _number_of(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
