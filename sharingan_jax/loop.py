"""The training loop: dispatch, write what came back, save, draw; all effects of a run are here and in what it calls."""

import contextlib
import math
import time
from dataclasses import dataclass
from typing import Any, TextIO

import jax
import numpy as np
from jax import Array

from sharingan_jax import outputs
from sharingan_jax.atomic import make_folder, write_json
from sharingan_jax.checkpoint import Checkpoints
from sharingan_jax.config import Config, to_dict
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.pictures import Pictures
from sharingan_jax.data.pipeline import chunks
from sharingan_jax.environment import describe_environment
from sharingan_jax.errors import UserError
from sharingan_jax.parallel import Programs, check_groups, compile_programs, make_mesh, replicated
from sharingan_jax.progress import Progress
from sharingan_jax.resume import last_state
from sharingan_jax.rundir import (
    RunDir,
    append_metrics,
    check_same_run,
    config_fingerprint,
    cut_metrics,
    describe_pictures,
    held,
    read_json,
    write_config,
)
from sharingan_jax.schedule import Schedule, make_schedule
from sharingan_jax.state import System, TrainState, build_system, digest, first_non_finite
from sharingan_jax.stopping import StopRequest
from sharingan_jax.streams import fixed_latents
from sharingan_jax.tensorboard import EventWriter

GEN_METRICS = ("loss_g", "d_fake_after", "grad_norm_g")
ADVICE = "lower optim.disc.lr and optim.gen.lr, optim.disc.clip_norm=5 or model.disc_spectral_norm=True may keep it finite"


@dataclass(frozen=True)
class Outcome:
    """How a start ended: the state it reached, its digest, and 0 or 128 + the signal that stopped it."""

    state: TrainState
    digest: str
    exit_code: int


@dataclass(frozen=True)
class Prepared:
    """All of a run that is settled before its first step and that a dry run can show."""

    config: Config
    pictures: Pictures
    run: RunDir
    system: System
    programs: Programs
    schedule: Schedule

    @property
    def plan(self) -> BatchPlan:
        return self.schedule.plan


def prepare(config: Config, pictures: Pictures, run: RunDir) -> Prepared:
    """Checks all that can be checked before anything is written; raises UserError."""
    plan = BatchPlan(pictures.count, batch_size=config.train.batch_size, seed=config.seed, last_batch=config.data.last_batch)
    batch_sizes = {plan.size_of(1), plan.size_of(plan.batches_per_epoch)}
    check_groups(config.model.batch_norm_groups, batch_sizes=batch_sizes)
    mesh = make_mesh(config.train.devices, batch_sizes=batch_sizes)
    check_same_run(run, config, pictures)
    system = build_system(config)
    programs = compile_programs(system, mesh, precision=config.train.precision)
    return Prepared(config, pictures, run, system, programs, make_schedule(config, plan))


def train(ready: Prepared, *, stream: TextIO) -> Outcome:
    """Trains from the last checkpoint, or from step 0, to the schedule's end or until asked to stop.

    Raises UserError on a loss that is not finite, with the step and the figure; the checkpoints before it stay.
    """
    run, config = ready.run, ready.config
    began = time.monotonic()
    make_folder(run.checkpoints)
    with held(run), StopRequest() as stop:
        with Checkpoints(run.checkpoints, keep=config.checkpoint.keep) as checkpoints:
            state = _first_state(ready, checkpoints, stream=stream)
            first_step = int(state.step) + 1
            cut_metrics(run, last_step=first_step - 1)
            _describe(ready, first_step=first_step)
            try:
                state = _train_from(ready, state, checkpoints=checkpoints, stop=stop, stream=stream)
            except (UserError, OSError):
                with contextlib.suppress(OSError):  # A full disk is what may have ended it.
                    write_json(run.manifest, {**read_json(run.manifest), "status": "failed"})
                raise
        return _finish(ready, state, began=began, stop=stop, stream=stream)


def _train_from(ready: Prepared, state: TrainState, *, checkpoints: Checkpoints, stop: StopRequest, stream: TextIO) -> TrainState:
    first_step = int(state.step) + 1
    with _open_events(ready, resume_step=first_step) as events, _open_progress(ready, first_step, stream) as progress:
        if first_step > 1:
            progress.say(f"continuing {ready.run.root} after step {first_step - 1}")
        recorder = Recorder(ready, events=events, progress=progress)
        try:
            return _train_steps(ready, state, recorder=recorder, checkpoints=checkpoints, stop=stop)
        finally:
            checkpoints.wait()


def _first_state(ready: Prepared, checkpoints: Checkpoints, *, stream: TextIO) -> TrainState:
    if checkpoints.steps:
        check_not_past(ready, checkpoints.steps[-1])
    beginning = ready.programs.init(ready.config.seed)
    reached = last_state(
        ready.run,
        checkpoints,
        like=beginning,
        sharding=replicated(ready.programs.mesh),
        facts=_identity_facts(ready),
        say=lambda message: print(message, file=stream, flush=True),
    )
    return beginning if reached is None else reached


def check_not_past(ready: Prepared, last_step: int) -> None:
    """Raises UserError where the run has a checkpoint beyond the steps that are asked for."""
    if last_step > ready.schedule.total_steps:
        raise UserError(
            f"--workdir={ready.run.root} is at step {last_step}, past train.steps={ready.schedule.total_steps};"
            f" ask for more than {last_step}, or use another --workdir"
        )


def _identity_facts(ready: Prepared) -> dict[str, str]:
    return {"config": config_fingerprint(ready.config), "data": ready.pictures.fingerprint}


def _train_steps(
    ready: Prepared, state: TrainState, *, recorder: "Recorder", checkpoints: Checkpoints, stop: StopRequest
) -> TrainState:
    schedule, first_step = ready.schedule, int(state.step) + 1
    z = np.asarray(fixed_latents(state.key, count=ready.config.sample.num, nz=ready.config.model.nz))
    batches = chunks(ready.pictures.images, ready.plan, schedule.chunks(first_step))
    for (first, length), real_u8 in zip(schedule.chunks(first_step), batches, strict=True):
        state, metrics = ready.programs.chunk(state, real_u8)
        last = first + length - 1
        stopping = stop.signal is not None  # Asked once: a signal that came after the flush would save what has no records.
        writing = schedule.samples_at(last) or schedule.saves_at(last) or stopping
        try:
            recorder.take(first, metrics)
            if writing:
                recorder.flush()  # What a checkpoint stands on is finite and on disk before it.
        except NonFiniteError as error:
            name = first_non_finite(state)
            raise UserError(f"{error}; the first tensor that is not finite after step {last}: {name or 'none'}") from error
        if writing:
            _check_finite(state, last)
        if schedule.samples_at(last):
            recorder.sample(last, ready.programs.sample(state.gen, z))
        if schedule.saves_at(last) or stopping:
            checkpoints.save(state, _identity_facts(ready))
        if stopping:
            break
    return state


def _check_finite(state: TrainState, step: int) -> None:
    """Raises UserError where an array is not: the losses of a step are of the weights before it, and tell one step later."""
    name = first_non_finite(state)
    if name:
        raise UserError(
            f"step {step}: {name} is not finite after it, so the run has stopped; {ADVICE}; the checkpoints before it are whole"
        )


class NonFiniteError(UserError):
    """A figure of a step is a NaN or an infinity."""


class Recorder:
    """Turns metrics into lines, events and progress, one dispatch late, so that the device never waits for the host."""

    def __init__(self, ready: Prepared, *, events: EventWriter | None, progress: Progress) -> None:
        self._ready = ready
        self._events = events
        self._progress = progress
        self._pending: tuple[int, dict[str, Array]] | None = None
        self._start = time.monotonic()
        self._written_at = 0.0

    def take(self, first_step: int, metrics: dict[str, Array]) -> None:
        """Notes the metrics [K] of the steps from `first_step` and writes those noted before."""
        self.flush()
        self._pending = (first_step, metrics)

    def flush(self) -> None:
        """Writes what is noted; raises NonFiniteError where a figure is not finite, after writing the steps before it."""
        if self._pending is None:
            return
        first_step, metrics = self._pending
        self._pending = None
        columns = {name: np.asarray(values).tolist() for name, values in jax.device_get(metrics).items()}
        now = time.monotonic() - self._start
        length = len(columns["loss_d"])
        records, failure = [], None
        for i in range(length):
            # A dispatch tells when it ended, not when each of its steps did: its time is shared out evenly.
            seconds = self._written_at + (now - self._written_at) * (i + 1) / length
            record = self._record(first_step + i, seconds, {name: values[i] for name, values in columns.items()})
            failure = _first_non_finite(record)
            if failure:
                break
            records.append(record)
        self._written_at = now
        self._write(records)
        if failure:
            raise NonFiniteError(self._failure_message(first_step + len(records), *failure))

    def sample(self, step: int, fake: Array) -> None:
        """Draws the grid of a step; raises UserError where its pictures are not finite."""
        images = np.asarray(fake)
        if not np.isfinite(images).all():
            raise UserError(f"step {step}: G's pictures are not finite after it, so the run has stopped; {ADVICE}")
        grid = outputs.save_sample(self._ready.run, step, images)
        if self._events:
            self._events.image("samples", grid, step)

    def _record(self, step: int, seconds: float, values: dict[str, float]) -> dict[str, Any]:
        taken = step % self._ready.config.train.n_critic == 0
        shown = {name: None if name in GEN_METRICS and not taken else value for name, value in values.items()}
        return {"step": step, "epoch": self._ready.plan.epoch_of(step), "time": round(seconds, 4), **shown}

    def _write(self, records: list[dict[str, Any]]) -> None:
        append_metrics(self._ready.run, records)
        if self._events:
            self._events.scalars(records)
        for record in records:
            self._progress.update(record)

    def _failure_message(self, step: int, name: str, value: float) -> str:
        return (
            f"step {step}: {name} is {value}, so the run has stopped; what was saved before it is whole,"
            f" in {self._ready.run.checkpoints}; {ADVICE}"
        )


def _first_non_finite(record: dict[str, Any]) -> tuple[str, float] | None:
    for name, value in record.items():
        if isinstance(value, float) and not math.isfinite(value):
            return name, value
    return None


def _open_events(ready: Prepared, *, resume_step: int) -> contextlib.AbstractContextManager[EventWriter | None]:
    if not ready.config.log.tensorboard:
        return contextlib.nullcontext()
    return EventWriter(ready.run.events, resume_step=resume_step)


def _open_progress(ready: Prepared, first_step: int, stream: TextIO) -> Progress:
    return Progress(
        total_steps=ready.schedule.total_steps,
        first_step=first_step,
        batches_per_epoch=ready.plan.batches_per_epoch,
        every=ready.config.log.every,
        stream=stream,
    )


def _describe(ready: Prepared, *, first_step: int) -> None:
    """Writes what the run is before its first step, so that a run that dies has said what it was."""
    write_config(ready.run, ready.config)
    before = read_json(ready.run.manifest) if ready.run.manifest.is_file() else {}
    kept = {"wall_seconds": before.get("wall_seconds", 0.0)}
    if before.get("imported"):
        kept["imported"] = before["imported"]
    write_json(ready.run.manifest, {**_facts(ready), **kept, "status": "running", "started_at_step": first_step - 1})


def _facts(ready: Prepared) -> dict[str, Any]:
    devices = ready.programs.mesh.devices.flatten().tolist()
    return {
        "seed": ready.config.seed,
        "total_steps": ready.schedule.total_steps,
        "config": to_dict(ready.config),
        "config_fingerprint": config_fingerprint(ready.config),
        "data": describe_pictures(ready.config, ready.pictures),
        "device": {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)},
        "convolution": ready.system.form,
        **describe_environment(),
    }


def _finish(ready: Prepared, state: TrainState, *, began: float, stop: StopRequest, stream: TextIO) -> Outcome:
    final = digest(state)
    step = int(state.step)
    status = "complete" if step == ready.schedule.total_steps else "stopped"
    manifest = read_json(ready.run.manifest)
    ending = {
        "status": status,
        "step": step,
        "digest": final,
        "images_seen": ready.plan.images_seen(step),
        "wall_seconds": round(manifest["wall_seconds"] + time.monotonic() - began, 1),  # of all starts that ended of themselves
    }
    write_json(ready.run.manifest, {**manifest, **ending})
    outputs.save_summaries(ready.run, ready.pictures.images, _final_fakes(ready, state), step=step)
    print(f"step {step} of {ready.schedule.total_steps}, digest {final}", file=stream)
    return Outcome(state, final, 0 if status == "complete" else stop.exit_code)


def _final_fakes(ready: Prepared, state: TrainState) -> np.ndarray:
    z = np.asarray(fixed_latents(state.key, count=ready.config.sample.num, nz=ready.config.model.nz))
    return np.asarray(ready.programs.sample(state.gen, z))
