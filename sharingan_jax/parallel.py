"""The device mesh, what lies where on it, and the compiled programs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sharingan_jax.errors import UserError
from sharingan_jax.state import NetState, System, TrainState, init_state
from sharingan_jax.step import Metrics, sample_images, train_chunk

BATCH = "batch"


@dataclass(frozen=True)
class Programs:
    """The compiled functions of a run. `chunk` takes over (donates) the state it is given."""

    mesh: Mesh
    init: Callable[[int], TrainState]
    chunk: Callable[[TrainState, np.ndarray], tuple[TrainState, Metrics]]
    sample: Callable[[NetState, np.ndarray], Array]


def make_mesh(devices: int) -> Mesh:
    """A one-axis mesh over the first `devices` devices, or over all where 0. Raises UserError when there are fewer."""
    there = jax.devices()
    if devices > len(there):
        raise UserError(f"config: train.devices={devices} and this machine has {len(there)} ({there[0].platform}); 0 takes all there are")
    return Mesh(np.array(there[: devices or len(there)]), (BATCH,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what lies whole on every device: the state, latents, samples."""
    return NamedSharding(mesh, PartitionSpec())


def check_batch_sizes(sizes: set[int], *, devices: int) -> None:
    """Raises UserError unless each batch size that occurs divides over the devices, with the nearest choices that do."""
    for size in sorted(sizes, reverse=True):
        if size % devices:
            fewer = max(n for n in range(1, devices + 1) if all(size % n == 0 for size in sizes))
            nearest = max(devices, round(size / devices) * devices)
            partial_batch = "" if size == max(sizes) else " (an epoch's last batch; data.last_batch=fill or drop avoids it)"
            raise UserError(
                f"config: train.batch_size={max(sizes)} gives a batch of {size}{partial_batch}, which does not divide over {devices} devices;"
                f" use --config.train.devices={fewer}, or a batch of {nearest}"
            )


def compile_programs(system: System, mesh: Mesh, *, precision: str) -> Programs:
    """The run's programs: state replicated, pictures [K, B, ...] split over the mesh along B."""
    everywhere = replicated(mesh)
    pictures = NamedSharding(mesh, PartitionSpec(None, BATCH))

    def chunk(state: TrainState, real_u8: Array) -> tuple[TrainState, Metrics]:
        with jax.default_matmul_precision(precision):
            return train_chunk(system, state, real_u8)

    compiled = jax.jit(chunk, in_shardings=(everywhere, pictures), out_shardings=everywhere, donate_argnums=0)
    init = jax.jit(partial(init_state, system), static_argnames="seed", out_shardings=everywhere)
    sample = compile_sampler(system, statistics="batch", precision=precision, mesh=mesh)
    return Programs(
        mesh=mesh,
        init=lambda seed: init(seed=seed),
        chunk=lambda state, real_u8: compiled(state, jax.device_put(real_u8, pictures)),
        sample=lambda gen, z: sample(gen, jax.device_put(z, everywhere)),
    )


def compile_sampler(
    system: System, *, statistics: Literal["batch", "running"], precision: str, mesh: Mesh
) -> Callable[[NetState, Array], Array]:
    """`(generator state, z [B, nz]) -> pictures [B, H, W, C]`, compiled; nothing is donated and nothing moves."""
    everywhere = replicated(mesh)

    def sample(gen: NetState, z: Array) -> Array:
        with jax.default_matmul_precision(precision):
            return sample_images(system, gen, z, statistics=statistics)

    return jax.jit(sample, in_shardings=everywhere, out_shardings=everywhere)
