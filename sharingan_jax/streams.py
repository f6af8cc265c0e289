"""Every random draw's key, from (seed, what it is for, step) and nothing else."""

from enum import IntEnum

import jax
from jax import Array


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
