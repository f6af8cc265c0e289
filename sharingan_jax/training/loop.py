"""The training loop: dispatch, write what came back, save, draw; all effects of a run are here and in what it calls.

One loop trains a seed alone and several side by side: a group is a list of runs, each with its folder, at the same step.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TextIO

import jax
import numpy as np

from sharingan_jax.data.pipeline import batches
from sharingan_jax.devices.memory import give_back_freed
from sharingan_jax.devices.stacked_seeds import Together, alone
from sharingan_jax.errors import UserError
from sharingan_jax.gan.state import TrainState, digest, first_non_finite
from sharingan_jax.reporting.progress import Chorus, Progress
from sharingan_jax.reporting.tensorboard import EventWriter
from sharingan_jax.rng import fixed_latents
from sharingan_jax.run.checkpoints import Saving
from sharingan_jax.run.lock import held
from sharingan_jax.run.manifest import end_manifest, fail_manifest
from sharingan_jax.training import outputs
from sharingan_jax.training.recorder import ADVICE, NonFiniteError, Recorder
from sharingan_jax.training.setup import Prepared, begin_folder, check_not_past, identity_facts, split_off
from sharingan_jax.training.signals import StopRequest


@dataclass(frozen=True)
class Outcome:
    """How a start ended: the state it reached, its digest, and 0 or 128 + the signal that stopped it."""

    state: TrainState
    digest: str
    exit_code: int


@dataclass
class _Member:
    """A run of a group while it trains: what it has open, the state it has reached, and what stopped it alone.

    `begun` tells that this start has written of it; one that is ahead of a group that is stopped before has nothing to end.
    """

    ready: Prepared
    check_folder: Callable[[], None]
    saving: Saving
    state: TrainState
    recorder: Recorder | None = None
    failure: UserError | None = None
    begun: bool = False


def train(ready: Prepared, *, stream: TextIO) -> Outcome:
    """Trains from the last checkpoint, or from step 0, to the schedule's end or until asked to stop.

    In a run of several processes each calls it; the first alone reads and writes the run's folder and prints to `stream`.
    Raises UserError on a loss that is not finite, with the step and the figure; the checkpoints before it stay.
    """
    with StopRequest() as stop:
        (outcome,) = train_group([ready], stop=stop, stream=stream)
    if isinstance(outcome, UserError):
        raise outcome
    return outcome


def train_group(group: Sequence[Prepared], *, stop: StopRequest, stream: TextIO) -> list[Outcome | UserError]:
    """Trains the runs of a group, as `train` does one, side by side; those that are behind catch up with the others first.

    A run whose figures are not finite stops by itself, with the UserError that is its result; the others go on. What stops
    one for another reason, such as a full disk, is raised and stops all.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        checks = [_hold(ready, stack) for ready in group]
        with ExitStack() as saved:
            members = [_begin(ready, check, saved, stream=stream) for ready, check in zip(group, checks, strict=True)]
            while (cohort := _next_cohort(members)) and not stop.agreed:
                _train_cohort(cohort, until=_step_of_others(cohort, members), stop=stop, stream=stream)
        return [_finish(member, began=began, stop=stop, stream=stream) for member in members]


def _hold(ready: Prepared, stack: ExitStack) -> Callable[[], None]:
    """Holds the run's folder until `stack` ends, in the first process; returns the check that it is still there."""
    checks: list[Callable[[], None]] = []
    ready.processes.first_does(lambda: checks.append(stack.enter_context(held(ready.run))))
    return checks[0] if checks else lambda: None


def _begin(ready: Prepared, check_folder: Callable[[], None], stack: ExitStack, *, stream: TextIO) -> _Member:
    saving = stack.enter_context(
        Saving(ready.run, ready.processes, keep=ready.config.checkpoint.keep, facts=identity_facts(ready))
    )
    state = _first_state(ready, saving, stream=stream)
    # Of several seeds the device is to hold the joined state alone.
    return _Member(ready, check_folder, saving, state if ready.beside is None else jax.device_get(state))


def _next_cohort(members: Sequence[_Member]) -> list[_Member]:
    """Those that are furthest behind; none where all that go on are done."""
    total_steps = members[0].ready.schedule.total_steps
    going_on = [member for member in _going_on(members) if not (member.begun and int(member.state.step) == total_steps)]
    lowest = min((int(member.state.step) for member in going_on), default=0)
    return [member for member in going_on if int(member.state.step) == lowest]


def _step_of_others(cohort: Sequence[_Member], members: Sequence[_Member]) -> int:
    """The next step that another run is at, or else the last."""
    own = int(cohort[0].state.step)
    further = [int(member.state.step) for member in _going_on(members) if int(member.state.step) > own]
    return min(further, default=cohort[0].ready.schedule.total_steps)


def _first_state(ready: Prepared, saving: Saving, *, stream: TextIO) -> TrainState:
    beginning = ready.programs.init(ready.config.seed)
    reached = saving.last_state(
        like=beginning,
        check=lambda step: check_not_past(ready, step),
        say=lambda message: print(message, file=stream, flush=True),
    )
    return beginning if reached is None else ready.programs.place(reached)


def _train_cohort(members: Sequence[_Member], *, until: int, stop: StopRequest, stream: TextIO) -> None:
    """Trains runs that are at the same step up to the step `until`, which those that do not fail have then reached."""
    together = alone(members[0].ready.programs)
    for member in members:
        ready = split_off(member.ready, count=len(members))
        together = ready.beside.together if ready.beside else together
        ready.processes.first_does(partial(begin_folder, ready, after_step=int(member.state.step)))
        member.begun = True
    try:
        _train_from(members, together, until=until, stop=stop, stream=stream)
    except (UserError, OSError):
        _note_failures(members)
        raise


def _note_failures(members: Sequence[_Member]) -> None:
    """Notes that what has ended these runs is no end of theirs.

    Raises UserError where a folder is gone: it is what the user has to know, whatever it led to.
    """
    gone: list[UserError] = []
    for member in members:
        try:
            member.check_folder()
        except UserError as error:
            gone.append(error)
        else:
            if member.ready.processes.is_first:
                fail_manifest(member.ready.run)
    if gone:
        raise gone[0]


def _train_from(members: Sequence[_Member], together: Together, *, until: int, stop: StopRequest, stream: TextIO) -> None:
    first_step = int(members[0].state.step) + 1
    with ExitStack() as stack:
        progress = stack.enter_context(_open_progress(members[0].ready, first_step, stream))
        chorus = Chorus(progress, voices=len(members))
        for voice, member in enumerate(members):
            if first_step > 1:
                progress.say(f"continuing {member.ready.run.root} after step {first_step - 1}{_other_devices(member.ready)}")
            member.recorder = Recorder(
                member.ready.run,
                member.ready.plan,
                n_critic=member.ready.config.train.n_critic,
                writes=member.ready.processes.is_first,
                check_folder=member.check_folder,
                events=stack.enter_context(_open_events(member.ready, resume_step=first_step)),
                show=partial(chorus.add, voice),
            )
        try:
            _train_steps(members, together, until=until, chorus=chorus, stop=stop)
        except BaseException:
            for member in members:
                member.saving.wait_here()
            raise
        for member in _going_on(members):
            member.saving.wait()


def _going_on(members: Sequence[_Member]) -> list[_Member]:
    return [member for member in members if member.failure is None]


def _other_devices(ready: Prepared) -> str:
    now, then = ready.programs.mesh.size, ready.begun_on
    if ready.beside:
        now, then = ready.beside.devices, ready.beside.begun_on
    return "" if now == then else f"; it began on {then} devices and goes on with {now}, which rounds otherwise"


def _train_steps(members: Sequence[_Member], together: Together, *, until: int, chorus: Chorus, stop: StopRequest) -> None:
    ready, first_step = members[0].ready, int(members[0].state.step) + 1
    schedule, last = ready.schedule, first_step - 1
    dispatches = partial(schedule.chunks, first_step, until=until)
    _begin_compiling(members, together, next(dispatches(), None))
    batches = zip(*(_pictures_of(member.ready, dispatches()) for member in members), strict=True)
    state = together.gather([member.state for member in members])
    for (first, length), real_u8 in zip(dispatches(), batches, strict=True):
        # Asked before the dispatch and read after it, when the one before is done: nothing waits, and all processes stop at
        # the same step, whichever of them the signal came to.
        signals = ready.programs.largest(stop.signal or 0)
        state, metrics = together.chunk(state, real_u8)
        last = first + length - 1
        states = [partial(together.member, state, index) for index in range(len(members))]
        for index, member in enumerate(members):
            if member.failure is None:
                with _alone_if_not_finite(member, index, chorus=chorus), _tensor_named(states[index], last):
                    _recorder_of(member).take(first, partial(together.figures, metrics, index))
        stop.agreed = int(signals)
        if schedule.samples_at(last) or schedule.saves_at(last) or stop.agreed or last == until:
            for index, member in enumerate(members):
                if member.failure is None:
                    with _alone_if_not_finite(member, index, chorus=chorus):
                        _write(member, states[index], last, stopping=stop.agreed != 0)
            give_back_freed()
        if stop.agreed or not _going_on(members):
            break
    if last >= first_step:
        for index, member in enumerate(members):
            member.state = together.member(state, index)


def _begin_compiling(members: Sequence[_Member], together: Together, dispatch: tuple[int, int] | None) -> None:
    if dispatch is not None:
        ready, (step, length) = members[0].ready, dispatch
        batch = ready.plan.size_of(step) // ready.processes.count
        together.begin([member.state for member in members], (length, batch, *ready.pictures.image_shape))


def _pictures_of(ready: Prepared, dispatches: Iterable[tuple[int, int]]) -> Iterator[np.ndarray]:
    part, parts = ready.processes.index, ready.processes.count
    return batches(ready.pictures, ready.plan, dispatches, part=part, parts=parts)


@contextlib.contextmanager
def _alone_if_not_finite(member: _Member, voice: int, *, chorus: Chorus) -> Iterator[None]:
    """What is not finite of one run stops that one, and the others of its group go on."""
    try:
        yield
    except NonFiniteError as error:
        member.failure = error
        member.saving.wait_here()
        _note_failures([member])
        chorus.leave(voice, f"{member.ready.run.root}: {error}")


@contextlib.contextmanager
def _tensor_named(state: Callable[[], TrainState], last: int) -> Iterator[None]:
    try:
        yield
    except NonFiniteError as error:
        name = first_non_finite(state())
        raise NonFiniteError(f"{error}; the first tensor that is not finite after step {last}: {name or 'none'}") from error


def _write(member: _Member, own_state: Callable[[], TrainState], step: int, *, stopping: bool) -> None:
    """The grid and the checkpoint of a step, where it has them; what they stand on is finite and on disk before."""
    schedule = member.ready.schedule
    with _tensor_named(own_state, step):
        _recorder_of(member).flush()
    state = own_state()
    _check_finite(state, step)
    if schedule.samples_at(step):
        _sample(member, state, step)
    if schedule.saves_at(step) or stopping:
        member.saving.save(state)


def _recorder_of(member: _Member) -> Recorder:
    assert member.recorder is not None
    return member.recorder


def _sample(member: _Member, state: TrainState, step: int) -> None:
    images = _fakes(member.ready, state)
    if not np.isfinite(images).all():
        raise NonFiniteError(f"step {step}: G's pictures are not finite after it, so the run has stopped; {ADVICE}")
    member.ready.processes.first_does(lambda: _recorder_of(member).sample(step, images))


def _fakes(ready: Prepared, state: TrainState) -> np.ndarray:
    """G's pictures of the run's fixed latents, float32 [N, H, W, C] in [−1, 1]."""
    z = np.asarray(fixed_latents(jax.device_get(state.key), count=ready.config.sample.num, nz=ready.config.model.nz))
    return np.asarray(ready.programs.sample(state.gen, z))


def _check_finite(state: TrainState, step: int) -> None:
    """Raises NonFiniteError where an array is not: the losses of a step are of the weights before it, and tell one step later."""
    name = first_non_finite(state)
    if name:
        raise NonFiniteError(
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


def _finish(member: _Member, *, began: float, stop: StopRequest, stream: TextIO) -> Outcome | UserError:
    ready, state = member.ready, member.state
    if member.failure is not None:
        return member.failure
    if not member.begun:
        return Outcome(state, digest(state), stop.exit_code)
    ready.processes.first_does(member.check_folder)
    final, step, fakes = digest(state), int(state.step), _fakes(ready, state)
    status = "complete" if step == ready.schedule.total_steps else "stopped"

    def write() -> None:
        seconds, seen = time.monotonic() - began, ready.plan.images_seen(step)
        end_manifest(ready.run, status=status, step=step, digest=final, images_seen=seen, seconds=seconds)
        outputs.save_summaries(ready.run, ready.pictures.preview(len(fakes)), fakes, step=step)
        whose = "" if ready.beside is None else f"seed {ready.config.seed}: "
        print(f"{whose}step {step} of {ready.schedule.total_steps}, digest {final}", file=stream, flush=True)

    ready.processes.first_does(write)
    return Outcome(state, final, 0 if status == "complete" else stop.exit_code)
