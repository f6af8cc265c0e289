"""Hold a run's folder, so that no other start trains in it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sharingan_jax.errors import UserError
from sharingan_jax.files import make_folder
from sharingan_jax.run.folder import RunDir


@contextlib.contextmanager
def held(run: RunDir) -> Iterator[Callable[[], None]]:
    """While entered, no other start may train in the folder (where the system has `flock`; elsewhere nothing is held).

    Gives a check that raises UserError where the folder has since been removed, or another put in its place: what is written
    then would be half a run. Raises UserError where another start holds the folder. A process that dies lets go.
    """
    make_folder(run.root)
    lock = run.root / ".lock"
    # A link would lead to another file than the one that is held.
    with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644), "r+") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except BlockingIOError:
            raise UserError(
                f"--workdir={run.root}: another start is training there; wait for it, stop it, or use another --workdir"
            ) from None
        yield lambda: _check_still_there(run, os.fstat(file.fileno()), lock)


def _check_still_there(run: RunDir, opened: os.stat_result, lock: Path) -> None:
    try:
        if os.path.samestat(opened, lock.stat()):
            return
    except OSError as error:
        raise _gone(run) from error
    raise _gone(run)


def _gone(run: RunDir) -> UserError:
    return UserError(
        f"--workdir={run.root}: the folder was removed or replaced while the run was training in it, so the run has stopped and"
        " written nothing more; put it back to continue from its last checkpoint, or begin in another --workdir"
    )
