"""The compiled programs of a run: initial state, training steps, samples."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sharingan_jax.config.schema import Config
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.devices.memory import trim_malloc
from sharingan_jax.devices.mesh import BATCH, replicated
from sharingan_jax.gan.gan import Gan, build_gan, init_state_from_key
from sharingan_jax.gan.state import NetState, TrainState
from sharingan_jax.gan.step import Metrics, TrainStep, sample_images, scan_steps, train_step
from sharingan_jax.model.rng import seed_key


class Trainer:
    """One run's programs on the devices of `mesh`: each has the whole state and its part of every batch.

    In a run of several processes, each process calls every method, in the same order. States outside are numpy arrays or
    arrays on one device; a state from `to_device` is for `run_steps` alone, which takes it over (donates it).

    A batch is given as its images, uint8 [B, H, W, C]. With a `dataset`, all images lie on every device instead, from the first
    step on, and a batch is given as its indices, int [B].
    """

    seeds = 1

    def __init__(self, config: Config, mesh: Mesh, *, dataset: ImageDataset | None = None) -> None:
        self.config, self.mesh, self.dataset = config, mesh, dataset
        self.gan = build_gan(config)
        self.program = jit_steps(config, mesh, gathers=dataset is not None)
        self._ahead: dict[tuple[int, ...], Future[jax.stages.Compiled]] = {}
        self._batches = NamedSharding(mesh, PartitionSpec(None, BATCH))
        self._init = jax.jit(partial(init_state_from_key, self.gan), out_shardings=replicated(mesh))
        self._sample = jit_sample(self.gan, statistics="batch", precision=config.train.precision, mesh=mesh)
        self._one_each = NamedSharding(mesh, PartitionSpec(BATCH))
        self._max = jax.jit(jnp.max, in_shardings=self._one_each, out_shardings=replicated(mesh))

    def init(self, seed: int) -> TrainState:
        """Return the state before step 1, on every device."""
        state: TrainState = self._init(np.asarray(seed_key(seed)))
        return state

    def to_device(self, states: Sequence[TrainState]) -> TrainState:
        """Return the state of the one run, whole on every device."""
        (state,) = states
        return self.replicate(state)

    def run_steps(
        self, state: TrainState, batches: Sequence[np.ndarray], labels: Sequence[np.ndarray] = ()
    ) -> tuple[TrainState, Metrics]:
        """Run K steps on the one run's batches: this process's part of each, uint8 [K, B / processes, H, W, C].

        With a `dataset`, int [K, B / processes]. With `model.classes` > 0, `labels` are their classes, int [K, B / processes].
        Return (state, metrics [K]).
        """
        (own,) = batches
        arrays = [own.astype(self._batch_dtype, copy=False), *(each.astype(np.int32, copy=False) for each in labels)]
        return self._call(state, *(jax.make_array_from_process_local_data(self._batches, each) for each in arrays))

    def to_host(self, state: TrainState) -> list[TrainState]:
        """Return the run's state as numpy arrays."""
        return [jax.device_get(state)]

    def metrics_to_host(self, metrics: Metrics) -> list[dict[str, np.ndarray]]:
        """Return the run's metrics, each [K], as numpy arrays. This waits until the steps are done."""
        return [{name: np.asarray(values) for name, values in jax.device_get(metrics).items()}]

    def sample(self, gen: NetState, z: np.ndarray) -> Array:
        """Return images [N, H, W, C] in [−1, 1] for latents [N, nz], normalised with the statistics of this batch."""
        return self._sample(gen, jax.make_array_from_process_local_data(replicated(self.mesh), z))

    def replicate(self, state: TrainState) -> TrainState:
        """Return the state as new arrays, whole on every device."""
        everywhere = replicated(self.mesh)
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(everywhere, np.asarray(leaf)), state)

    def max_over_processes(self, number: int) -> Array:
        """Return the largest of the numbers that the processes pass, on every device, without waiting for it."""
        own = np.full(self.mesh.local_mesh.size, number, np.int32)
        largest: Array = self._max(jax.make_array_from_process_local_data(self._one_each, own))
        return largest

    def precompile(self, state: TrainState, *, steps: int, batch_size: int, image_shape: tuple[int, int, int]) -> None:
        """Start compiling `run_steps` in a thread, for one run's state and batches of all processes together."""
        arguments = self._abstract(state, steps=steps, batch_size=batch_size, image_shape=image_shape)
        shape = arguments[1].shape
        if shape in self._ahead:
            return
        pool = ThreadPoolExecutor(1, "compiler")
        self._ahead[shape] = pool.submit(lambda: self.program.lower(*arguments).compile())
        self._ahead[shape].add_done_callback(lambda _: trim_malloc())
        pool.shutdown(wait=False)

    def lower(self, state: TrainState, *, steps: int, batch_size: int, image_shape: tuple[int, int, int]) -> jax.stages.Lowered:
        """Trace `run_steps` for one run's state and batches of all processes together. Nothing is compiled."""
        return self.program.lower(*self._abstract(state, steps=steps, batch_size=batch_size, image_shape=image_shape))

    @property
    def _batch_dtype(self) -> type[np.generic]:
        return np.uint8 if self.dataset is None else np.int32

    @property
    def _program_mesh(self) -> Mesh:
        """The devices that run the steps."""
        return self.mesh

    @cached_property
    def _resident(self) -> tuple[Array, ...]:
        """The images [N, H, W, C], whole on every device that runs steps. Nothing without a `dataset`."""
        if self.dataset is None:
            return ()
        images_u8 = self.dataset.preview(self.dataset.count)
        return (jax.make_array_from_process_local_data(replicated(self._program_mesh), images_u8),)

    def _abstract(self, state: TrainState, *, steps: int, batch_size: int, image_shape: tuple[int, int, int]) -> tuple[Any, ...]:
        """Return the shapes and dtypes of the program's arguments."""
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        of_batch = (steps, batch_size, *image_shape) if self.dataset is None else (steps, batch_size)
        labels = [jax.ShapeDtypeStruct((steps, batch_size), np.int32)] if self.gan.classes else []
        resident = [jax.ShapeDtypeStruct((self.dataset.count, *image_shape), np.uint8)] if self.dataset is not None else []
        return (abstract, jax.ShapeDtypeStruct(of_batch, self._batch_dtype), *labels, *resident)

    def _call(self, state: TrainState, batches: Array | np.ndarray, *labels: Array | np.ndarray) -> tuple[TrainState, Metrics]:
        ahead = self._ahead.get(batches.shape)
        program: Callable[..., tuple[TrainState, Metrics]] = self.program if ahead is None else ahead.result()
        return program(state, batches, *labels, *self._resident)


def jit_steps(config: Config, mesh: Mesh, *, gathers: bool = False) -> jax.stages.Wrapped:
    """Jit `scan_steps` for global arrays: the state whole on every device and donated, images [K, B, H, W, C] split along B.

    If it `gathers`, the batches are indices [K, B], split along B, and the last argument are the images [N, H, W, C], whole on
    every device. With `model.classes` > 0 the third argument are the labels [K, B], split along B.
    """
    everywhere, step, classes = replicated(mesh), sharded_step(config, mesh), config.model.classes

    def run_steps(state: TrainState, batches: Array, *others: Array) -> tuple[TrainState, Metrics]:
        labels, images_u8 = labels_and_images(others, classes=classes)
        with jax.default_matmul_precision(config.train.precision):
            return scan_steps(step, state, batches, images_u8, labels, nz=config.model.nz)

    batches = NamedSharding(mesh, PartitionSpec(None, BATCH))
    places = (everywhere, batches, *([batches] if classes else []), *([everywhere] if gathers else []))
    return jax.jit(run_steps, in_shardings=places, out_shardings=everywhere, donate_argnums=0)


def labels_and_images(others: Sequence[Array], *, classes: int) -> tuple[Array | None, Array | None]:
    """Return the labels and the images among the arguments of a program that may have both, in this order, one or none."""
    labels, images = others[: bool(classes)], others[bool(classes) :]
    return (labels[0] if labels else None), (images[0] if images else None)


def sharded_step(config: Config, mesh: Mesh) -> TrainStep:
    """Return `train_step` for global arrays under `jit`: images and latents split along B, the state whole on every device.

    The devices exchange what `train_step` says and nothing else. Ghost batches need not end where a device's part of the
    batch ends, so they are left to XLA's partitioner, which exchanges each mean. One device exchanges nothing.
    """
    split, whole = PartitionSpec(BATCH), PartitionSpec()
    if mesh.size == 1 or config.model.ghost_batches > 1:
        gan = build_gan(config)

        def step(state: TrainState, real: Array, z: Array, labels: Array | None = None) -> tuple[TrainState, Metrics]:
            # Split z here: otherwise every device makes all fake images.
            z = jax.lax.with_sharding_constraint(z, NamedSharding(mesh, split))
            return train_step(gan, state, real, z, labels)

        return step
    # JAX's tracking of what varies over the devices (check_vma) would sum each parameter's gradient where it arises, in an
    # exchange of its own: 56 arrays for 28 at 64 pixels. Without it the backward pass gives a device's own, and the step sums.
    on_each = jax.shard_map(
        partial(train_step, build_gan(config, axis_name=BATCH)),
        mesh=mesh,
        in_specs=(whole, split, split, split),
        out_specs=whole,
        check_vma=False,
    )
    return lambda state, real, z, labels=None: on_each(state, real, z, labels)


def jit_sample(
    gan: Gan, *, statistics: Literal["batch", "running"], precision: str, mesh: Mesh
) -> Callable[[NetState, Array | np.ndarray], Array]:
    """Jit `sample_images`: (generator state, z [B, nz]) -> images [B, H, W, C]. Nothing is donated and no state changes."""
    everywhere = replicated(mesh)

    def sample(gen: NetState, z: Array) -> Array:
        with jax.default_matmul_precision(precision):
            return sample_images(gan, gen, z, statistics=statistics)

    return jax.jit(sample, in_shardings=everywhere, out_shardings=everywhere)
