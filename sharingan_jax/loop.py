"""The training loop: dispatch, write what came back, save, draw; all effects of a run are here and in what it calls."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TextIO

import jax
import numpy as np

from sharingan_jax import outputs
from sharingan_jax.comparison import differing_conditions, differing_pictures, differing_settings
from sharingan_jax.config import Config, to_dict
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.pictures import Pictures
from sharingan_jax.data.pipeline import chunks
from sharingan_jax.environment import describe_environment
from sharingan_jax.errors import UserError
from sharingan_jax.manifest import begin_manifest, devices_begun_on, end_manifest, fail_manifest
from sharingan_jax.parallel import Programs, check_groups, compile_programs, make_mesh
from sharingan_jax.processes import ALONE, Processes
from sharingan_jax.progress import Progress
from sharingan_jax.recorder import ADVICE, NonFiniteError, Recorder
from sharingan_jax.rundir import RunDir, check_same_run, config_fingerprint, cut_metrics, describe_pictures, held, write_config
from sharingan_jax.saving import Saving
from sharingan_jax.schedule import Schedule, make_schedule
from sharingan_jax.state import System, TrainState, build_system, digest, first_non_finite
from sharingan_jax.stopping import StopRequest
from sharingan_jax.streams import fixed_latents
from sharingan_jax.tensorboard import EventWriter


@dataclass(frozen=True)
class Outcome:
    """How a start ended: the state it reached, its digest, and 0 or 128 + the signal that stopped it."""

    state: TrainState
    digest: str
    exit_code: int


@dataclass(frozen=True)
class Prepared:
    """All of a run that is settled before its first step and that a dry run can show; `begun_on` is the devices of its first."""

    config: Config
    pictures: Pictures
    run: RunDir
    system: System
    programs: Programs
    schedule: Schedule
    processes: Processes
    begun_on: int

    @property
    def plan(self) -> BatchPlan:
        return self.schedule.plan


def prepare(config: Config, pictures: Pictures, run: RunDir, *, processes: Processes = ALONE) -> Prepared:
    """Checks all that can be checked before anything is written; raises UserError."""
    plan = BatchPlan(pictures.count, batch_size=config.train.batch_size, seed=config.seed, last_batch=config.data.last_batch)
    batch_sizes = {plan.size_of(1), plan.size_of(plan.batches_per_epoch)}
    check_groups(config.model.batch_norm_groups, batch_sizes=batch_sizes)
    begun_on = int(processes.bytes_of_first(lambda: str(_check_and_read(run, config, pictures)).encode()))
    mesh = make_mesh(config.train.devices, batch_sizes=batch_sizes, begun_on=begun_on)
    config = replace(config, train=replace(config.train, devices=mesh.size))  # So that its manifest alone makes the same bits.
    system = build_system(config)
    programs = compile_programs(system, mesh, precision=config.train.precision)
    ready = Prepared(config, pictures, run, system, programs, make_schedule(config, plan), processes, begun_on or mesh.size)
    processes.check_alike(lambda: _facts(ready), _differing)
    return ready


def _check_and_read(run: RunDir, config: Config, pictures: Pictures) -> int:
    """Raises UserError where `run` is of other settings or pictures; the number of devices it began on, 0 where it has not."""
    check_same_run(run, config, pictures)
    return devices_begun_on(run)


def _differing(first: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What of two processes' facts keeps them from being one run: all but where each has its pictures, and its machine."""
    settings = [line for line in differing_settings(first, here) if not line.startswith(("data.path:", "data.data_dir:"))]
    conditions = [line for line in differing_conditions(first, here) if not line.startswith(("platform:", "processor.", "git."))]
    return settings + differing_pictures(first, here) + conditions


def train(ready: Prepared, *, stream: TextIO) -> Outcome:
    """Trains from the last checkpoint, or from step 0, to the schedule's end or until asked to stop.

    In a run of several processes each calls it; the first alone reads and writes the run's folder and prints to `stream`.
    Raises UserError on a loss that is not finite, with the step and the figure; the checkpoints before it stay.
    """
    began = time.monotonic()
    run, config, processes = ready.run, ready.config, ready.processes
    with contextlib.ExitStack() as stack:
        check_folder = _hold(ready, stack)
        stop = stack.enter_context(StopRequest())
        with Saving(run, processes, keep=config.checkpoint.keep, facts=_identity_facts(ready)) as saving:
            state = _first_state(ready, saving, stream=stream)
            processes.first_does(lambda: _describe(ready, after_step=int(state.step)))
            try:
                state = _train_from(ready, state, saving=saving, check_folder=check_folder, stop=stop, stream=stream)
            except (UserError, OSError):
                check_folder()  # Where it is gone, that is what the user has to know, whatever it led to.
                if processes.is_first:
                    fail_manifest(run)
                raise
        processes.first_does(check_folder)
        return _finish(ready, state, began=began, stop=stop, stream=stream)


def _hold(ready: Prepared, stack: contextlib.ExitStack) -> Callable[[], None]:
    """Holds the run's folder until `stack` ends, in the first process; returns the check that it is still there."""
    checks: list[Callable[[], None]] = []
    ready.processes.first_does(lambda: checks.append(stack.enter_context(held(ready.run))))
    return checks[0] if checks else lambda: None


def _train_from(
    ready: Prepared,
    state: TrainState,
    *,
    saving: Saving,
    check_folder: Callable[[], None],
    stop: StopRequest,
    stream: TextIO,
) -> TrainState:
    first_step = int(state.step) + 1
    with _open_events(ready, resume_step=first_step) as events, _open_progress(ready, first_step, stream) as progress:
        if first_step > 1:
            progress.say(f"continuing {ready.run.root} after step {first_step - 1}{_other_devices(ready)}")
        recorder = Recorder(
            ready.run,
            ready.plan,
            n_critic=ready.config.train.n_critic,
            writes=ready.processes.is_first,
            check_folder=check_folder,
            events=events,
            progress=progress,
        )
        try:
            state = _train_steps(ready, state, recorder=recorder, saving=saving, stop=stop)
        except BaseException:
            saving.wait_here()
            raise
        saving.wait()
    return state


def _other_devices(ready: Prepared) -> str:
    now, then = ready.programs.mesh.size, ready.begun_on
    return "" if now == then else f"; it began on {then} devices and goes on with {now}, which rounds otherwise"


def _first_state(ready: Prepared, saving: Saving, *, stream: TextIO) -> TrainState:
    beginning = ready.programs.init(ready.config.seed)
    reached = saving.last_state(
        like=beginning,
        check=lambda step: check_not_past(ready, step),
        say=lambda message: print(message, file=stream, flush=True),
    )
    return beginning if reached is None else ready.programs.place(reached)


def check_not_past(ready: Prepared, last_step: int) -> None:
    """Raises UserError where the run has a checkpoint beyond the steps that are asked for."""
    if last_step > ready.schedule.total_steps:
        raise UserError(
            f"--workdir={ready.run.root} is at step {last_step}, past train.steps={ready.schedule.total_steps};"
            f" ask for more than {last_step}, or use another --workdir"
        )


def _identity_facts(ready: Prepared) -> dict[str, str]:
    return {"config": config_fingerprint(ready.config), "data": ready.pictures.fingerprint}


def _train_steps(ready: Prepared, state: TrainState, *, recorder: Recorder, saving: Saving, stop: StopRequest) -> TrainState:
    schedule, programs, processes, first_step = ready.schedule, ready.programs, ready.processes, int(state.step) + 1
    lengths = schedule.chunks(first_step)
    batches = chunks(ready.pictures.images, ready.plan, schedule.chunks(first_step), part=processes.index, parts=processes.count)
    for (first, length), real_u8 in zip(lengths, batches, strict=True):
        # Asked before the dispatch and read after it, when the one before is done: nothing waits, and all processes stop at
        # the same step, whichever of them the signal came to.
        signals = programs.largest(stop.signal or 0)
        state, metrics = programs.chunk(state, real_u8)
        last = first + length - 1
        try:
            recorder.take(first, metrics)
            stop.agreed = int(signals)
            writing = schedule.samples_at(last) or schedule.saves_at(last) or stop.agreed != 0
            if writing:
                recorder.flush()  # What a checkpoint stands on is finite and on disk before it.
        except NonFiniteError as error:
            name = first_non_finite(state)
            raise UserError(f"{error}; the first tensor that is not finite after step {last}: {name or 'none'}") from error
        if writing:
            _check_finite(state, last)
        if schedule.samples_at(last):
            _sample(ready, state, last, recorder)
        if schedule.saves_at(last) or stop.agreed:
            saving.save(state)
        if stop.agreed:
            break
    return state


def _sample(ready: Prepared, state: TrainState, step: int, recorder: Recorder) -> None:
    images = _fakes(ready, state)
    if not np.isfinite(images).all():
        raise UserError(f"step {step}: G's pictures are not finite after it, so the run has stopped; {ADVICE}")
    ready.processes.first_does(lambda: recorder.sample(step, images))


def _fakes(ready: Prepared, state: TrainState) -> np.ndarray:
    """G's pictures of the run's fixed latents, float32 [N, H, W, C] in [−1, 1]."""
    z = np.asarray(fixed_latents(jax.device_get(state.key), count=ready.config.sample.num, nz=ready.config.model.nz))
    return np.asarray(ready.programs.sample(state.gen, z))


def _check_finite(state: TrainState, step: int) -> None:
    """Raises UserError where an array is not: the losses of a step are of the weights before it, and tell one step later."""
    name = first_non_finite(state)
    if name:
        raise UserError(
            f"step {step}: {name} is not finite after it, so the run has stopped; {ADVICE}; the checkpoints before it are whole"
        )


def _open_events(ready: Prepared, *, resume_step: int) -> contextlib.AbstractContextManager[EventWriter | None]:
    if not ready.config.log.tensorboard or not ready.processes.is_first:
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


def _describe(ready: Prepared, *, after_step: int) -> None:
    """Writes what the run is before its next step, so that a run that dies has said what it was."""
    cut_metrics(ready.run, last_step=after_step)
    write_config(ready.run, ready.config)
    begin_manifest(ready.run, _facts(ready), after_step=after_step)


def _facts(ready: Prepared) -> dict[str, Any]:
    mesh = ready.programs.mesh
    device = mesh.devices.flat[0]
    return {
        "seed": ready.config.seed,
        "total_steps": ready.schedule.total_steps,
        "config": to_dict(ready.config),
        "config_fingerprint": config_fingerprint(ready.config),
        "data": describe_pictures(ready.config, ready.pictures),
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": mesh.size,
            "processes": ready.processes.count,
        },
        "convolution": ready.system.form,
        **describe_environment(),
    }


def _finish(ready: Prepared, state: TrainState, *, began: float, stop: StopRequest, stream: TextIO) -> Outcome:
    final, step, fakes = digest(state), int(state.step), _fakes(ready, state)
    status = "complete" if step == ready.schedule.total_steps else "stopped"

    def write() -> None:
        seconds, seen = time.monotonic() - began, ready.plan.images_seen(step)
        end_manifest(ready.run, status=status, step=step, digest=final, images_seen=seen, seconds=seconds)
        outputs.save_summaries(ready.run, ready.pictures.images, fakes, step=step)
        print(f"step {step} of {ready.schedule.total_steps}, digest {final}", file=stream)

    ready.processes.first_does(write)
    return Outcome(state, final, 0 if status == "complete" else stop.exit_code)
