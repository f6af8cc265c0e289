"""Compiled programs kept from one start to the next: JAX writes and reads them; this gives it a folder and keeps it whole."""

import atexit
import contextlib
import hashlib
import json
import os
import platform
import re
import sys
import zlib
from pathlib import Path

from sharingan_jax.devices.environment import describe_processor, host_threads
from sharingan_jax.errors import UserError
from sharingan_jax.files import cache_folder, read_json, write_json

LARGEST = 2**30  # Bytes that the kept programs may take; those unused for longest are removed first.
WHOLE = "whole.json"
ZSTANDARD = b"\x28\xb5\x2f\xfd"  # The first bytes of a Zstandard file.


def keep_compiled() -> None:
    """Have JAX keep what it compiles in the user's cache folder. Call it before JAX compiles, with the threads pinned.

    A folder that `JAX_COMPILATION_CACHE_DIR` or `jax.config` names is left to JAX. `JAX_ENABLE_COMPILATION_CACHE=false` turns
    it off.
    Nothing is kept if the folder cannot be made, or is another user's, whose programs would run here.
    """
    jax = sys.modules.get("jax")
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or (jax and jax.config.jax_compilation_cache_dir):
        return
    # JAX's own key lacks the processor, whose instructions a program may use, and the number of threads it was made for.
    conditions = json.dumps([platform.machine(), describe_processor(), host_threads()])
    folder = cache_folder() / "sharingan_jax" / f"compiled-{hashlib.sha256(conditions.encode()).hexdigest()[:12]}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            return
        tidy(folder)
    except OSError:
        return
    atexit.register(_list_new, folder)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    seconds = os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    if jax:  # It has read the environment already.
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", float(seconds))


def tidy(folder: Path, *, largest: int = LARGEST) -> None:
    """Remove incomplete programs, and those unused for longest beyond `largest` bytes. Raise OSError.

    JAX writes them in place, so a kill or a full disk leaves an incomplete file, and JAX would warn at every start. Whole
    programs are listed by name with size, time and SHA-256, and are read again only if size or time have changed. A file with
    other bytes than listed is another program's, and is removed too.
    """
    try:
        listed = read_json(folder / WHOLE)
        known = {name: entry for name, entry in listed.items() if isinstance(entry, list) and len(entry) == 3}
    except UserError:
        known = {}
    used = {path: max(path.stat().st_atime, path.stat().st_mtime) for path in folder.glob("*-cache")}
    whole, room = {}, largest
    for path in sorted(used, key=lambda path: used[path], reverse=True):
        status, entry = path.stat(), known.get(path.name)
        room -= status.st_size
        if room >= 0 and entry and entry[:2] == [status.st_size, status.st_mtime_ns]:
            whole[path.name] = entry
            continue
        content = path.read_bytes() if room >= 0 else b""
        sha256 = hashlib.sha256(content).hexdigest()
        if room < 0 or not (entry[2] == sha256 if entry else _is_whole(content, path.name)):
            path.unlink(missing_ok=True)
        else:
            whole[path.name] = [status.st_size, status.st_mtime_ns, sha256]
    if whole != known:
        write_json(folder / WHOLE, whole)


def _list_new(folder: Path) -> None:
    """List what this start has compiled, so that the next one knows these programs by their bytes."""
    with contextlib.suppress(OSError):
        tidy(folder)


def _is_whole(compressed: bytes, name: str) -> bool:
    """Return whether a file that JAX compressed, with Zstandard or zlib, can be decompressed, and holds the program `name`.

    JAX names a file after the program and a digest of its text. Not every platform's programs contain their names.
    """
    try:
        if compressed.startswith(ZSTANDARD):
            from zstandard import ZstdDecompressor

            content = ZstdDecompressor().decompress(compressed)
        else:
            content = zlib.decompress(compressed)
    except ImportError:
        return True  # The JAX of another Python wrote it. This one does not read it.
    except Exception:  # zlib.error, or zstandard's own.
        return False
    named = set(re.findall(rb"\bjit_\w+", content))
    return not named or name.rpartition("-cache")[0].rpartition("-")[0].encode() in named
