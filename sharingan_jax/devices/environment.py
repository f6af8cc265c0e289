"""What decides a run's roundings beside its settings and pictures: versions, compiler flags, host threads, this code's commit."""

import importlib.util
import os
import pkgutil
import platform
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from sharingan_jax import __version__
from sharingan_jax.config.schema import Config
from sharingan_jax.errors import UserError

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "pillow",
    "tensorflow",
    "tensorflow-datasets",
    "ml-collections",
)
MOST_THREADS = 1024  # As much as train.host_threads may be.
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"  # Also stops autotuning from choosing by timing.
SETTLED = {"JAX_ENABLE_X64": "false", "JAX_THREEFRY_PARTITIONABLE": "true", "JAX_RANDOM_SEED_OFFSET": "0"}
"""JAX's settings from outside that would make other weights and latents of a seed: they are the same in every run."""
UNIMPORTANT = ("CACHE", "PLATFORM", "LOG", "TRACEBACK", "COORDINATOR", "PROCESS")
"""In the names of JAX's variables that change no number, or whose part in a run is noted otherwise."""
THREADS = "NPROC"  # The environment variable by which XLA sizes its thread pool on a CPU; it reads it once, at its start.


def describe_environment() -> dict[str, Any]:
    """All of it, as `manifest.json` keeps it."""
    versions = {"sharingan_jax": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        versions[name] = _version_of(name)
    return {
        "versions": versions,
        "git": _git_state(Path(__file__).parents[2]),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": describe_processor(),
        "byteorder": sys.byteorder,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax_variables": _jax_variables(),
        "host_threads": host_threads(),
    }


def host_threads() -> int:
    """The size of XLA's thread pool on the CPU in this process, which enters a run's roundings there."""
    set_to = os.environ.get(THREADS, "")
    if set_to.isdecimal() and int(set_to) > 0:
        return int(set_to)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def describe_processor() -> dict[str, str]:
    """The processor's name and a digest of what instructions it has: XLA makes other code, with other roundings, for others."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        lines = []
    told = {name.strip().lower(): value.strip() for name, _, value in reversed(lines)}
    instructions = told.get("flags") or told.get("features") or ""
    return {
        "name": told.get("model name") or platform.processor(),
        "instructions": sha256(instructions.encode()).hexdigest()[:12],
    }


def pin_jax() -> None:
    """Puts JAX's settings that a seed's meaning depends on where they belong, whatever the shell has. Before JAX is imported."""
    os.environ.update(SETTLED)


def fix_host_threads(count: int) -> None:
    """Makes XLA's thread pool `count` threads large, also on a machine with fewer or more cores.

    Raises UserError in a process where JAX has been imported already and has, or may have, another number.
    """
    if count == host_threads():
        os.environ[THREADS] = str(count)  # What happened to be the number of cores is now said.
        return
    if "jax" in sys.modules:
        raise UserError(
            f"train.host_threads={count}, and this process has begun with {host_threads()}; start a new one, or set"
            f" {THREADS}={count} before its start"
        )
    os.environ[THREADS] = str(count)


def pin_environment(config: Config, *, recorded: int) -> Config:
    """`config` with train.host_threads as the number this process now has: the one it asks for, else `recorded`, that of the
    run it continues, else as many as there are cores; and with train.deterministic, JAX's GPUs made so. Before JAX is imported.

    Raises what `fix_host_threads` raises.
    """
    count = config.train.host_threads or recorded or host_threads()
    fix_host_threads(count)
    if config.train.deterministic and has_gpu_plugin():
        _add_xla_flag(DETERMINISTIC)
    return replace(config, train=replace(config.train, host_threads=count))


def has_gpu_plugin() -> bool:
    """Whether JAX's support for GPUs is installed; found without importing JAX."""
    spec = importlib.util.find_spec("jax_plugins")
    places = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    return any("cuda" in module.name or "rocm" in module.name for module in pkgutil.iter_modules(list(places)))


def _add_xla_flag(flag: str) -> None:
    """Adds a compiler flag for JAX's start, unless the user has set it one way or the other."""
    flags = os.environ.get("XLA_FLAGS", "")
    if flag.partition("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()


def _jax_variables() -> str:
    """The other variables by which JAX was told something, as `NAME=value`, in order."""
    names = [name for name in os.environ if name.startswith("JAX_") and name not in SETTLED]
    return " ".join(f"{name}={os.environ[name]}" for name in sorted(names) if not any(word in name for word in UNIMPORTANT))


def _version_of(name: str) -> str:
    for distribution in (name, f"{name}-cpu"):  # tensorflow comes under two names.
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"


def _git_state(folder: Path) -> dict[str, Any] | None:
    """The commit that `folder` is checked out at, and whether files differ from it; None where it is no checkout's top."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != folder.resolve():
            return None  # Installed into an environment that lies in somebody else's repository.
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None
