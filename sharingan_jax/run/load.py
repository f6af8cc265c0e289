"""A run read back from its folder: settings, metrics, checkpoints, and its generator as a function."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax
import numpy as np

from sharingan_jax.config.parse import checked
from sharingan_jax.config.schema import Config, Rule
from sharingan_jax.devices.environment import pin_jax
from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.trainer import jit_sample
from sharingan_jax.errors import UserError
from sharingan_jax.files import user_path
from sharingan_jax.gan.ema import Weights, generator_of, kept_weights
from sharingan_jax.gan.gan import Gan, build_gan, init_state
from sharingan_jax.gan.state import TrainState
from sharingan_jax.model.symmetry import signs_of
from sharingan_jax.reporting.grids import as_image, make_grid, to_u8
from sharingan_jax.run.checkpoints import CheckpointManager
from sharingan_jax.run.folder import RunFolder, read_config
from sharingan_jax.run.latents import draw_run_latents
from sharingan_jax.run.manifest import DataRecord, Manifest, read_data_record, read_manifest
from sharingan_jax.run.metrics import Metrics, read_metrics
from sharingan_jax.run.sampling import Sampler, default_statistics

if TYPE_CHECKING:
    from PIL import Image

Statistics = Literal["batch", "running"]


class Run:
    """A run's folder, read when asked. Reading changes nothing in it.

    `load_run` and `train` return one. What has been read is kept: load the run again to see what a later start has added.
    """

    def __init__(self, path: Path | str) -> None:
        pin_jax()
        self.folder = RunFolder(user_path(path, name="path"))
        self.config: Config = read_config(self.folder)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.root

    @property
    def _existing(self) -> RunFolder:
        """The run's folder. Raise UserError if it is not there now, as when a relative path is read from another folder."""
        if not self.path.is_dir():
            moved = f"got nothing there from {Path.cwd()}"
            raise UserError(f"{self.path}: expected the run's folder, {moved}. Go back, or load the run by its whole path.")
        return self.folder

    @cached_property
    def manifest(self) -> Manifest:
        """What the run recorded about itself: status, digest, data, environments. Raise UserError if it cannot be read."""
        return read_manifest(self._existing.manifest)

    @cached_property
    def data(self) -> DataRecord | None:
        """What the run recorded of its images; None before it has trained. Raise UserError if it cannot be read."""
        return read_data_record(self.folder.data) if self._existing.data.is_file() else None

    @property
    def status(self) -> str:
        """One of `manifest.STATUSES`: imported, branched, running, complete, stopped, collapsed or failed."""
        return self.manifest.status

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that have a checkpoint, in order."""
        return self._existing.checkpoint_steps()

    @cached_property
    def metrics(self) -> Metrics:
        """Each metric as an array [steps] by name, with `step` (int64), `epoch` and `time` (seconds since the start).

        float64; NaN at steps that did not take the metric. The signs of collapse (`diversity` and others) are taken at the steps
        of sample grids. Raise UserError if `metrics.jsonl` cannot be read. A name that the run did not record raises
        `UnknownMetricError`, a UserError and a KeyError.
        """
        records = read_metrics(self._existing)
        names = dict.fromkeys(name for record in records for name in record)
        kinds = {name: np.int64 if name in ("step", "epoch") else np.float64 for name in names}
        columns = {name: [record.get(name) for record in records] for name in names}  # None becomes NaN.
        return Metrics({name: np.array(column, kinds[name]) for name, column in columns.items()})

    @cached_property
    def gan(self) -> Gan:
        """The run's networks as pure functions."""
        return build_gan(self.config)

    def state(self, step: int | None = None) -> TrainState:
        """Return the training state after `step` (default: the last checkpoint), on one device.

        Raise UserError if there is no such checkpoint, or if it is damaged.
        """
        if step is not None:
            step = checked("step", step, int, Rule(at_least=0))
        if not self.steps:
            first = self.config.checkpoint.every
            if self.manifest.status == "failed":
                raise UserError(
                    f"{self.path}: the run failed before its first checkpoint, so it has no weights. Use another run."
                )
            raise UserError(f"{self.path}: no checkpoint there yet; the first comes at step {first}, or at Ctrl-C")
        like = jax.eval_shape(lambda: init_state(self.gan, seed=self.config.seed))
        with CheckpointManager(self.folder.checkpoints, keep=self.config.checkpoint.keep, read_only=True) as checkpoints:
            return checkpoints.restore(self.steps[-1] if step is None else step, like=like)

    def sampler(self, step: int | None = None, *, statistics: Statistics = "batch", weights: Weights | None = None) -> Sampler:
        """Return the generator of a checkpoint (default: the last), as trained or with averaged weights.

        By default the weights are averaged if the run keeps an average. Raise UserError as `state` does, and if averaged weights
        are asked for and there are none.
        """
        return self.sampler_of(self.state(step), statistics=statistics, weights=weights)

    def sampler_of(self, state: TrainState, *, statistics: Statistics = "batch", weights: Weights | None = None) -> Sampler:
        """Return the generator of a state of this run. Raise UserError if it has no averaged weights and they are asked for."""
        config, mesh = self.config, make_mesh(1, batch_sizes={1})
        checked("statistics", statistics, str, Rule(choices=get_args(Statistics)))
        weights = self.chosen_weights(state, weights)
        gen = generator_of(state, weights=weights)
        sample = jit_sample(self.gan, statistics=statistics, precision=config.train.precision, mesh=mesh)
        shape = (config.data.size, config.data.size, config.data.channels)
        origin = f"step {int(state.step)}" + (", averaged weights" if weights == "averaged" else "")
        return Sampler(
            origin,
            config.model.nz,
            generate=lambda z: sample(gen, z),
            image_shape=shape,
            columns=config.sample.columns,
            classes=config.model.classes,
            class_names=self.data.classes if self.data else (),
            signs=signs_of(config),
        )

    def chosen_weights(self, state: TrainState, weights: Weights | None) -> Weights:
        """Return the weights asked for; by default averaged if the run keeps an average.

        Raise UserError if averaged weights are asked for and the state has none, or for another word.
        """
        if weights is not None:
            checked("weights", weights, str, Rule(choices=get_args(Weights)))
        if weights == "averaged" and state.ema is None:
            raise UserError(f"{self.path}: keeps no averaged weights. Set train.ema_half_life=10000 in a new run.")
        return weights or kept_weights(state)

    def generator(
        self, step: int | None = None, *, statistics: Statistics = "batch", weights: Weights | None = None
    ) -> Callable[[Any], np.ndarray]:
        """Return the generator of a checkpoint as a function: float32 [N, nz] -> float32 [N, H, W, C] in [−1, 1].

        With `statistics="batch"` batch norm uses the statistics of the latents passed together, as in training, so each image
        depends slightly on the others. With `"running"` it uses those kept in training. `weights` are those of `sampler`.
        If the run knows classes, latents are [N, nz + classes] (`latents.with_classes`).
        Raise UserError as `sampler` does, and if latents have another shape.
        """
        sampler = self.sampler(step, statistics=statistics, weights=weights)

        def generate(z: Any) -> np.ndarray:
            z = np.asarray(z)
            if z.ndim != 2 or z.shape[1] != sampler.width or not len(z) or z.dtype.kind not in "fiu":
                expected = f"numbers of shape [N, {sampler.width}], N at least 1"
                raise UserError(f"latents: expected {expected}, got {z.dtype} {list(z.shape)}.{sampler.hint}")
            return np.asarray(sampler.generate(z.astype(np.float32)))

        return generate

    def sample(
        self,
        num: int = 25,
        *,
        seed: int = 0,
        step: int | None = None,
        statistics: Statistics | None = None,
        weights: Weights | None = None,
        truncation: float | None = None,
        label: int | str | None = None,
    ) -> np.ndarray:
        """Return `num` images from latents drawn with `seed`, uint8 [num, H, W, C].

        With the run's own seed and `num` = sample.num, these are the latents of its sample grids. More than 500 images are drawn
        in groups of nearly equal size, each with its own batch statistics. `truncation` restricts the latents to
        [−truncation, truncation] (`latents.truncate`), and `weights` are those of `sampler`. If the run knows classes, all images
        are of the class `label`, a name or a number, by default of each class in turn.

        `statistics` are by default those of the batch. With a `label` they are the running ones: statistics of images of one
        class would remove what the class changes. Raise UserError as `sampler` does, and if there is no such class.
        """
        sampler = self.sampler(step, statistics=statistics or default_statistics(label), weights=weights)
        num = checked("num", num, int, Rule(at_least=1))
        labels = None if label is None else np.full(num, sampler.label_of(label))
        z = draw_run_latents(seed, count=num, nz=sampler.nz, classes=sampler.classes, labels=labels, truncation=truncation)
        return to_u8(sampler.draw(z))

    def show(self, num: int = 25, *, seed: int = 0, step: int | None = None) -> "Image.Image":
        """Return a grid of `num` samples as a Pillow image; a notebook displays it."""
        images_u8 = self.sample(num, seed=seed, step=step)
        return as_image(make_grid(images_u8 / np.float32(127.5) - 1.0, columns=self.config.sample.columns))


def load_run(path: Path | str) -> Run:
    """Load the run in a folder. Raise UserError if it is not a run's folder."""
    return Run(path)
