"""Orbax checkpoints of a whole training state: written in the background, whole or not there, the last few kept."""

import contextlib
import itertools
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax import checkpoint as ocp

from sharingan_jax.atomic import make_folder
from sharingan_jax.errors import UserError
from sharingan_jax.state import TrainState, digest, named_arrays

BESIDE = 2**20  # Bytes that Orbax's own files may take beside the arrays; a full disk in its midst it tells in a hundred lines.


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
        if not read_only:
            make_folder(folder)
        here = jax.process_index()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=False,
            read_only=read_only,
            enable_async_checkpointing=True,
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
        """What was saved beside the state of `step`. Raises DamagedCheckpointError where it cannot be read."""
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
        # Before Orbax finds it: it leaves a heap of coroutines behind, which complain when they are thrown away.
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


@contextlib.contextmanager
def _as_user_error(sentence: str, *, kind: type[UserError] = UserError) -> Iterator[None]:
    """Orbax and TensorStore raise many kinds of error; what a user needs of them is the file and the first line."""
    try:
        yield
    except (ValueError, TypeError, KeyError, OSError, RuntimeError, FileNotFoundError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise (UserError if _is_of_the_machine(error) else kind)(f"{sentence}: {reason[:300]}") from error


def _is_of_the_machine(error: Exception) -> bool:
    """Whether it tells of the machine and not of the files: those may be whole, and are left where they are."""
    troubles = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")
    of_the_system = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
    return of_the_system or any(trouble in str(error) for trouble in troubles)
