"""Write what the device returns, one chunk late: records, TensorBoard events, progress, sample grids, checkpoints."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from sharingan_jax.config.schema import to_dict
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.measures.collapse import MOST_REAL, SIGN_NAMES, CollapseWatch, SignReference, best_step
from sharingan_jax.files import write_atomically
from sharingan_jax.gan.ema import Weights, generator_of
from sharingan_jax.gan.losses import LOSSES
from sharingan_jax.gan.metrics import GEN_METRICS
from sharingan_jax.gan.state import TrainState, digest, first_non_finite
from sharingan_jax.model.rng import fixed_latents
from sharingan_jax.reporting.grids import enlarge_grid, make_grid, save_png, save_training_gif, side_by_side, to_u8
from sharingan_jax.reporting.plots import loss_figure, real_vs_fake_figure
from sharingan_jax.reporting.progress import Progress
from sharingan_jax.reporting.tensorboard import EventWriter
from sharingan_jax.run.checkpoints import SharedCheckpoints
from sharingan_jax.run.continuation import records_in_order
from sharingan_jax.run.folder import write_config
from sharingan_jax.run.latents import with_classes
from sharingan_jax.run.manifest import (
    Environment,
    Manifest,
    Start,
    config_digest,
    describe_data,
    write_data_record,
    write_manifest,
)
from sharingan_jax.run.metrics import MetricsFile, Record, read_metrics, write_metrics
from sharingan_jax.training.setup import RunSetup

ADVICE = "in a new folder lower optim.disc.lr and optim.gen.lr, or set optim.disc.clip_norm=5 or model.disc.spectral_norm=True"


class NonFiniteError(UserError):
    """A metric, an array of the state or an image is a NaN or an infinity."""


@dataclass
class OpenRun:
    """A run while it trains: its setup, what it has open, and what changes: state (numpy arrays), manifest, failure.

    `manifest` is None until this start has written to the run's folder. Only the primary process writes.
    """

    setup: RunSetup
    check_folder: Callable[[], None]
    checkpoints: SharedCheckpoints
    state: TrainState
    manifest: Manifest | None = None
    metrics: MetricsFile | None = None
    events: EventWriter | None = None
    failure: UserError | None = None
    collapse: CollapseWatch = field(default_factory=CollapseWatch)
    signs: list[Record] = field(default_factory=list)

    @property
    def step(self) -> int:
        """The last step done."""
        return int(self.state.step)

    @property
    def is_complete(self) -> bool:
        """Whether the last step that was asked for is done."""
        return self.step == self.setup.schedule.total_steps

    @property
    def stops_on_collapse(self) -> bool:
        """Whether as many grids in a row have collapsed as `train.stop_on_collapse` says."""
        return 0 < self.setup.config.train.stop_on_collapse <= self.collapse.in_a_row

    @property
    def has_ended(self) -> bool:
        """Whether the run makes no more steps in this start, though others of its group may: it failed or collapsed."""
        return self.failure is not None or self.stops_on_collapse

    @cached_property
    def sign_reference(self) -> SignReference:
        """The real images that the signs of collapse are taken against."""
        dataset = self.setup.dataset
        few = len(dataset.names) <= MOST_REAL
        return SignReference(dataset.preview(MOST_REAL) if few else dataset.examples(MOST_REAL))

    def start(self, environment: Environment) -> str:
        """Write config, data and manifest before the next step, so that even a crashed run is documented.

        Records of steps that are about to be repeated are dropped. If a line after them is damaged, a copy of the file is kept
        in `damaged/`, and a sentence about it is returned; else "".
        """
        setup, folder, step = self.setup, self.setup.folder, self.step
        before, data = self.manifest or setup.existing.manifest, describe_data(setup.config, setup.dataset)
        manifest = Manifest(
            status="running",
            seed=setup.config.seed,
            step=step,
            total_steps=setup.schedule.total_steps,
            config=to_dict(setup.config),
            config_digest=config_digest(setup.config),
            data=data.summary,
            starts=before.starts if before else (),
            origin=before.origin if before else None,
            branches=before.branches if before else (),
            wall_seconds=before.wall_seconds if before else 0.0,
        )
        if step < setup.schedule.total_steps:  # A start without a step decides no number.
            manifest = manifest.with_start(Start(step, environment, asdict(setup.config.sample)))

        def write() -> bytes:
            records, problem = records_in_order(setup.existing)
            records = records[: step + 1 - setup.existing.first_step]
            copy = folder.damaged / folder.metrics.name
            if problem:
                write_atomically(copy, lambda file: file.write(folder.metrics.read_bytes()))
            write_metrics(folder, records)
            write_config(folder, setup.config)
            write_data_record(folder.data, data)
            write_manifest(folder.manifest, manifest)
            note = f"{problem}; the file as it was is now {copy}" if problem else ""
            return json.dumps([note, _with_signs(records)]).encode()

        note, signs = json.loads(setup.processes.on_primary(write))
        self.collapse, self.signs = CollapseWatch(), []
        self.take_signs(signs)  # In all processes, since they must stop at the same step.
        self.manifest = manifest  # Not before: a start that is refused has written nothing.
        return str(note)

    def finish(self, *, seconds: float) -> None:
        """Write the manifest and the plots of a run that is complete or stopped.

        `seconds` that this start took are added to those of the starts before.
        """
        assert self.manifest is not None
        setup = self.setup
        setup.processes.on_primary(self.check_folder)
        images, raw = self.sample(), self.sample("raw") if self.state.ema is not None else None
        ended = replace(
            self.manifest,
            status="complete" if self.is_complete else "collapsed" if self.stops_on_collapse else "stopped",
            step=self.step,
            digest=digest(self.state),
            images_seen=self.manifest.images_seen_after(self.step, setup.plan),
            wall_seconds=round(self.manifest.wall_seconds + seconds, 1),
        )

        def write() -> None:
            write_manifest(setup.folder.manifest, ended)
            save_summaries(setup, images, raw, step=self.step)

        setup.processes.on_primary(write)
        self.manifest = ended

    def fail(self, failure: UserError | None = None) -> None:
        """Mark the run as failed in its manifest. `failure` ends this run alone; None if the error ends all of them.

        Raise UserError if the folder is gone: the user must hear this first.
        """
        self.failure = self.failure or failure
        self.check_folder()
        if self.manifest is not None and self.setup.processes.is_primary:
            with contextlib.suppress(OSError):  # A full disk may be what has ended it.
                write_manifest(self.setup.folder.manifest, replace(self.manifest, status="failed"))

    def sample(self, weights: Weights | None = None) -> np.ndarray:
        """Return images of the run's fixed latents, float32 [N, H, W, C] in [−1, 1], by default with averaged weights if kept.

        Raise NonFiniteError.
        """
        images = draw_sample(self.setup, self.state, num=self.setup.config.sample.num, weights=weights)
        if not np.isfinite(images).all():
            raise NonFiniteError(f"step {self.step}: G's images are not finite after it, so the run has stopped; {ADVICE}")
        return images

    def take_signs(self, records: Sequence[Record]) -> None:
        """Take the signs of collapse of more records."""
        self.collapse.feed(records)
        self.signs += _with_signs(records)

    def draw(self, state: TrainState) -> np.ndarray | None:
        """Take over the state after a chunk, and return the images of its sample grid as `sample` does, None if none is due.

        Raise NonFiniteError if an array is not finite. A step's losses come from the weights before it, so they show a bad
        update only one step later.
        """
        self.state = state
        name = first_non_finite(state)
        if name:
            raise NonFiniteError(
                f"step {self.step}: {name} is not finite after it, so the run has stopped; {ADVICE}; the checkpoints before"
                " it are whole"
            )
        return self.sample() if self.setup.schedule.samples_at(self.step) else None

    def _describe_again(self) -> None:
        folder, setup = self.setup.folder, self.setup
        if not folder.manifest.is_file():
            return  # The whole folder is gone, which ends the run.
        if not folder.config.is_file():
            write_config(folder, setup.config)
        if not folder.data.is_file():
            write_data_record(folder.data, describe_data(setup.config, setup.dataset))

    def write(self, images: np.ndarray | None, *, stopping: bool) -> None:
        """Write the grid of `images`, if there is one, and the checkpoint, if due. The metrics up to it are on disk already.

        A description of the run that somebody has removed is written again.
        """
        self.setup.processes.on_primary(self._describe_again)
        if images is not None:
            self.setup.processes.on_primary(lambda: save_sample(self.setup, self.step, images, self.events))
        if self.setup.schedule.saves_at(self.step) or stopping or self.stops_on_collapse:
            by = self.setup.config.checkpoint.best
            self.checkpoints.save(self.state, choose_best=lambda steps: best_step(self.signs, steps, by=by))


def _with_signs(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.get(SIGN_NAMES[0]) is not None]


class Recorder:
    """Writes the metrics of runs that train together, one chunk late, so that the device never waits for the host.

    `to_host` turns what `run_steps` returned into each run's metrics, name -> [K].
    """

    def __init__(
        self, runs: Sequence[OpenRun], progress: Progress, *, to_host: Callable[[Any], list[dict[str, np.ndarray]]]
    ) -> None:
        self._runs = runs
        self._progress = progress
        self._to_host = to_host
        self._queued: tuple[int, Any] | None = None
        self._held: dict[int, Record] = {}  # The record of a grid's step, until the grid gives its signs of collapse.
        self._start = time.monotonic()
        self._written_at = 0.0
        self.failed: dict[int, NonFiniteError] = {}
        """Errors of runs with non-finite metrics, by index, until `write` ends them."""

    def queue(self, first_step: int, metrics: Any) -> None:
        """Queue the metrics of the chunk that starts at `first_step`, and write the previous chunk: see `flush`."""
        self.flush()
        self._queued = (first_step, metrics)

    def flush(self) -> None:
        """Write the queued chunk. If a run has a non-finite value, write the steps before it and set `failed`."""
        if self._queued is None:
            return
        (first_step, metrics), self._queued = self._queued, None
        of_runs = self._to_host(metrics)
        now = time.monotonic() - self._start
        shown: list[list[Record]] = []
        for index, (run, columns) in enumerate(zip(self._runs, of_runs, strict=True)):
            if run.has_ended or index in self.failed:
                continue
            records, failure = self._records(run, first_step, columns, now=now)
            written = list(records)
            if written and failure is None and run.setup.schedule.signs_at(written[-1]["step"]):
                self._held[index] = written.pop()
            self._append(run, written)
            if failure is not None:
                self.failed[index] = failure
            if failure is None or len(self._runs) == 1:
                shown.append(records)
        self._written_at = now
        for of_step in zip(*shown, strict=True):
            self._progress.update(*of_step)

    def close(self) -> None:
        """Write the records again that were deleted since the last chunk."""
        for run in self._runs:
            if run.failure is None:
                self._append(run, [])

    def _append(self, run: OpenRun, records: Sequence[Record]) -> None:
        if not run.setup.processes.is_primary:
            return
        run.check_folder()
        if run.metrics and run.metrics.append(records):
            self._progress.say(f"{run.setup.folder.metrics} was deleted; it has been written again")
        if run.events and records:
            run.events.scalars(records)

    def write(self, states: Sequence[TrainState], *, stopping: bool) -> None:
        """Write what is due after the step of the runs' states, and say where.

        A run with a value that is not finite, here or in its metrics, gets a `failure` and writes nothing more. A run whose grids
        have collapsed stops if it was asked to.
        """
        for index, (run, state) in enumerate(zip(self._runs, states, strict=True)):
            if run.has_ended:
                continue
            held = self._held.pop(index, None)
            try:
                if index in self.failed:
                    error, name = self.failed.pop(index), first_non_finite(state) or "none"
                    raise NonFiniteError(f"{error}; the first tensor that is not finite after step {int(state.step)}: {name}")
                images = run.draw(state)
            except NonFiniteError as failure:
                self._append(run, [held] if held else [])
                run.checkpoints.wait_here()
                run.fail(failure)
                if len(self._runs) > 1:
                    self._progress.say(f"{run.setup.folder.root}: {failure}")
                continue
            if held is not None and images is not None:
                held |= run.sign_reference.signs(to_u8(images))
                run.take_signs([held])
                self._append(run, [held])
            run.write(images, stopping=stopping)
            if images is not None and self._progress.verb == "training":
                self._progress.say(f"step {run.step}: {run.setup.folder.sample(run.step)}")
            if run.stops_on_collapse:
                grids = run.setup.config.train.stop_on_collapse
                last = f"the last {grids} grids have" if grids > 1 else "the last grid has"
                said = f"{last} lost variety or likeness, so the run stops (train.stop_on_collapse)"
                self._progress.say(f"{run.setup.folder.root}: step {run.step}: {said}")

    def _records(
        self, run: OpenRun, first_step: int, columns: Mapping[str, np.ndarray], *, now: float
    ) -> tuple[list[Record], NonFiniteError | None]:
        plan, n_critic = run.setup.plan, run.setup.config.train.n_critic
        lists = {name: values.tolist() for name, values in columns.items()}
        length = len(next(iter(lists.values())))
        records: list[Record] = []
        for i in range(length):
            step = first_step + i
            # Only a chunk's end is timed, so its time is divided evenly.
            seconds = self._written_at + (now - self._written_at) * (i + 1) / length
            taken = step % n_critic == 0
            values = {name: None if name in GEN_METRICS and not taken else column[i] for name, column in lists.items()}
            for name, value in values.items():
                if value is not None and not math.isfinite(value):
                    return records, NonFiniteError(
                        f"step {step}: {name} is {value}, so the run has stopped; what was saved before it is whole,"
                        f" in {run.setup.folder.checkpoints}; {ADVICE}"
                    )
            records.append({"step": step, "epoch": plan.epoch_of(step), "time": round(seconds, 4), **values})
        return records, None


def draw_sample(setup: RunSetup, state: TrainState, *, num: int, weights: Weights | None = None) -> np.ndarray:
    """Return `num` images of the run's fixed latents, float32 [num, H, W, C] in [−1, 1].

    By default they are drawn with averaged weights, if the run keeps them.
    """
    model = setup.config.model
    z = with_classes(np.asarray(fixed_latents(state.key, count=num, nz=model.nz)), classes=model.classes)
    return np.asarray(setup.trainer.sample(generator_of(state, weights=weights), z))


def save_sample(
    setup: RunSetup, step: int, images: np.ndarray, events: EventWriter | None = None, *, columns: int | None = None
) -> None:
    """Write the grid of images [N, H, W, C] in [−1, 1] as that step's sample, and as an event.

    By default it has the run's columns.
    """
    grid = make_grid(images, columns=columns or setup.config.sample.columns)
    save_png(setup.folder.sample(step), grid)
    if events:
        events.image("samples", grid, step)


def save_summaries(setup: RunSetup, images: np.ndarray, raw: np.ndarray | None, *, step: int) -> None:
    """Write `losses.png`, `real_vs_fake.png` and `training.gif` as of `step`; images [N, H, W, C] in [−1, 1].

    If the run keeps averaged weights, which `images` are drawn with, `raw` are those of the others, for `raw_vs_averaged.png`.
    """
    folder, columns = setup.folder, setup.config.sample.columns
    records = read_metrics(folder)
    if records:
        title = f"{folder.root.absolute().parent.name}/{folder.root.name}"
        loss_figure(folder.root / "losses.png", records, loss=LOSSES[setup.config.loss.name], title=title)
    real_u8 = setup.dataset.examples(len(images))
    real_vs_fake_figure(folder.root / "real_vs_fake.png", real_u8, images, columns=columns)
    if raw is not None:
        pair = {"raw weights": raw, "averaged weights": images}
        grids_of = {name: enlarge_grid(make_grid(each, columns=columns, pad_value=1.0)) for name, each in pair.items()}
        save_png(folder.root / "raw_vs_averaged.png", side_by_side(grids_of))
    grids = folder.sample_files(step)
    if grids:
        save_training_gif(folder.root / "training.gif", grids)
