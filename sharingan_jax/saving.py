"""A run's checkpoints as all of its processes see them: the first reads and writes, and the others learn what it read."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from sharingan_jax.checkpoint import Checkpoints
from sharingan_jax.processes import Processes
from sharingan_jax.resume import last_state
from sharingan_jax.rundir import RunDir
from sharingan_jax.state import TrainState, pack, unpack


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
