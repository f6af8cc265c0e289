"""Files that are either whole or not there."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from sharingan_jax.errors import UserError


def make_folder(folder: Path) -> None:
    """Makes `folder` and those above it where they are missing. Raises UserError where a file is in the way, else OSError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        in_the_way = next((path for path in (folder, *folder.parents) if path.is_file()), folder)
        raise UserError(f"{folder}: cannot be made, because {in_the_way} is a file; give the name of a folder") from None


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the file's name into an OSError that has none: the system gives none for a write that finds the disk full."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Makes `path` hold what `write` puts into the binary file it is given, or leaves `path` as it was.

    The bytes go to a hidden sibling first, reach the disk, and are then renamed over `path`, so that neither a crash nor a
    full disk leaves half a file under the name a reader opens. Missing parent folders are made. Raises OSError and what
    `make_folder` raises.
    """
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with naming(path), os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp's 0o600 would hide a run's files from the group it is shared with.
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, atomically."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON with a final newline, atomically; raises ValueError on NaN or infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
