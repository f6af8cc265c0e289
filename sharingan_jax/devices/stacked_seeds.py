"""Several seeds in one program: their states stacked, the steps vectorised over them, each device with its share of the seeds."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sharingan_jax.config.schema import Config
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.devices.trainer import Trainer, labels_and_images
from sharingan_jax.errors import UserError
from sharingan_jax.gan.gan import build_gan
from sharingan_jax.gan.state import TrainState
from sharingan_jax.gan.step import Metrics, scan_steps, train_step

SEED = "seed"
STACKED = TrainState(step=None, key=0, gen=0, disc=0, ema=0, memory=0)  # type: ignore[arg-type]
"""The axis along which seeds are stacked. All are at the same step, so a branch on the step stays one branch for all."""
OWN = PartitionSpec(SEED)
SPLIT = TrainState(step=PartitionSpec(), key=OWN, gen=OWN, disc=OWN, ema=OWN, memory=OWN)  # type: ignore[arg-type]
"""Where the stacked state lies: each device has its own seeds, and the step."""


class StackedTrainer(Trainer):
    """S runs of different seeds in one program, on the devices of `seeds_mesh`, which divide S and exchange nothing.

    `mesh` is the mesh of one such run, for what is done one run at a time: `init` and `sample`.
    """

    def __init__(self, config: Config, mesh: Mesh, *, seeds_mesh: Mesh, seeds: int, dataset: ImageDataset | None = None) -> None:
        super().__init__(config, mesh, dataset=dataset)
        self.seeds, self.seeds_mesh = seeds, seeds_mesh
        self.program = jit_stacked_steps(config, seeds_mesh, gathers=dataset is not None)

    def to_device(self, states: Sequence[TrainState]) -> TrainState:
        """Stack the runs' states, which are all at the same step: leaves [S, ...], and the step []."""
        first, *others = (jax.device_get(state) for state in states)
        assert all(state.step == first.step for state in others)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), first, *others)
        shardings = jax.tree.map(partial(NamedSharding, self.seeds_mesh), SPLIT)
        return jax.device_put(replace(stacked, step=first.step), shardings)

    def run_steps(
        self, state: TrainState, batches: Sequence[np.ndarray], labels: Sequence[np.ndarray] = ()
    ) -> tuple[TrainState, Metrics]:
        """Run K steps of each run on its own batches: uint8 [K, B, H, W, C] a run, or with a `dataset` int [K, B].

        With `model.classes` > 0, `labels` are their classes, int [K, B] a run. Return (state, metrics [S, K]).
        """
        stacked_labels = [np.stack(labels).astype(np.int32, copy=False)] if labels else []
        return self._call(state, np.stack(batches).astype(self._batch_dtype, copy=False), *stacked_labels)

    def to_host(self, state: TrainState) -> list[TrainState]:
        """Return each run's state as numpy arrays."""
        host = jax.device_get(state)
        own = [
            jax.tree.map(lambda leaf, i=i: leaf[i], (host.key, host.gen, host.disc, host.ema, host.memory))
            for i in range(self.seeds)
        ]
        return [TrainState(host.step, *parts) for parts in own]

    def metrics_to_host(self, metrics: Metrics) -> list[dict[str, np.ndarray]]:
        """Return each run's metrics, each [K], as numpy arrays. This waits until the steps are done."""
        host = {name: np.asarray(values) for name, values in jax.device_get(metrics).items()}
        return [{name: values[i] for name, values in host.items()} for i in range(self.seeds)]

    @property
    def _program_mesh(self) -> Mesh:
        return self.seeds_mesh

    def _abstract(self, state: TrainState, *, steps: int, batch_size: int, image_shape: tuple[int, int, int]) -> tuple[Any, ...]:
        one_run = super()._abstract(state, steps=steps, batch_size=batch_size, image_shape=image_shape)
        own = 3 if self.gan.classes else 2  # State, batches, and labels if there are any; then come the images of all seeds.
        of_seeds = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((self.seeds, *leaf.shape), leaf.dtype), one_run[:own])
        return (replace(of_seeds[0], step=one_run[0].step), *of_seeds[1:], *one_run[own:])


def jit_stacked_steps(config: Config, mesh: Mesh, *, gathers: bool = False) -> jax.stages.Wrapped:
    """Jit `scan_steps` over seeds: states stacked (and donated) except for the step, uint8 [S, K, B, H, W, C], metrics [S, K].

    If it `gathers`, the batches are indices [S, K, B] into the last argument, the images [N, H, W, C] of all seeds. With
    `model.classes` > 0 the third argument are the labels [S, K, B].
    """
    step, classes = partial(train_step, build_gan(config)), config.model.classes

    def scan_one(state: TrainState, batches: Array, *others: Array) -> tuple[TrainState, Metrics]:
        labels, images_u8 = labels_and_images(others, classes=classes)
        return scan_steps(step, state, batches, images_u8, labels, nz=config.model.nz)

    axes = (STACKED, 0, *([0] if classes else []), *([None] if gathers else []))
    over_seeds = jax.vmap(scan_one, in_axes=axes, out_axes=(STACKED, 0))
    # Each device on its own: a vmapped convolution is one with groups, which the partitioner would gather.
    places = (SPLIT, OWN, *([OWN] if classes else []), *([PartitionSpec()] if gathers else []))
    on_each = jax.shard_map(over_seeds, mesh=mesh, in_specs=places, out_specs=(SPLIT, OWN), check_vma=False)

    def run_steps(state: TrainState, batches: Array, *others: Array) -> tuple[TrainState, Metrics]:
        with jax.default_matmul_precision(config.train.precision):
            return on_each(state, batches, *others)

    return jax.jit(run_steps, donate_argnums=0)


def seeds_mesh(devices: int, *, seeds: int, initial_devices: int = 0, at_most: int = 0) -> Mesh:
    """Return a one-axis mesh for stacked seeds.

    With `devices` = 0 it takes `initial_devices`, if that many are here and divide the seeds. Otherwise it takes the
    most of `at_most` devices (0: of all) that divide the seeds. Raise UserError if there are fewer devices than asked for, or if
    they do not divide the seeds, with the nearest number that does.
    """
    there = jax.devices()
    if devices > len(there):
        raise UserError(
            f"train.devices={devices}: expected at most the {len(there)} of this machine. Use 0 to take the most that fit."
        )
    fitting = max(n for n in range(1, min(devices or at_most or len(there), seeds) + 1) if seeds % n == 0)
    if devices and fitting != devices:
        divisor = f"expected a divisor of the {seeds} stacked seeds"
        raise UserError(
            f"train.devices={devices}: {divisor}. Use --config.train.devices={fitting}, or another train.stacked_seeds."
        )
    if not devices and 0 < initial_devices <= len(there) and seeds % initial_devices == 0:
        fitting = initial_devices
    return Mesh(np.array(there[:fitting]), (SEED,))
