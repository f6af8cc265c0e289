"""Several processes as one run: how they find each other, what they agree on, and what only the first of them does."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sharingan_jax.errors import UserError

Facts = dict[str, Any]
LAUNCHED = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
"""Environment variables that Slurm's srun and Open MPI's mpirun set to how many processes they started."""
WAIT_FOR_ALL = 300  # Seconds until all processes must have begun.
WAIT_AT_END = 30  # Seconds that a process that ends waits for the others to end.
SILENT_FOR = 60  # Seconds without a sign of life after which a process is taken for dead, and the others end.


@dataclass(frozen=True)
class Processes:
    """This process's number, and how many a run has. The first one (0) is the only one that reads or writes the run's folder."""

    index: int = 0
    count: int = 1

    @property
    def is_primary(self) -> bool:
        return self.index == 0

    def on_primary(self, action: Callable[[], object]) -> None:
        """Does `action` in the first process; returns, or raises what it raised (elsewhere as UserError), in all of them.

        Every process has to call it at the same place of the run.
        """

        def without_a_result() -> bytes:
            action()
            return b""

        self.bytes_from_primary(without_a_result)

    def bytes_from_primary(self, action: Callable[[], bytes]) -> bytes:
        """What `action` returns in the first process, in all of them; raises as `on_primary` does."""
        if self.count == 1:
            return action()
        failure: Exception | None = None
        result = b""
        if self.is_primary:
            try:
                result = b"+" + action()
            except Exception as error:  # Whatever it is, the others must not wait for what will not come.
                failure, result = error, b"-" + str(error).encode()
        result = _broadcast(result)
        if failure:
            raise failure
        if result[:1] == b"-":
            raise UserError(f"the first process stopped: {result[1:].decode()}")
        return result[1:]

    def check_alike(self, describe: Callable[[], Facts], differences: Callable[[Facts, Facts], list[str]]) -> None:
        """Raises UserError in all processes where one of them describes itself otherwise than the first; that one names what.

        What `describe` returns can be JSON; `differences` tells what of two such is different, as `name: first | second`.
        """
        if self.count == 1:
            return
        own = json.dumps(describe())
        firsts = self.bytes_from_primary(own.encode)
        found = differences(json.loads(firsts), json.loads(own))
        others = [index for index, differs in enumerate(_gather(bool(found))) if differs]
        if found:
            raise UserError(f"process {self.index} is not as the first one (first | here): {'; '.join(found)}")
        if others:
            raise UserError(f"process {others[0]} has other settings, pictures or versions than the first; it has said which")


ALONE = Processes()


def started_together() -> bool:
    """Whether a launcher says that this process is one of several: Slurm, Open MPI, or a TPU slice of several hosts.

    A single host has some of these variables too, with one name or a 1 in them, and is one process.
    """
    counted = any(os.environ.get(name, "").isdecimal() and int(os.environ[name]) > 1 for name in LAUNCHED)
    return counted or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def stay_alone() -> Processes:
    """This process by itself. Raises UserError where JAX's devices are those of several, as on a TPU slice of several hosts."""
    import jax

    if jax.process_count() > 1:
        raise UserError(
            f"the devices here belong to {jax.process_count()} processes, and nothing told this one of the others; give each"
            f" --coordinator=HOST:PORT of the first, --processes={jax.process_count()} and its own --process=I, from 0"
        )
    return ALONE


def join(*, coordinator: str | None, count: int | None, index: int | None) -> Processes:
    """Meets the other processes, before JAX has looked for devices; returns which of how many this one is.

    `coordinator` is the first process's `host:port`; what is None is left to JAX to find from the launcher. Raises UserError
    where it cannot, or where not all come within WAIT_FOR_ALL seconds.
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
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"this process could not join the others: {reason}; give each --coordinator=HOST:PORT of the first, --processes=N"
            " and its own --process=I, from 0"
        ) from error
    return Processes(jax.process_index(), jax.process_count())


def _broadcast(of_first: bytes) -> bytes:
    import numpy as np
    from jax.experimental import multihost_utils

    length = int(multihost_utils.broadcast_one_to_all(np.uint32(len(of_first))))
    padded = np.zeros(length, np.uint8)
    padded[: min(len(of_first), length)] = np.frombuffer(of_first, np.uint8)[:length]
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes()


def _gather(value: bool) -> list[bool]:
    import numpy as np
    from jax.experimental import multihost_utils

    return [bool(one) for one in np.asarray(multihost_utils.process_allgather(np.uint8(value))).reshape(-1)]


@contextlib.contextmanager
def report_lost_processes(processes: Processes) -> Iterator[None]:
    """Raise UserError in place of what JAX raises when another process of the run has ended without telling this one."""
    import jax

    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if processes.count == 1:
            raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"another of the {processes.count} processes has ended, and says why: {reason[:200]}; the same command in each"
            " continues from the last checkpoint"
        ) from error
