"""Several processes as one run: how they find each other, what they agree on, and what only the primary one does."""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sharingan_jax.errors import LostProcessError, UserError, reason_of

LAUNCHED = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
"""Environment variables in which Slurm's srun and Open MPI's mpirun give the number of processes that they started."""
WAIT_FOR_ALL = 300  # Seconds until all processes must have started.
WAIT_AT_END = 30  # Seconds that a process waits at its end for the others.
SILENT_FOR = 60  # Seconds without a sign of life after which a process counts as dead, and the others end.
JAX_LOG = "TF_CPP_MIN_LOG_LEVEL"
SILENT = "4"  # Above "fatal", which JAX writes before it ends a process that has lost process 0.
KEPT: list[Any] = []  # C holds pointers to these handlers; Python must not collect them.
ENDED = "The same command in each continues from the last checkpoint."
FLAGS = "--coordinator=HOST:PORT of process 0, --processes=N and its own --process=I, from 0"


@dataclass(frozen=True)
class Processes:
    """This process's index among the `count` processes of a run. Only the primary one (0) reads or writes the run's folder.

    All processes must call each method, at the same place of the run.
    """

    index: int = 0
    count: int = 1

    @property
    def is_primary(self) -> bool:
        return self.index == 0

    def on_primary(self, action: Callable[[], bytes | None]) -> bytes:
        """Run `action` in the primary process, and return in all of them what it returned (None as no bytes).

        Raise what `action` raised, in the other processes as UserError.
        """
        if self.count == 1:
            return action() or b""
        failure: Exception | None = None
        answer = b""
        if self.is_primary:
            try:
                answer = b"+" + (action() or b"")
            except Exception as error:  # Of any kind: the other processes are waiting for an answer.
                failure, answer = error, b"-" + str(error).encode()
        answer = _broadcast(answer)
        if failure:
            raise failure
        if answer.startswith(b"-"):
            raise UserError(f"the primary process stopped: {answer[1:].decode()}")
        return answer[1:]

    def check_alike(self, describe: Callable[[], Any], differences: Callable[[Any, Any], list[str]]) -> None:
        """Raise UserError in all processes if one of them differs from the primary one; that one lists the differences.

        `describe` returns what JSON can hold; `differences` compares two of these, as lines `name: first | here`.
        """
        if self.count == 1:
            return
        import numpy as np
        from jax.experimental import multihost_utils

        own = json.dumps(describe())
        found = differences(json.loads(self.on_primary(own.encode)), json.loads(own))
        differs = np.asarray(multihost_utils.process_allgather(np.uint8(bool(found)))).reshape(-1)
        if found:
            raise UserError(f"process {self.index} differs from process 0 (process 0 | here): {'; '.join(found)}")
        if differs.any():
            raise UserError(
                f"process {differs.argmax()} has other settings, images or versions than the first; it has listed them"
            )


ALONE = Processes()


def started_together() -> bool:
    """Return whether a launcher started this process as one of several: Slurm, Open MPI, or a TPU slice of several hosts.

    A single host has some of these variables too, with one name or a 1 in them.
    """
    counted = any(os.environ.get(name, "").isdecimal() and int(os.environ[name]) > 1 for name in LAUNCHED)
    return counted or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def stay_alone() -> Processes:
    """Return this process as a whole run. Raise UserError if JAX's devices belong to several, as on a slice of several hosts."""
    import jax

    if jax.process_count() > 1:
        raise UserError(f"the devices here belong to {jax.process_count()} processes. Give each {FLAGS}.")
    return ALONE


def quiet_jax() -> None:
    """Keep JAX from writing its own report when process 0 is lost. `join` sees to one line in its place.

    This must come before JAX is imported. A user who has set TF_CPP_MIN_LOG_LEVEL to see more still does.
    """
    if os.environ.get(JAX_LOG, "3") == "3":
        os.environ[JAX_LOG] = SILENT


def join(*, coordinator: str | None, count: int | None, index: int | None) -> Processes:
    """Meet the other processes before JAX looks for devices. Return this one's index, and their number.

    `coordinator` is the primary process's `host:port`; JAX takes from the launcher what is None. Raise UserError if it cannot,
    or if not all have come within WAIT_FOR_ALL seconds.
    """
    import jax

    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            initialization_timeout=WAIT_FOR_ALL,
            heartbeat_timeout_seconds=SILENT_FOR,
            shutdown_timeout_seconds=WAIT_AT_END,
        )
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"this process could not join the others: {reason_of(error)}. Give each {FLAGS}.") from error
    processes = Processes(jax.process_index(), jax.process_count())
    if processes.count > 1:
        with _without_output():
            _meet()
        _end_in_one_line(processes)
    return processes


def _meet() -> None:
    """Exchange something as messages do, and something as a step does. At the first of each kind Gloo prints how it connects."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    _broadcast(b"")
    mesh = Mesh(np.asarray(jax.devices()), ("data",))
    sizes = np.ones(mesh.size, np.float32)
    spread = jax.make_array_from_callback(sizes.shape, NamedSharding(mesh, PartitionSpec("data")), lambda index: sizes[index])
    jax.block_until_ready(jax.jit(jax.numpy.sum, out_shardings=NamedSharding(mesh, PartitionSpec()))(spread))


@contextlib.contextmanager
def _without_output() -> Iterator[None]:
    """Let nothing reach the process's standard output, not even from a library that bypasses Python."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _end_in_one_line(processes: Processes) -> None:
    """When JAX aborts this process, because process 0 has died, write one line and exit with code 2.

    JAX calls C's abort() in a thread of its own. Python's signal handlers would come too late, so this one is C's.
    The main thread gets a second to end in its own way: in an exchange with process 0 it has seen the same.
    """
    line = (
        f"error: process 0 of {processes.count} has most likely ended; its output says why. JAX has aborted this one"
        f" ({JAX_LOG}=0 shows its reasons). {ENDED}\n"
    )

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def end(number: int) -> None:
        time.sleep(1)
        os.write(2, line.encode())
        os._exit(2)

    KEPT.append(end)
    ctypes.CDLL(None).signal(signal.SIGABRT, end)


def _broadcast(of_primary: bytes) -> bytes:
    import numpy as np
    from jax.experimental import multihost_utils

    length = int(multihost_utils.broadcast_one_to_all(np.uint32(len(of_primary))))
    padded = np.zeros(length, np.uint8)
    padded[: min(len(of_primary), length)] = np.frombuffer(of_primary, np.uint8)[:length]
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes()


@contextlib.contextmanager
def report_lost_processes(processes: Processes) -> Iterator[None]:
    """Raise LostProcessError in place of JAX's error when another process of the run has died."""
    import jax

    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if processes.count == 1 or (isinstance(error, ValueError) and "Gloo" not in str(error)):
            raise
        raise LostProcessError(
            f"another of the {processes.count} processes has ended; its output says why. JAX reports here: {reason_of(error)}."
            f" {ENDED}"
        ) from error
