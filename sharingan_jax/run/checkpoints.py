"""Orbax checkpoints of a whole training state: written in the background, whole or not there, the last few kept."""

import contextlib
import hashlib
import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax import checkpoint as ocp

from sharingan_jax.devices.processes import Processes
from sharingan_jax.errors import UserError, reason_of
from sharingan_jax.files import PUT_BACK, make_folder, read_json, write_json
from sharingan_jax.gan.state import TrainState, digest, named_arrays, pack, unpack
from sharingan_jax.run.continuation import UnrecordedError, check_checkpoint
from sharingan_jax.run.folder import CHECKPOINT_FILES, RunFolder

OVERHEAD = 2**20  # Bytes that Orbax's own files may take besides the arrays. It reports a full disk in a hundred lines.
LINK = "sharingan-jax-link-"
WRITTEN_LATER = (CHECKPOINT_FILES, "_CHECKPOINT_METADATA", "commit_success.txt")
MACHINE_TROUBLES = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")
"""An error with one of these words is the machine's fault. The checkpoint may be whole and stays where it is."""


class DamagedCheckpointError(UserError):
    """A checkpoint whose files cannot be read, or are not the files that were written."""


class CheckpointManager:
    """The checkpoints below one folder. Use as a context manager: leaving it waits for a checkpoint still being written.

    Only the process that creates it reads and writes, also if a run has several.
    """

    def __init__(self, folder: Path, *, keep: int, read_only: bool = False) -> None:
        # Orbax logs each save in ten lines, warns about its own defaults, and logs as errors what it raises as well.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self.folder = folder
        self.best: int | None = None
        """A step whose checkpoint is kept besides the last ones."""
        self._keep = keep
        self._being_saved: tuple[int, TrainState, str] | None = None  # step, state, digest
        self._found_whole: set[int] = set()
        self._stack = ExitStack()
        if not read_only:
            make_folder(folder)
        here = jax.process_index()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self,
            create=False,
            read_only=read_only,
            enable_async_checkpointing=True,
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._check_written),
            multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here}),
        )
        place = self._stack.enter_context(_path_for_orbax(folder.absolute()))
        self._manager = ocp.CheckpointManager(place, options=options, item_names=("state", "identity"))

    def __enter__(self) -> "CheckpointManager":
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            self._manager.close()

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Return which checkpoints stay: the last `keep`, and the best. Orbax asks after each save, with all in order."""
        del context
        first = len(checkpoints) - self._keep
        return [number >= first or checkpoint.step == self.best for number, checkpoint in enumerate(checkpoints)]

    @property
    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in order."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, identity: Mapping[str, Any]) -> None:
        """Start writing `state`, whole on every device, with `identity` (JSON) and its digest. An existing step stays as it is.

        Each checkpoint is read back before it gets its name, so one that cannot be read is never seen. Raise UserError if it
        cannot be written or read back, here or at the next call or `wait`, and before starting if the disk has no room for it.
        """
        step = int(state.step)
        if step in self.steps:
            return
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + OVERHEAD
        free = shutil.disk_usage(self.folder).free
        if free < size:
            raise UserError(
                f"{self.folder}: the checkpoint of step {step} takes {size / 1e6:.1f} MB and the disk has {free / 1e6:.1f} MB"
                " left; make room, and the same command continues from the checkpoint before it"
            )
        with _as_user_error(f"{self.folder}: the checkpoint of step {step} could not be written"):
            host = jax.tree.map(np.array, state)  # Copies: the next step takes over the arrays of this one.
            state_digest = digest(host)
            described = ocp.args.JsonSave({**identity, "step": step, "digest": state_digest})
            self._manager.wait_until_finished()  # Orbax would do so as well; the files checked next are then this step's.
            self._being_saved = (step, host, state_digest)
            self._manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(host), identity=described))

    def wait(self) -> None:
        """Return when everything saved is on disk."""
        with _as_user_error(f"{self.folder}: the last checkpoint could not be written"):
            self._manager.wait_until_finished()

    def identity(self, step: int) -> dict[str, Any]:
        """Return what was saved with the state of `step`. Raise DamagedCheckpointError if it is damaged."""
        self._check_files(step)
        with _as_user_error(f"{self.folder}: the checkpoint of step {step} cannot be read", kind=DamagedCheckpointError):
            identity: Any = self._manager.restore(step, args=ocp.args.Composite(identity=ocp.args.JsonRestore()))["identity"]
        if not isinstance(identity, dict) or "digest" not in identity:
            raise self._damaged(step, "its identity has no digest")
        if identity.get("step") != step:
            raise self._damaged(step, f"it holds step {identity.get('step')}, so its folder was renamed; rename it back")
        return identity

    def restore(self, step: int, *, like: TrainState) -> TrainState:
        """Return the state of `step`, on one device of this process; `like` gives names, shapes and dtypes.

        Raise UserError if there is no such step. Raise DamagedCheckpointError if the checkpoint cannot be read, does not have
        the names and shapes of `like`, or is not what was written.
        """
        if step not in self.steps:
            there = ", ".join(map(str, self.steps)) or "none"
            raise UserError(f"{self.folder}: there is no checkpoint of step {step}; there are: {there}")
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), like)
        # Checked before Orbax reads: a read that fails halfway ends in many tracebacks.
        self._check_files(step)
        complaint = f"{self.folder}: the checkpoint of step {step} does not fit this configuration, or is damaged"
        with _as_user_error(complaint, kind=DamagedCheckpointError):
            metadata = ocp.StandardCheckpointHandler().metadata(self._manager.directory / str(step) / "state")
            arrays = jax.tree.leaves(metadata.tree, is_leaf=lambda leaf: hasattr(leaf, "shape"))
            shapes = {array.name: tuple(array.shape) for array in arrays}
        for name, leaf in named_arrays(like).items():
            if shapes.get(name) != leaf.shape:
                found = list(shapes[name]) if name in shapes else "missing"
                raise DamagedCheckpointError(f"{complaint}: {name} is {found} and the configuration's is {list(leaf.shape)}")
        with _as_user_error(complaint, kind=DamagedCheckpointError):
            state: TrainState = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))[
                "state"
            ]
        if digest(state) != self.identity(step)["digest"]:
            raise self._damaged(step, f"the weights read ({digest(state)[:12]}) are not those written")
        return state

    def _check_written(self) -> None:
        """Read back the checkpoint that Orbax has written, and list its files: Orbax calls this before it moves it into place."""
        assert self._being_saved is not None
        step, state, expected = self._being_saved
        for place in self.folder.glob(f"{step}.orbax-*"):
            written = ocp.StandardCheckpointHandler().restore(
                self._manager.directory / place.name / "state", args=ocp.args.StandardRestore(state)
            )
            if digest(written) != expected:
                raise OSError("the arrays read back are not those written")
            write_json(place / CHECKPOINT_FILES, _file_digests(place))
        self._being_saved = None

    def _check_files(self, step: int) -> None:
        """Raise DamagedCheckpointError if a file is not the one that was written."""
        place = self.folder / str(step)
        if step in self._found_whole:
            return
        try:
            written = read_json(place / CHECKPOINT_FILES)
        except UserError as error:
            raise self._damaged(step, str(error)) from None
        found = _file_digests(place)
        for name, sha256 in written.items():
            if found.get(name) != sha256:
                raise self._damaged(step, f"its {name} {'is not what was written' if name in found else 'is missing'}")
        if unlisted := sorted(set(found) - set(written)):
            raise self._damaged(step, f"its {unlisted[0]} is not in {CHECKPOINT_FILES}")
        self._found_whole.add(step)

    def _damaged(self, step: int, reason: str) -> DamagedCheckpointError:
        return DamagedCheckpointError(f"{self.folder}: the checkpoint of step {step} is damaged: {reason}")

    def quarantine(self, step: int, folder: Path) -> Path:
        """Move the checkpoint of `step` into `folder`, under a name that is free there; return its new place."""
        make_folder(folder)
        names = (folder / f"step-{step}{f'-{count}' if count else ''}" for count in itertools.count())
        place = next(name for name in names if not name.exists())
        shutil.move(self.folder / str(step), place)
        self._manager.reload()
        return place


class SharedCheckpoints:
    """A run's checkpoints as all its processes use them: the primary one reads and writes, the others get what it read.

    Use as a context manager: leaving it waits for a checkpoint still being written. Each process calls each method in its turn.
    """

    def __init__(self, folder: RunFolder, processes: Processes, *, keep: int, identity: Mapping[str, str]) -> None:
        self._folder = folder
        self._processes = processes
        self._keep = keep
        self._identity = identity
        self._stack = ExitStack()

    @cached_property
    def _manager(self) -> CheckpointManager:
        """Opened when first needed, in the primary process."""
        return self._stack.enter_context(CheckpointManager(self._folder.checkpoints, keep=self._keep))

    def __enter__(self) -> "SharedCheckpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def restore_latest(
        self, *, like: TrainState, check_recorded: Callable[[int], None], say: Callable[[str], None]
    ) -> TrainState | None:
        """Return the state of the last whole checkpoint, on one device of each process; None if there is no checkpoint.

        A checkpoint that is damaged, or that `check_recorded` refuses, is moved to `damaged/` and reported to `say`, and the one
        before it is taken: the run makes its steps again. Raise UserError, and move nothing, if a checkpoint belongs to
        another run, or if all are damaged.
        """
        found: TrainState | None = None

        def read() -> bytes:
            nonlocal found
            found = self._read_latest(like, check_recorded, say)
            return b"" if found is None or self._processes.count == 1 else pack(found)

        packed = self._processes.on_primary(read)
        return unpack(packed, like=like) if packed else found

    def _read_latest(
        self, like: TrainState, check_recorded: Callable[[int], None], say: Callable[[str], None]
    ) -> TrainState | None:
        refused: dict[int, UserError] = {}
        for step in reversed(self._manager.steps):
            try:
                check_checkpoint(self._folder, step, self._manager.identity(step), self._identity)
                check_recorded(step)
                state = self._manager.restore(step, like=like)
            except (DamagedCheckpointError, UnrecordedError) as error:
                refused[step] = error
                continue
            for later, why in refused.items():
                place = self._manager.quarantine(later, self._folder.damaged)
                say(f"{why}; it is now {place}, and the run continues from step {step}")
            return state
        if refused:
            last = next(iter(refused.values()))
            remedy = "no whole checkpoint is left to continue from: put one back, or start in another folder"
            raise UserError(f"{last}; {PUT_BACK if isinstance(last, UnrecordedError) else remedy}") from last
        return None

    def save(self, state: TrainState, *, choose_best: Callable[[Sequence[int]], int | None] = lambda steps: None) -> None:
        """Start writing `state`. Of the steps with a checkpoint, this one included, the one that `choose_best` names stays."""

        def write() -> None:
            self._manager.best = choose_best([*self._manager.steps, int(state.step)])
            self._manager.save(state, self._identity)

        self._processes.on_primary(write)

    def wait(self) -> None:
        """Return, in all processes, when everything saved is on disk."""
        self._processes.on_primary(self.wait_here)

    def wait_here(self) -> None:
        """Return, in this process alone, when what it was writing is on disk: for a process that is about to fail."""
        if self._processes.is_primary:
            self._manager.wait()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # It sends nothing.
    except ProcessLookupError:
        return False
    except OSError:  # Another user's.
        return True
    return True


def _remove_abandoned_links() -> None:
    """Remove what killed processes have left of `_path_for_orbax`."""
    for place in Path(tempfile.gettempdir()).glob(f"{LINK}*"):
        number = place.name.removeprefix(LINK).partition("-")[0]
        with contextlib.suppress(OSError):  # It may be another user's.
            if number.isdecimal() and not _is_running(int(number)):
                shutil.rmtree(place)


@contextlib.contextmanager
def _path_for_orbax(folder: Path) -> Iterator[Path]:
    """Yield a path of `folder` for Orbax, which takes `[`, `]` and `\\` in a path for a pattern, and then leaves out files."""
    if not set(r"[]\*?") & set(str(folder)):
        yield folder
        return
    _remove_abandoned_links()
    with tempfile.TemporaryDirectory(prefix=f"{LINK}{os.getpid()}-") as place:
        link = Path(place) / "checkpoints"
        link.symlink_to(folder, target_is_directory=True)
        yield link


def _file_digests(place: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a checkpoint by its name in it, except for those in WRITTEN_LATER."""
    digests = {}
    for path in sorted(place.rglob("*")):
        if path.is_file() and path.name not in WRITTEN_LATER:
            with path.open("rb") as file:
                digests[path.relative_to(place).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


@contextlib.contextmanager
def _as_user_error(sentence: str, *, kind: type[UserError] = UserError) -> Iterator[None]:
    """Turn the many kinds of error that Orbax and TensorStore raise into one `kind`, with the file and the first line."""
    try:
        yield
    except Exception as error:  # Orbax raises that very class if TensorStore cannot read an array.
        reason = reason_of(error).partition(". See ")[0]
        of_system = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        of_machine = of_system or any(word in str(error) for word in MACHINE_TROUBLES)
        raise (UserError if of_machine else kind)(f"{sentence}: {reason}") from error
