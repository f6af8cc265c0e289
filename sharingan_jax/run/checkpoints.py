"""Orbax checkpoints of a whole training state: written in the background, whole or not there, the last few kept."""

import contextlib
import hashlib
import itertools
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax import checkpoint as ocp

from sharingan_jax.devices.processes import Processes
from sharingan_jax.errors import UserError
from sharingan_jax.files import make_folder, write_json
from sharingan_jax.gan.state import TrainState, digest, named_arrays, pack, unpack
from sharingan_jax.run.folder import RunDir, read_json

BESIDE = 2**20  # Bytes that Orbax's own files may take beside the arrays; a full disk in its midst it tells in a hundred lines.


FILES = "files.json"
"""In each checkpoint, the SHA-256 of every other file of it."""


class DamagedCheckpointError(UserError):
    """A checkpoint whose files cannot be read, or are not those that were written."""


class Checkpoints:
    """The checkpoints below one folder. Use as a context manager: leaving it waits for what is still being written.

    Only the process that makes it reads and writes, also where a run has several.
    """

    def __init__(self, folder: Path, *, keep: int, read_only: bool = False) -> None:
        # Orbax tells each save in ten lines, warns of its own defaults, and raises besides what it logs as an error.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self.folder = folder
        self._being_saved = -1
        self._found_whole: set[int] = set()
        if not read_only:
            make_folder(folder)
        here = jax.process_index()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=False,
            read_only=read_only,
            enable_async_checkpointing=True,
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._list_files),
            multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here}),
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options, item_names=("state", "facts"))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    @property
    def steps(self) -> list[int]:
        """The steps there are checkpoints of, in order."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, facts: dict[str, Any]) -> None:
        """Starts writing `state`, whole on every device, with `facts` (JSON) and its digest; a step that is there stays.

        Raises UserError where it cannot be written, and before it is begun where the disk has no room for it.
        """
        step = int(state.step)
        if step in self.steps:
            return
        self._check_room(step, size=sum(leaf.nbytes for leaf in jax.tree.leaves(state)))
        with _as_user_error(f"{self.folder}: the checkpoint of step {step} could not be written"):
            host = jax.tree.map(np.array, state)  # Copies: the next step takes over the arrays of this one.
            described = {**facts, "step": step, "digest": digest(host)}
            self._manager.wait_until_finished()  # As Orbax does by itself; the files it lists are then this one's.
            self._being_saved = step
            self._manager.save(
                step, args=ocp.args.Composite(state=ocp.args.StandardSave(host), facts=ocp.args.JsonSave(described))
            )

    def _check_room(self, step: int, *, size: int) -> None:
        there = shutil.disk_usage(self.folder).free
        if there < size + BESIDE:
            raise UserError(
                f"{self.folder}: the checkpoint of step {step} takes {(size + BESIDE) / 1e6:.1f} MB and the disk has"
                f" {there / 1e6:.1f} MB left; make room, and the same command goes on from the checkpoint before it"
            )

    def wait(self) -> None:
        """Returns when what was saved is on disk."""
        with _as_user_error(f"{self.folder}: the last checkpoint could not be written"):
            self._manager.wait_until_finished()

    def facts(self, step: int) -> dict[str, Any]:
        """What was saved beside the state of `step`. Raises DamagedCheckpointError where it cannot be read, or is not that."""
        self._check_files(step)
        with _as_user_error(f"{self.folder}: the checkpoint of step {step} cannot be read", kind=DamagedCheckpointError):
            restored = self._manager.restore(step, args=ocp.args.Composite(facts=ocp.args.JsonRestore()))
        facts: Any = restored["facts"]
        if not isinstance(facts, dict) or "digest" not in facts:
            raise DamagedCheckpointError(f"{self.folder}: the checkpoint of step {step} does not say what it holds")
        return facts

    def restore(self, step: int, *, like: TrainState) -> TrainState:
        """The state of `step`, on one device of this process; `like` gives names, shapes and dtypes.

        Raises UserError where the step is not there, and DamagedCheckpointError where it cannot be read, does not have the
        names and shapes of `like`, or is not what was written.
        """
        if step not in self.steps:
            there = ", ".join(map(str, self.steps)) or "none"
            raise UserError(f"{self.folder}: there is no checkpoint of step {step}; there are: {there}")
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), like)
        complaint = f"{self.folder}: the checkpoint of step {step} does not fit this configuration, or is damaged"
        # Before Orbax finds it: what it has begun to read then complains in many tracebacks of having been left.
        self._check_files(step)
        self._check_shapes(step, like, complaint)
        with _as_user_error(complaint, kind=DamagedCheckpointError):
            restored = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))
        state: TrainState = restored["state"]
        found = digest(state)
        if found != self.facts(step)["digest"]:
            raise DamagedCheckpointError(
                f"{self.folder}: the checkpoint of step {step} is damaged: the weights read ({found[:12]}) are not those written"
            )
        return state

    def _list_files(self) -> None:
        """Writes FILES into the checkpoint that Orbax has written and is about to put in its place: it calls this then."""
        written = [self.folder / str(self._being_saved), *self.folder.glob(f"{self._being_saved}.orbax-*")]
        for place in written:
            if place.is_dir():
                write_json(place / FILES, {path.relative_to(place).as_posix(): _sha256(path) for path in _files_below(place)})

    def _check_files(self, step: int) -> None:
        """Raises DamagedCheckpointError where a file is not the one that was written; earlier versions wrote no list of them."""
        place = self.folder / str(step)
        if step in self._found_whole or not (place / FILES).is_file():
            return
        try:
            written = read_json(place / FILES)
        except UserError as error:
            raise DamagedCheckpointError(f"{self.folder}: the checkpoint of step {step} is damaged: {error}") from None
        there = {path.relative_to(place).as_posix(): path for path in _files_below(place)}
        for name, noted in written.items():
            if name not in there or _sha256(there[name]) != noted:
                what = "is not what was written" if name in there else "is missing"
                raise DamagedCheckpointError(f"{self.folder}: the checkpoint of step {step} is damaged: its {name} {what}")
        self._found_whole.add(step)

    def _check_shapes(self, step: int, like: TrainState, complaint: str) -> None:
        with _as_user_error(complaint, kind=DamagedCheckpointError):
            metadata = ocp.StandardCheckpointHandler().metadata((self.folder / str(step) / "state").absolute())
            arrays = jax.tree.leaves(metadata.tree, is_leaf=lambda leaf: hasattr(leaf, "shape"))
            shapes = {array.name: tuple(array.shape) for array in arrays}
        for name, leaf in named_arrays(like).items():
            if shapes.get(name) != leaf.shape:
                found = list(shapes[name]) if name in shapes else "missing"
                raise DamagedCheckpointError(f"{complaint}: {name} is {found} and the configuration's is {list(leaf.shape)}")

    def put_aside(self, step: int, folder: Path) -> Path:
        """Moves the checkpoint of `step` into `folder`, under a name that is free there, which is returned."""
        make_folder(folder)
        names = (folder / f"step-{step}{f'-{count}' if count else ''}" for count in itertools.count())
        place = next(name for name in names if not name.exists())
        shutil.move(self.folder / str(step), place)
        self._manager.reload()
        return place


def _files_below(place: Path) -> list[Path]:
    """A checkpoint's files but the list of them and those that Orbax writes last, of when and that it was done."""
    last = (FILES, "_CHECKPOINT_METADATA", "commit_success.txt")
    return sorted(path for path in place.rglob("*") if path.is_file() and path.name not in last)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _as_user_error(sentence: str, *, kind: type[UserError] = UserError) -> Iterator[None]:
    """Orbax and TensorStore raise many kinds of error; what a user needs of them is the file and the first line."""
    try:
        yield
    except Exception as error:  # Orbax raises that very class where TensorStore cannot read an array.
        reason = str(error).strip().splitlines()[0].partition(". See ")[0] if str(error).strip() else type(error).__name__
        raise (UserError if _is_of_the_machine(error) else kind)(f"{sentence}: {reason[:300]}") from error


def _is_of_the_machine(error: Exception) -> bool:
    """Whether it tells of the machine and not of the files: those may be whole, and are left where they are."""
    troubles = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")
    of_the_system = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
    return of_the_system or any(trouble in str(error) for trouble in troubles)


class Saving:
    """Use as a context manager: leaving it waits for what is still being written. Each process calls each method in its turn."""

    def __init__(self, run: RunDir, processes: Processes, *, keep: int, facts: Mapping[str, str]) -> None:
        self._run = run
        self._processes = processes
        self._keep = keep
        self._facts = facts
        self._stack = ExitStack()
        self._checkpoints: Checkpoints | None = None

    def __enter__(self) -> "Saving":
        self._processes.first_does(self._open)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def last_state(self, *, like: TrainState, check: Callable[[int], None], say: Callable[[str], None]) -> TrainState | None:
        """The state to go on from, on one device of each process; None where the run has no checkpoint yet.

        `check` is given the last checkpoint's step, and raises what speaks against it. Raises what `resume.last_state` does.
        """
        found: TrainState | None = None

        def read() -> bytes:
            nonlocal found
            checkpoints = self._opened()
            if checkpoints.steps:
                check(checkpoints.steps[-1])
            found = last_state(self._run, checkpoints, like=like, facts=self._facts, say=say)
            return b"" if found is None or self._processes.count == 1 else pack(found)

        packed = self._processes.bytes_of_first(read)
        return unpack(packed, like=like) if packed else found

    def save(self, state: TrainState) -> None:
        """Starts writing `state`, which lies whole on every device."""
        self._processes.first_does(lambda: self._opened().save(state, dict(self._facts)))

    def wait(self) -> None:
        """Returns, in all processes, when what was saved is on disk."""
        self._processes.first_does(lambda: self._opened().wait())

    def wait_here(self) -> None:
        """Returns, in this process alone, when what it was writing is on disk: for one that is about to fail."""
        if self._checkpoints is not None:
            self._checkpoints.wait()

    def _open(self) -> None:
        self._checkpoints = self._stack.enter_context(Checkpoints(self._run.checkpoints, keep=self._keep))

    def _opened(self) -> Checkpoints:
        assert self._checkpoints is not None
        return self._checkpoints


FACTS = {"config": "settings", "data": "pictures"}


def last_state(
    run: RunDir,
    checkpoints: Checkpoints,
    *,
    like: TrainState,
    facts: Mapping[str, str],
    say: Callable[[str], None],
) -> TrainState | None:
    """The state of the last whole checkpoint, on one device; None where there is no checkpoint at all.

    A damaged one is put aside into `damaged/`, told to `say`, and the one before it is taken: the run makes its steps again.
    Raises UserError, and moves nothing, where a checkpoint is of other `facts` than these, or where all are damaged.
    """
    passed_over: list[tuple[int, DamagedCheckpointError]] = []
    for step in reversed(checkpoints.steps):
        try:
            _check_facts(run, step, checkpoints.facts(step), facts)
            state = checkpoints.restore(step, like=like)
        except DamagedCheckpointError as error:
            passed_over.append((step, error))
            continue
        for later, why in passed_over:
            say(f"{why}; it is now {checkpoints.put_aside(later, run.damaged)}, and the run goes on from step {step}")
        return state
    if passed_over:
        raise UserError(
            f"{passed_over[0][1]}; no whole checkpoint is left to go on from: put one back, or begin in another --workdir"
        ) from passed_over[0][1]
    return None


def _check_facts(run: RunDir, step: int, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    for name, now in expected.items():
        if found.get(name, now) != now:
            raise UserError(
                f"--workdir={run.root}: the checkpoint of step {step} is of other {FACTS[name]}; use those it was"
                " made with, or another --workdir"
            )
