"""Files that are either whole or not there, and JSON read into typed values."""

import contextlib
import hashlib
import json
import os
import re
import reprlib
import secrets
import shutil
import sys
import time
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from sharingan_jax.errors import UserError

T = TypeVar("T")
ABANDONED_AFTER = 3 * 3600
"""Seconds after which nobody still writes what has not changed since."""
PUT_BACK = "put the file back as it was, or use another folder"
SEAL = "seal"
"""The key of the SHA-256 over the other keys of a sealed JSON object."""


def cache_folder() -> Path:
    """Return this system's folder for files that can be rebuilt: `$XDG_CACHE_HOME`, `~/.cache` or their equivalent."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    named = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return Path(named) if named else Path.home() / ".cache"


def user_path(given: object, *, name: str) -> Path:
    """Return the path that a user gave as the argument `name`: a text or a Path, in which `~` is the home folder.

    Raise UserError if it is empty, which would be the current folder, or no path.
    """
    if not isinstance(given, str | Path):
        raise UserError(f"{name}: expected the name of a file or folder, got {type(given).__name__} {reprlib.repr(given)}.")
    if not str(given).strip():
        raise UserError(f"{name}: expected the name of a file or folder, got an empty text.")
    return Path(os.path.expanduser(given))


def make_folder(folder: Path) -> None:
    """Make `folder` and the folders above it, if missing. Raise UserError if a file is in the way, else OSError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        in_the_way = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), folder)
        raise UserError(f"{folder}: cannot be made, because {in_the_way} is a file; give the name of a folder") from None


@contextlib.contextmanager
def name_in_errors(path: Path) -> Iterator[None]:
    """Add the file's name to an OSError that has none, such as that of a write that finds the disk full."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Make `path` hold what `write` puts into the binary file it is given, or leave `path` as it was.

    The bytes go to a hidden sibling first, reach the disk, and are then renamed over `path`, so that neither a crash nor a
    full disk leaves half a file under the name that a reader opens. Makes missing parent folders. Raise OSError, and what
    `make_folder` raises.
    """
    make_folder(path.parent)
    hidden = hidden_sibling(path)
    try:
        with name_in_errors(path), hidden.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(hidden, path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise


def hidden_sibling(path: Path) -> Path:
    """Return a free name next to `path`, to write under until everything is there. The user's umask decides who may read it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def remove_hidden_siblings(folder: Path, *, of: str = "", older_than: float = 0.0) -> None:
    """Remove what killed processes were writing in `folder`: hidden siblings, of the file or folder `of` (default: of all).

    If other processes may be writing there, remove only those that are `older_than` so many seconds.
    """
    name = re.compile(rf"\.{re.escape(of) if of else '.+'}\.[0-9a-f]{{8}}")
    for path in folder.glob(".*"):
        with contextlib.suppress(OSError):  # It may be another user's.
            if name.fullmatch(path.name) and time.time() - path.stat().st_mtime >= older_than:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically. Raise ValueError on NaN or infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raise UserError naming the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, got {_kind_of(value)}")
    return value


def read_as(kind: type[T], value: Any, *, path: Path, key: str = "") -> T:
    """Return a JSON value as an instance of `kind`: a dataclass of plain values, or a plain type.

    Object keys that the dataclass does not have are ignored. Raise UserError naming `path` and the key that does not fit.
    """
    result: T = _converted(kind, value, path, key)
    return result


def _converted(kind: Any, value: Any, path: Path, key: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin is types.UnionType:
        return None if value is None else _converted(inner[0], value, path, key)
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        hints, prefix = typing.get_type_hints(kind), f"{key}." if key else ""
        for entry in fields(kind):
            if entry.name not in value and entry.default is MISSING:
                raise UserError(f"{path}: {prefix}{entry.name} is missing; {PUT_BACK}")
        return kind(**{name: _converted(hints[name], value[name], path, prefix + name) for name in hints if name in value})
    if origin is tuple and isinstance(value, list):
        return tuple(_converted(inner[0], item, path, f"{key}[{i}]") for i, item in enumerate(value))
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {name: _converted(inner[1], item, path, f"{key}.{name}") for name, item in value.items()}
    plain = (int, float) if kind is float else kind if isinstance(kind, type) and origin is None else ()
    if isinstance(value, plain) and (kind is bool or not isinstance(value, bool)):
        return value
    name = _KINDS.get({tuple: list, Mapping: dict}.get(origin, origin or kind), "an object")
    raise UserError(f"{path}: {key}: expected {name}, got {_kind_of(value)}; {PUT_BACK}")


_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def _kind_of(value: Any) -> str:
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


def sealed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the SHA-256 over it, by which a change is seen."""
    return {**facts, SEAL: hashlib.sha256(json.dumps(facts).encode()).hexdigest()}


def unsealed(text: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a text if it is as it was sealed, or None. The last line of a killed start may be cut off."""
    try:
        facts = json.loads(text)
        seal = facts.pop(SEAL)
        return facts if sealed(facts)[SEAL] == seal else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
