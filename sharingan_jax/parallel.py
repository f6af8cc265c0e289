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


def make_mesh(devices: int, *, batch_sizes: set[int]) -> Mesh:
    """A one-axis mesh over `devices` devices; 0 takes as many as there are that every batch size divides over.

    Raises UserError where there are fewer, or where a batch does not divide over them, with the nearest choices that do.
    """
    there = jax.devices()
    if devices > len(there):
        raise UserError(
            f"config: train.devices={devices} and this machine has {len(there)} ({there[0].platform}); 0 takes what fits"
        )
    fitting = max(n for n in range(1, (devices or len(there)) + 1) if all(size % n == 0 for size in batch_sizes))
    if devices and fitting != devices:
        raise _uneven(devices, fitting=fitting, batch_sizes=batch_sizes)
    return Mesh(np.array(there[:fitting]), (BATCH,))


def check_groups(groups: int, *, batch_sizes: set[int]) -> None:
    """Raises UserError, with the nearest choice that does, where a batch does not divide into equal parts for batch norm."""
    uneven = [size for size in sorted(batch_sizes) if size % groups]
    if uneven:
        fitting = max(n for n in range(1, groups + 1) if all(size % n == 0 for size in batch_sizes))
        whole = max(batch_sizes)
        instead = (
            f"a batch of {max(groups, round(whole / groups) * groups)}" if whole in uneven else "data.last_batch=fill or drop"
        )
        raise UserError(
            f"config: model.batch_norm_groups={groups} does not divide a batch of {uneven[-1]};"
            f" use --config.model.batch_norm_groups={fitting}, or {instead}"
        )


def _uneven(devices: int, *, fitting: int, batch_sizes: set[int]) -> UserError:
    whole, uneven = max(batch_sizes), max(size for size in batch_sizes if size % devices)
    if uneven != whole:
        what = f"train.batch_size={whole} makes an epoch's last batch one of {uneven}"
        instead = "data.last_batch=fill or drop"
    else:
        what, instead = f"train.batch_size={whole}", f"a batch of {max(devices, round(whole / devices) * devices)}"
    return UserError(
        f"config: {what}, which does not divide over train.devices={devices}; use --config.train.devices={fitting}, or {instead}"
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what lies whole on every device: the state, latents, samples."""
    return NamedSharding(mesh, PartitionSpec())


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
) -> Callable[[NetState, Array | np.ndarray], Array]:
    """`(generator state, z [B, nz]) -> pictures [B, H, W, C]`, compiled; nothing is donated and nothing moves."""
    everywhere = replicated(mesh)

    def sample(gen: NetState, z: Array) -> Array:
        with jax.default_matmul_precision(precision):
            return sample_images(system, gen, z, statistics=statistics)

    return jax.jit(sample, in_shardings=everywhere, out_shardings=everywhere)
