"""The training loop: run a chunk of steps, write what came back, save, draw. It trains one run, or several of stacked seeds."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TextIO

import jax
import numpy as np

from sharingan_jax.data import pipeline
from sharingan_jax.devices.memory import trim_malloc
from sharingan_jax.devices.trainer import Trainer
from sharingan_jax.errors import UserError
from sharingan_jax.reporting.progress import Progress
from sharingan_jax.reporting.tensorboard import EventWriter
from sharingan_jax.run.checkpoints import SharedCheckpoints
from sharingan_jax.run.continuation import check_recorded, check_unchanged, checkpoint_metadata
from sharingan_jax.run.lock import lock_folder
from sharingan_jax.run.metrics import MetricsFile
from sharingan_jax.training.recorder import OpenRun, Recorder
from sharingan_jax.training.setup import RunSetup, environment_of, make_trainer
from sharingan_jax.training.signals import StopRequest


def train_runs(
    runs: Sequence[OpenRun],
    trainer: Trainer,
    *,
    until: int,
    stop: StopRequest,
    stream: TextIO,
    verb: str,
    watch: Callable[[int], object] = lambda step: None,
) -> None:
    """Train runs that are at the same step up to step `until`, or until a signal asks to stop.

    Each run's `state` is then the state it has reached. A run that produces a value that is not finite gets a `failure`; the
    others continue. Any other error, such as a full disk, ends all of them: they are marked as failed, and it is raised.
    """
    setup, first_step = runs[0].setup, runs[0].step + 1
    schedule, plan = setup.schedule, setup.plan
    stack = ExitStack()
    try:
        notes = []
        for run in runs:
            notes.append(run.start(environment_of(run.setup, trainer)))
            if setup.processes.is_primary:
                run.metrics = stack.enter_context(MetricsFile(run.setup.folder))
            if setup.config.log.tensorboard and setup.processes.is_primary:
                run.events = stack.enter_context(EventWriter(run.setup.folder.events, resume_step=first_step))
        progress = stack.enter_context(
            Progress(
                total_steps=schedule.total_steps,
                first_step=first_step,
                batches_per_epoch=plan.batches_per_epoch,
                every=setup.config.log.every,
                stream=stream,
                verb=verb,
                watch=watch,
            )
        )
        for note in filter(None, notes):
            progress.say(note)
        for run in runs:
            if 1 < first_step <= until and verb == "training":
                progress.say(f"continuing {run.setup.folder.root} after step {first_step - 1}{_other_devices(run, trainer)}")
        # The first chunk compiles in a thread, while images are read, and TensorFlow is imported if it feeds them.
        for step, length in islice(schedule.chunks(first_step, until=until), 1):
            shape = setup.dataset.image_shape
            trainer.precompile(runs[0].state, steps=length, batch_size=plan.size_of(step), image_shape=shape)
        recorder = Recorder(runs, progress, to_host=trainer.metrics_to_host)
        by_index = trainer.dataset is not None
        batches = zip(*(_batches(run.setup, first_step, until=until, by_index=by_index) for run in runs), strict=True)
        labels = _labels([run.setup for run in runs], first_step, until=until)
        state = trainer.to_device([run.state for run in runs])
        chunks = schedule.chunks(first_step, until=until)
        for (first, length), of_chunk, labels_of_chunk in zip(chunks, batches, labels, strict=True):
            # Ask before the chunk and read the answer after it, when the previous chunk is done: nothing waits. All processes
            # stop at the same step, whichever of them got the signal.
            signal = trainer.max_over_processes(stop.signal or 0)
            state, metrics = trainer.run_steps(state, of_chunk, labels_of_chunk)
            last = first + length - 1
            recorder.queue(first, metrics)
            stop.agreed = int(signal)
            stops = stop.agreed != 0 or last == until
            if schedule.writes_at(last) or stops:
                recorder.flush()
            if schedule.writes_at(last) or stops or recorder.failed:
                recorder.write(trainer.to_host(state), stopping=stops)
                trim_malloc()
            if stop.agreed or all(run.has_ended for run in runs):
                break
        for run in runs:
            if run.failure is None:
                run.checkpoints.wait()
        recorder.close()
    except BaseException as error:
        for run in runs:
            with suppress(UserError):  # It would hide this error.
                run.checkpoints.wait_here()
        out_of_memory = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
        if isinstance(error, UserError | OSError) or out_of_memory:
            with ExitStack() as marks:  # It marks them all as failed, also if the folder of one is gone.
                for run in runs:
                    marks.callback(run.fail)
        if out_of_memory:
            lower = "Set a smaller train.batch_size, model.gen.width and model.disc.width, or fewer train.stacked_seeds"
            lower += ", or data.feed=tfdata" if trainer.dataset is not None else ""
            size = setup.config.train.batch_size
            raise UserError(f"train.batch_size={size}: expected a step that fits into the device's memory. {lower}.") from error
        raise
    finally:
        stack.close()


def _batches(setup: RunSetup, first_step: int, *, until: int, by_index: bool) -> Iterator[np.ndarray]:
    """Return this process's part of each chunk's batches: uint8 [K, B / processes, H, W, C], or indices [K, B / processes]."""
    chunks = setup.schedule.chunks(first_step, until=until)
    part, parts = setup.processes.index, setup.processes.count
    if by_index:
        return pipeline.index_batches(setup.plan, chunks, part=part, parts=parts)
    return pipeline.batches(setup.dataset, setup.plan, chunks, part=part, parts=parts)


def _labels(setups: Sequence[RunSetup], first_step: int, *, until: int) -> Iterator[list[np.ndarray]]:
    """Yield for each chunk the classes of each run's images, int64 [K, B / processes]; no arrays without `model.classes`."""
    chunks = list(setups[0].schedule.chunks(first_step, until=until))
    if not setups[0].config.model.classes:
        yield from ([] for _ in chunks)
        return
    part, parts = setups[0].processes.index, setups[0].processes.count
    # Plans of their own: a plan keeps one epoch's order, and tf.data asks `setup.plan` from another thread, some chunks ahead.
    each = [pipeline.index_batches(replace(setup.plan), chunks, part=part, parts=parts) for setup in setups]
    for indices in zip(*each, strict=True):
        yield [setup.dataset.gather_labels(places) for setup, places in zip(setups, indices, strict=True)]


def train_group(
    group: Sequence[RunSetup],
    *,
    stop: StopRequest,
    stream: TextIO,
    verb: str = "training",
    open_checkpoints: Callable[..., SharedCheckpoints] = SharedCheckpoints,
    watch: Callable[[int], object] = lambda step: None,
) -> list[OpenRun]:
    """Train the runs of a group to their last step, stacked if there are several, or until asked to stop.

    The runs continue together from the step that most of them have reached. A run that is behind it, because of a damaged
    checkpoint or a kill between two saves, catches up alone first, which changes no bit of the others; a run that is ahead
    continues alone afterwards. A run that failed has a `failure`, and the others continue; one that was stopped before its turn
    has no manifest. An error that is not one run's own, such as a full disk, is raised.
    `open_checkpoints` takes the arguments of `SharedCheckpoints`. `watch` is called with each step that is done.
    """
    start_time = time.monotonic()
    with ExitStack() as locks:
        checks = [_lock(setup, locks) for setup in group]
        with ExitStack() as stack:
            runs = []
            for setup, check in zip(group, checks, strict=True):
                runs.append(_open(setup, check, stack, stream=stream, open_checkpoints=open_checkpoints))
            steps = [run.step for run in runs]
            start = max(steps, key=lambda step: (steps.count(step), step))
            for run in runs:
                if run.step < start and not stop.agreed:
                    train_runs([run], run.setup.trainer, until=start, stop=stop, stream=stream, verb=verb, watch=watch)
            total = group[0].schedule.total_steps
            together = [run for run in runs if run.step == start and not run.has_ended]
            if together and not stop.agreed:
                trainer = make_trainer([run.setup for run in together], group_size=len(group))
                train_runs(together, trainer, until=total, stop=stop, stream=stream, verb=verb, watch=watch)
            for run in runs:
                if not run.has_ended and run not in together and run.step > start and not stop.agreed:
                    train_runs([run], run.setup.trainer, until=total, stop=stop, stream=stream, verb=verb, watch=watch)
        for run in runs:
            if run.manifest is not None and run.failure is None:
                try:
                    run.finish(seconds=time.monotonic() - start_time)
                except UserError as failure:
                    run.fail(failure)
    return runs


def _lock(setup: RunSetup, stack: ExitStack) -> Callable[[], None]:
    """Lock the run's folder until `stack` ends, in the primary process; return the check that it is still there."""
    checks: list[Callable[[], None]] = []

    def lock() -> None:
        checks.append(stack.enter_context(lock_folder(setup.folder)))
        check_unchanged(setup.existing)

    setup.processes.on_primary(lock)
    return checks[0] if checks else lambda: None


def _open(
    setup: RunSetup,
    check_folder: Callable[[], None],
    stack: ExitStack,
    *,
    stream: TextIO,
    open_checkpoints: Callable[..., SharedCheckpoints],
) -> OpenRun:
    """Open a run's checkpoints and restore its state, or initialise it."""
    metadata, keep = checkpoint_metadata(setup.config, setup.dataset), setup.config.checkpoint.keep
    checkpoints = stack.enter_context(open_checkpoints(setup.folder, setup.processes, keep=keep, identity=metadata))
    initial = setup.trainer.init(setup.config.seed)
    restored = checkpoints.restore_latest(
        like=initial,
        check_recorded=partial(check_recorded, setup.existing),
        say=lambda message: print(message, file=stream, flush=True),
    )
    return OpenRun(setup, check_folder, checkpoints, jax.device_get(initial if restored is None else restored))


def _other_devices(run: OpenRun, trainer: Trainer) -> str:
    """Return the note for a run that continues on another number of devices than it started on."""
    environment, before = environment_of(run.setup, trainer), run.setup.existing.manifest
    now, then = environment.device.count, run.setup.initial_devices
    if trainer.seeds > 1:
        now = environment.stacked_devices
        then = (before.initial_stacked_devices(seeds=trainer.seeds) if before else 0) or now
    return "" if now == then else f"; it started on {then} devices and continues on {now}, which rounds differently"
