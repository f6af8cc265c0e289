"""The device mesh, what lies where on it, and the compiled programs."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sharingan_jax.devices.memory import give_back_freed
from sharingan_jax.devices.mesh import BATCH, replicated
from sharingan_jax.gan.state import NetState, TrainState
from sharingan_jax.gan.step import Metrics, Update, sample_images, train_chunk, update_networks
from sharingan_jax.gan.system import System, init_state


@dataclass(frozen=True)
class Programs:
    """The compiled functions of a run. `chunk` takes over (donates) the state it is given.

    In a run of several processes each of them calls every one of these, in the same order. `chunk` takes this process's part
    of each batch, uint8 [K, B / processes, H, W, C]; `begin` has it compiled for a state and pictures of that shape while Python
    goes on to import and read; `place` puts a state on all devices; `largest` is the largest of the numbers that the processes
    give.
    """

    mesh: Mesh
    init: Callable[[int], TrainState]
    begin: Callable[[TrainState, tuple[int, ...]], None]
    chunk: Callable[[TrainState, np.ndarray], tuple[TrainState, Metrics]]
    sample: Callable[[NetState, np.ndarray], Array]
    place: Callable[[TrainState], TrainState]
    largest: Callable[[int], Array]


def compile_programs(system: System, mesh: Mesh, *, precision: str) -> Programs:
    """The run's programs: state replicated, pictures [K, B, ...] split over the mesh along B."""
    everywhere = replicated(mesh)
    pictures = NamedSharding(mesh, PartitionSpec(None, BATCH))
    compiled = Ahead(jit_chunk(system, mesh, precision=precision))
    init = jax.jit(partial(init_state, system), static_argnames="seed", out_shardings=everywhere)
    sample = compile_sampler(system, statistics="batch", precision=precision, mesh=mesh)
    return Programs(
        mesh=mesh,
        init=lambda seed: init(seed=seed),
        begin=lambda state, shape: compiled.begin(state, (shape[0], shape[1] * jax.process_count(), *shape[2:])),
        chunk=lambda state, real_u8: compiled(state, jax.make_array_from_process_local_data(pictures, real_u8)),
        sample=lambda gen, z: sample(gen, jax.make_array_from_process_local_data(everywhere, z)),
        place=partial(jax.tree.map, lambda leaf: jax.make_array_from_process_local_data(everywhere, np.asarray(leaf))),
        largest=_compile_largest(mesh),
    )


class Ahead:
    """A jitted function of a state and pictures, whose first program a thread may compile before they are there."""

    def __init__(self, function: jax.stages.Wrapped) -> None:
        self._function = function
        self._programs: dict[tuple[int, ...], Future[jax.stages.Compiled]] = {}

    def begin(self, state: TrainState, shape: tuple[int, ...]) -> None:
        """Starts compiling for states like `state`, arrays or shapes, and pictures of `shape`, uint8."""
        if shape in self._programs:
            return
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        pool = ThreadPoolExecutor(1, "compiler")
        self._programs[shape] = pool.submit(self._compile, abstract, jax.ShapeDtypeStruct(shape, np.uint8))
        self._programs[shape].add_done_callback(lambda _: give_back_freed())
        pool.shutdown(wait=False)

    def __call__(self, state: TrainState, real_u8: Array | np.ndarray) -> tuple[TrainState, Metrics]:
        program = self._programs.get(real_u8.shape)
        call = self._function if program is None else program.result()
        result: tuple[TrainState, Metrics] = call(state, real_u8)
        return result

    def _compile(self, *abstract: Any) -> jax.stages.Compiled:
        return self._function.lower(*abstract).compile()


def jit_chunk(system: System, mesh: Mesh, *, precision: str) -> jax.stages.Wrapped:
    """`train_chunk` for global arrays: the state lies whole on every device and is donated, pictures and latents lie split."""
    everywhere, update = replicated(mesh), shared_update(system, mesh)

    def chunk(state: TrainState, real_u8: Array) -> tuple[TrainState, Metrics]:
        with jax.default_matmul_precision(precision):
            return train_chunk(system, state, real_u8, update=update)

    pictures = NamedSharding(mesh, PartitionSpec(None, BATCH))
    return jax.jit(chunk, in_shardings=(everywhere, pictures), out_shardings=everywhere, donate_argnums=0)


def shared_update(system: System, mesh: Mesh) -> Update:
    """`update_networks` for global arrays under `jit`: pictures and latents lie split along B, the state is whole everywhere.

    The devices exchange what `update_networks` says and nothing else. Batch norm's groups, whose edges need not be the devices',
    are left to XLA's partitioner, which exchanges each mean as it meets it; and one device has nobody to exchange with.
    """
    split, whole = PartitionSpec(BATCH), PartitionSpec()
    if mesh.size == 1 or system.batch_norm_groups > 1:

        def update(state: TrainState, real: Array, z: Array) -> tuple[TrainState, Metrics]:
            # Left where the generator puts them, the latents would have every device make all of the fakes.
            z = jax.lax.with_sharding_constraint(z, NamedSharding(mesh, split))
            return update_networks(system, state, real, z)

        return update
    # JAX's tracking of what varies over the devices (check_vma) would have each parameter's gradient summed where it arises, in
    # an exchange of its own: 56 arrays for 28 at 64 pixels. Without it a pass backward gives a device's own, and the step sums.
    return jax.shard_map(
        partial(update_networks, system, axis=BATCH),
        mesh=mesh,
        in_specs=(whole, split, split),
        out_specs=whole,
        check_vma=False,
    )


def _compile_largest(mesh: Mesh) -> Callable[[int], Array]:
    one_each = NamedSharding(mesh, PartitionSpec(BATCH))
    largest = jax.jit(jnp.max, in_shardings=one_each, out_shardings=replicated(mesh))
    own = sum(device.process_index == jax.process_index() for device in mesh.devices.flat)
    return lambda number: largest(jax.make_array_from_process_local_data(one_each, np.full(own, number, np.int32)))


def compile_sampler(
    system: System, *, statistics: Literal["batch", "running"], precision: str, mesh: Mesh
) -> Callable[[NetState, Array | np.ndarray], Array]:
    """`(generator state, z [B, nz]) -> pictures [B, H, W, C]`, compiled; nothing is donated and nothing moves."""
    everywhere = replicated(mesh)

    def sample(gen: NetState, z: Array) -> Array:
        with jax.default_matmul_precision(precision):
            return sample_images(system, gen, z, statistics=statistics)

    return jax.jit(sample, in_shardings=everywhere, out_shardings=everywhere)
