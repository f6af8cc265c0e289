"""Hold a run's folder, so that no other start trains in it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sharingan_jax.errors import UserError
from sharingan_jax.files import make_folder, remove_hidden_siblings
from sharingan_jax.run.folder import RunFolder

LOCK = ".lock"


@contextlib.contextmanager
def lock_folder(folder: RunFolder) -> Iterator[Callable[[], None]]:
    """While entered, no other start can train in the folder (on systems that have `flock`; elsewhere nothing is locked).

    Files that a killed start was writing are removed. Yield a check that raises UserError if the folder has been removed or
    replaced since: anything written then would be half a run. Raise UserError if another start holds the folder. A process
    that dies releases it.
    """
    make_folder(folder.root)
    lock = folder.root / LOCK
    # A link would lead to another file than the one that is locked.
    with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666), "r+") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except BlockingIOError:
            raise UserError(
                f"workdir={folder.root}: another start is training there; wait for it, stop it, or use another folder"
            ) from None

        for place in (folder.root, folder.samples, folder.damaged):
            remove_hidden_siblings(place)

        def check() -> None:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                    return
            raise UserError(
                f"workdir={folder.root}: the folder was removed or replaced while the run was training in it, so the run has"
                " stopped and written nothing more; put it back to continue from its last checkpoint, or start in another"
                " folder"
            )

        yield check


def is_locked(folder: Path) -> bool:
    """Return whether a process trains in the folder, or the system cannot tell."""
    try:
        import fcntl

        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except (ImportError, OSError):
        return True
    return False
