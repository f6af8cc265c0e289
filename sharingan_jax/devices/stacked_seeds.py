"""Several seeds in one program: their states stacked, the chunk of steps vectorised over them, each device with its share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sharingan_jax.devices.compiled import Ahead, Programs
from sharingan_jax.errors import UserError
from sharingan_jax.gan.state import TrainState
from sharingan_jax.gan.step import Metrics, train_chunk
from sharingan_jax.gan.system import System

SEED = "seed"
STACKED = TrainState(step=None, key=0, gen=0, disc=0)  # type: ignore[arg-type]
"""Along which axis seeds lie: all are at the same step, so that what depends on it stays one branch and not a choice in each."""
OWN = PartitionSpec(SEED)
SPLIT = TrainState(step=PartitionSpec(), key=OWN, gen=OWN, disc=OWN)  # type: ignore[arg-type]
"""Where they lie: each device has its own, and the step."""


@dataclass(frozen=True)
class Together:
    """How the states of one or several seeds go on.

    `gather` joins states that are at the same step to the one that `chunk` takes over and returns. `chunk` takes each seed's
    pictures, uint8 [K, B, H, W, C]; `begin` has it compiled for the seeds' states and pictures of that shape while Python goes
    on. Of what it returns `member` gives the i-th seed's state, and `figures` its metrics [K].
    """

    gather: Callable[[Sequence[TrainState]], TrainState]
    begin: Callable[[Sequence[TrainState], tuple[int, ...]], None]
    chunk: Callable[[TrainState, Sequence[np.ndarray]], tuple[TrainState, Metrics]]
    member: Callable[[TrainState, int], TrainState]
    figures: Callable[[Metrics, int], dict[str, np.ndarray]]


def alone(programs: Programs) -> Together:
    """One seed, by a run's own programs."""
    return Together(
        gather=lambda states: states[0],
        begin=lambda states, shape: programs.begin(states[0], shape),
        chunk=lambda state, real_u8: programs.chunk(state, real_u8[0]),
        member=lambda state, _: state,
        figures=lambda metrics, _: _on_host(metrics),
    )


def side_by_side(system: System, mesh: Mesh, *, precision: str) -> Together:
    """Several seeds, whose number the mesh's devices divide; each device has its own, and nothing is exchanged."""
    states = jax.tree.map(partial(NamedSharding, mesh), SPLIT)
    compiled = Ahead(jit_side_by_side(system, mesh, precision=precision))

    def begin(states_of_seeds: Sequence[TrainState], shape: tuple[int, ...]) -> None:
        count, one = len(states_of_seeds), states_of_seeds[0]
        stacked = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), one)
        compiled.begin(replace(stacked, step=one.step), (count, *shape))

    def gather(states_of_seeds: Sequence[TrainState]) -> TrainState:
        first, *others = (jax.device_get(state) for state in states_of_seeds)
        assert all(state.step == first.step for state in others)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), first, *others)
        return jax.device_put(TrainState(first.step, stacked.key, stacked.gen, stacked.disc), states)

    def member(state: TrainState, index: int) -> TrainState:
        key, gen, disc = jax.device_get(jax.tree.map(lambda leaf: leaf[index], (state.key, state.gen, state.disc)))
        return TrainState(jax.device_get(state.step), key, gen, disc)

    return Together(
        gather=gather,
        begin=begin,
        chunk=lambda state, real_u8: compiled(state, np.stack(real_u8)),
        member=member,
        figures=lambda metrics, index: {name: values[index] for name, values in _on_host(metrics).items()},
    )


def jit_side_by_side(system: System, mesh: Mesh, *, precision: str) -> jax.stages.Wrapped:
    """`train_chunk` over seeds: states stacked (and donated) but for the step, uint8 [S, K, B, H, W, C], metrics [S, K]."""
    vectorised = jax.vmap(partial(train_chunk, system), in_axes=(STACKED, 0), out_axes=(STACKED, 0))
    # Each device by itself: a convolution for each seed is one with groups, which the partitioner would gather.
    on_each = jax.shard_map(vectorised, mesh=mesh, in_specs=(SPLIT, OWN), out_specs=(SPLIT, OWN), check_vma=False)

    def chunk(state: TrainState, real_u8: Array) -> tuple[TrainState, Metrics]:
        with jax.default_matmul_precision(precision):
            return on_each(state, real_u8)

    return jax.jit(chunk, donate_argnums=0)


def seeds_mesh(devices: int, *, seeds: int, begun_on: int = 0, at_most: int = 0) -> Mesh:
    """A one-axis mesh for seeds side by side; 0 takes as many devices as they began on where that can be, or else the most of
    `at_most` of them (0: of all there are) that divide their number.

    Raises UserError where there are fewer devices, or where they do not divide it, with the nearest choice that does.
    """
    there = jax.devices()
    if devices > len(there):
        raise UserError(f"config: train.devices={devices} and this machine has {len(there)}; 0 takes what fits")
    fitting = max(n for n in range(1, min(devices or at_most or len(there), seeds) + 1) if seeds % n == 0)
    if devices and fitting != devices:
        raise UserError(
            f"config: train.devices={devices} does not divide {seeds} seeds at once; use --config.train.devices={fitting}, or"
            " another train.seeds_at_once"
        )
    if not devices and 0 < begun_on <= len(there) and seeds % begun_on == 0:
        fitting = begun_on
    return Mesh(np.array(there[:fitting]), (SEED,))


def _on_host(metrics: Metrics) -> dict[str, np.ndarray]:
    return {name: np.asarray(values) for name, values in jax.device_get(metrics).items()}
