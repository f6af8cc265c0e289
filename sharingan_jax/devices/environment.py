"""Pin and describe what decides rounding besides settings and images: versions, compiler flags, host threads, the commit."""

import contextlib
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
from sharingan_jax.errors import UserError, listed, reason_of

JAX_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
PACKAGES = (*JAX_PACKAGES, "numpy", "pillow", "tensorflow", "tensorflow-datasets", "ml-collections")
MAX_THREADS = 1024  # The most that train.host_threads may be.
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"  # Also stops autotuning from choosing by timing.
PINNED = {"JAX_ENABLE_X64": "false", "JAX_THREEFRY_PARTITIONABLE": "true", "JAX_RANDOM_SEED_OFFSET": "0"}
"""Settings of JAX that change the weights and latents of a seed. They are the same in every run, whatever the shell sets."""
BOOLEANS = ("false", "true", "0", "1", "no", "yes", "n", "y", "f", "t", "off", "on")
"""What JAX reads as a truth value, in any case."""
SUPPORTED = {
    "JAX_DISABLE_JIT": ("false", "0"),
    "JAX_NO_EXECUTION": ("false", "0"),
    "JAX_TRANSFER_GUARD": ("allow", "log"),
    "JAX_NUMPY_DTYPE_PROMOTION": ("standard",),
}
"""The values of JAX's debugging variables with which this program works. The others that were tried work with any value."""
PLATFORM_VARIABLES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")
"""Variables in which a user chooses the platform; the second is JAX's older name."""
CHECKED = (
    *PLATFORM_VARIABLES,
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_COMPILATION_CACHE_MAX_SIZE",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
)
"""Variables that take any text, or that are looked at here, or that the tests set: a start with them alone imports JAX later."""
UNIMPORTANT = ("CACHE", "PLATFORM", "LOG", "TRACEBACK", "COORDINATOR", "PROCESS")
"""Words in the names of JAX's variables that change no number, or that are recorded elsewhere."""
LEAST_ADDRESSES = 3 * 10**9
"""Bytes of address space, most of it never used: a small run ends well with 3.07 GB, and JAX aborts with 1.95 GB."""
THREADS = "NPROC"  # XLA sizes its thread pool on a CPU by this environment variable, which it reads once, when it starts.


def describe_environment() -> dict[str, Any]:
    """Return the parts of a manifest's environment that are the same for all runs of this process."""
    return {
        "versions": {
            "sharingan_jax": __version__,
            "python": platform.python_version(),
            **{name: _version_of(name) for name in PACKAGES},
        },
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
    """Return the size of XLA's thread pool on the CPU in this process, which enters a run's rounding there."""
    set_to = os.environ.get(THREADS, "")
    if set_to.isdecimal() and int(set_to) > 0:
        return int(set_to)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_THREADS)


def describe_processor() -> dict[str, str]:
    """Return the processor's name and a digest of its instructions, for which XLA makes different code."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        lines = []
    values = {name.strip().lower(): value.strip() for name, _, value in reversed(lines)}
    instructions = sha256((values.get("flags") or values.get("features") or "").encode()).hexdigest()[:12]
    return {"name": values.get("model name") or platform.processor(), "instructions": instructions}


def pin_jax() -> None:
    """Pin the settings of JAX on which the meaning of a seed depends.

    Raise UserError if JAX has been imported with another value: changing it now would change the caller's own computations.
    Also raise UserError if a variable of JAX asks for a platform that is not installed, or for what cannot work here.
    """
    for name, values in SUPPORTED.items():
        found = os.environ.get(name, "").lower()
        if found and found not in values:
            raise UserError(f"{name}={os.environ[name]}: expected {values[0]}. Unset the variable.")
    for name, pinned in PINNED.items():
        found = os.environ.get(name) or pinned
        if not (found.isdecimal() if name == "JAX_RANDOM_SEED_OFFSET" else found.lower() in BOOLEANS):
            raise UserError(f"{name}={found}: expected {pinned}, which every run sets. Unset the variable.")
    for name in PLATFORM_VARIABLES:
        if wanted := os.environ.get(name, ""):  # Only then does a start wait for the search for plugins.
            _check_platforms(wanted, name)
    _check_variables()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA's own log: what matters in it reaches Python as an exception.
    os.environ.update(PINNED)
    if "jax" not in sys.modules:
        return
    import jax

    for name, value in PINNED.items():
        found = str(getattr(jax.config, name.lower(), value)).lower()
        if found != value:
            raise UserError(
                f"{name.lower()}={found}: expected {value}, as in every run. Start a new process, or call"
                f" jax.config.update({name.lower()!r}, {value.capitalize()}) before training."
            )


def pin_environment(config: Config, *, recorded: int) -> Config:
    """Pin the settings of JAX, the host threads, and on a GPU deterministic operations. Return `config` with the host threads.

    The number of threads is the one that `config` asks for, else `recorded` (of the run that is continued; 0: none), else the
    number of cores. Raise UserError if JAX has started in this process with other values, or if the system gives it too little
    address space.
    """
    _check_address_space()
    pin_jax()
    count = config.train.host_threads or recorded or host_threads()
    if count != host_threads() and _jax_has_started():
        raise UserError(
            f"train.host_threads={count}, but JAX has started in this process with {host_threads()}. Start a new process, or set"
            f" the environment variable {THREADS}={count} before its start."
        )
    os.environ[THREADS] = str(count)
    if config.train.deterministic and has_gpu_plugin():
        flags = os.environ.get("XLA_FLAGS", "")
        if DETERMINISTIC.partition("=")[0] not in flags:  # If it is there, the user has set it.
            if _jax_has_started():
                raise UserError(
                    f"train.deterministic=True, but JAX has started in this process without {DETERMINISTIC}. Start a new process"
                    " and train before other code uses JAX, or set train.deterministic=False."
                )
            os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISTIC}".strip()
    return replace(config, train=replace(config.train, host_threads=count))


def _check_address_space() -> None:
    """Raise UserError if the system limits this process's addresses so much that JAX would abort in C++."""
    with contextlib.suppress(ImportError):  # Windows has no such limits.
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESSES:
            raise UserError(
                f"this process may use {limit / 1e9:.1f} GB of addresses (ulimit -v), expected at least"
                f" {LEAST_ADDRESSES / 1e9:.0f} GB, which JAX reserves. Raise the limit."
            )


def has_gpu_plugin() -> bool:
    """Return whether JAX's support for GPUs is installed, without importing JAX."""
    return any("cuda" in name or "rocm" in name for name in _plugins())


def _plugins() -> list[str]:
    """Return the names of JAX's installed plugins for other platforms than the CPU."""
    spec = importlib.util.find_spec("jax_plugins")
    places = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    entries = [entry.name for entry in metadata.entry_points(group="jax_plugins")]
    return [*entries, *(module.name for module in pkgutil.iter_modules(list(places)))]


def _check_variables() -> None:
    """Raise UserError if JAX does not take the value of a variable: it reads them all when it is imported, one by one."""
    names = [name for name in os.environ if name.startswith("JAX_") and name not in (*SUPPORTED, *PINNED, *CHECKED)]
    if not names or "jax" in sys.modules:
        return
    try:
        import jax  # noqa: F401
    except ValueError as error:
        found = f"expected values that JAX takes, got: {reason_of(error)}"
        raise UserError(f"{listed(names)}: {found}. Unset the variable.") from None
    except ImportError:
        pass  # --help and --version do without it.


def _check_platforms(wanted: str, variable: str) -> None:
    """Raise UserError if `JAX_PLATFORMS` names a platform that is not installed. JAX itself would end in a traceback."""
    plugins = _plugins()
    installed = [
        "cpu",
        *(["gpu"] if has_gpu_plugin() else []),
        *(["tpu"] if importlib.util.find_spec("libtpu") else []),
        *plugins,
    ]
    for name in filter(None, wanted.lower().split(",")):
        if name not in installed and not any(name in plugin for plugin in plugins):
            extra = {"gpu": "cuda", "cuda": "cuda", "tpu": "tpu"}.get(name)
            expected = f"expected platforms that are installed ({', '.join(dict.fromkeys(installed))}), got {name}"
            remedy = f"Install the extra `{extra}`, or unset" if extra else "Unset"
            raise UserError(f"{variable}={wanted}: {expected}. {remedy} the variable.")


def _jax_has_started() -> bool:
    """Return whether JAX has looked for devices, after which threads and compiler flags are fixed."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bool(bridge.backends_are_initialized())


def _jax_variables() -> str:
    """Return the other variables that change JAX's settings, as `NAME=value`, in order."""
    names = sorted(name for name in os.environ if name.startswith("JAX_") and name not in PINNED)
    return " ".join(f"{name}={os.environ[name]}" for name in names if not any(word in name for word in UNIMPORTANT))


def _version_of(name: str) -> str:
    for distribution in (name, f"{name}-cpu"):  # TensorFlow has two names.
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"


def _git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit of the checkout `folder`, and whether files differ from it; None if it is not the top of a checkout."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != folder.resolve():
            return None  # Installed into an environment that lies in another repository.
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None
