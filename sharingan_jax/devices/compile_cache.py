"""Compiled programs kept from one start to the next: JAX writes and reads them, this finds them a folder and keeps it whole."""

import hashlib
import json
import os
import platform
import sys
import zlib
from pathlib import Path

from sharingan_jax.devices.environment import describe_processor, host_threads
from sharingan_jax.files import write_json

LARGEST = 2**30  # Bytes that the kept programs may take; those not used for longest go first.
WHOLE = "whole.json"
ZSTANDARD = b"\x28\xb5\x2f\xfd"  # What such a file begins with.


def keep_compiled() -> None:
    """Has JAX keep what it compiles in the user's cache folder. To be called before JAX is imported, with the threads settled.

    `JAX_COMPILATION_CACHE_DIR` names another folder, which is then left to JAX, and `JAX_ENABLE_COMPILATION_CACHE=false`
    turns it off. Where the folder cannot be had, or is another user's, whose programs would run here, nothing is kept.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = cache_folder() / "sharingan_jax" / f"compiled-{_conditions()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            return
        tidy(folder)
    except OSError:
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def cache_folder() -> Path:
    """Where this system keeps what can be made again: `$XDG_CACHE_HOME` or `~/.cache`, and its likes elsewhere."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or os.path.expanduser("~"))
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches"))
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))


def tidy(folder: Path, *, largest: int = LARGEST) -> None:
    """Removes programs that are not whole, and the ones longest unused beyond `largest` bytes. Raises OSError.

    JAX writes them in place, so that a kill or a full disk leaves half of one, of which it would warn at every start from
    then on. What was found whole is noted by name and size, and not read again.
    """
    try:
        noted = json.loads((folder / WHOLE).read_text())
    except (OSError, ValueError):
        noted = {}
    whole, room = {}, largest
    for path in sorted(folder.glob("*-cache"), key=_last_used, reverse=True):
        size = path.stat().st_size
        room -= size
        if room < 0 or (noted.get(path.name) != size and not _is_whole(path.read_bytes())):
            path.unlink(missing_ok=True)
        else:
            whole[path.name] = size
    if whole != noted:
        write_json(folder / WHOLE, whole)


def _last_used(path: Path) -> float:
    return max(path.stat().st_atime, path.stat().st_mtime)


def _is_whole(compressed: bytes) -> bool:
    """Whether what JAX compressed, with either of the two it takes, can be had back."""
    if not compressed.startswith(ZSTANDARD):
        try:
            zlib.decompress(compressed)
        except zlib.error:
            return False
        return True
    try:
        from zstandard import ZstdDecompressor, ZstdError
    except ImportError:
        return True  # Another Python's JAX wrote it, and this one finds its own.
    try:
        ZstdDecompressor().decompress(compressed)
    except ZstdError:
        return False
    return True


def _conditions() -> str:
    """Names what JAX's own key lacks: the processor, whose instructions a program may use, and the threads it was made for."""
    said = json.dumps([platform.machine(), describe_processor(), host_threads()])
    return hashlib.sha256(said.encode()).hexdigest()[:12]
