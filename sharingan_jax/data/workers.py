"""Call a function many times on all cores, in other processes, and return the results in order.

Not `multiprocessing`: its new processes import the user's script again, which then trains again unless it guards its main part,
and a fork of a process in which JAX runs may hang.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import IO, Any, TypeVar

import numpy as np

from sharingan_jax.errors import UserError

T = TypeVar("T")
A = TypeVar("A")
AHEAD = 2
"""Calls in progress or done for each process, before the first result is taken: they bound the memory."""
PIPE_BYTES = 2**20
"""Linux lets every user have pipes of so many bytes. By default they hold 64 kB."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_processes(function: Callable[[A], T], arguments: Iterable[A], *, processes: int) -> Iterator[T]:
    """Yield `function(argument)` for each argument, in order. With one process, it is called here.

    Function, arguments and results must be ones that `pickle` takes. Raise what the function raises, and UserError if a process
    dies. The processes end with the iterator.
    """
    if processes <= 1:
        yield from map(function, arguments)
        return
    free: SimpleQueue[_Worker] = SimpleQueue()
    with contextlib.ExitStack() as stack:
        for _ in range(processes):
            free.put(stack.enter_context(_Worker()))
        pool = stack.enter_context(ThreadPoolExecutor(processes, "decoder"))
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)

        def call(argument: A) -> T:
            worker = free.get()
            try:
                result: T = worker.call(function, argument)
            finally:
                free.put(worker)
            return result

        waiting: deque[Future[T]] = deque()
        for argument in arguments:
            waiting.append(pool.submit(call, argument))
            if len(waiting) >= AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Worker:
    """Another process that runs `serve`. It ends when this one does, since its input then ends."""

    def __enter__(self) -> "_Worker":
        places = os.pathsep.join(place or os.getcwd() for place in sys.path)
        program = f"from {__name__} import serve; serve()"
        # One thread each: there is a process for each core.
        environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, env=environment)
        for stream in (self._process.stdin, self._process.stdout):
            _widen(stream)
        return self

    def call(self, function: Callable[[A], T], argument: A) -> T:
        """Return `function(argument)`, called in the other process."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            pickle.dump((function, argument), self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            failure: Exception | None
            result: T
            failure, result = _receive(self._process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            code = self._process.wait()
            raise UserError(
                f"a process that decodes images has ended (exit code {code}), perhaps for want of memory. Start again: what it"
                " had decoded into a file is kept"
            ) from None
        if failure is not None:
            raise failure
        return result

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # It holds nothing: what it has read is here, or is read again.
        with self._process:
            pass


def serve() -> None:
    """Answer calls from standard input on standard output until the input ends. Ctrl-C is for the process that asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What a library prints must not become an answer.
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            function, argument = pickle.load(sys.stdin.buffer)
            answer: tuple[Exception | None, Any]
            try:
                answer = None, function(argument)
            except Exception as error:
                answer = error, None
            _send(answer, answers)


def _widen(stream: IO[bytes] | None) -> None:
    """Let a pipe hold PIPE_BYTES where the system allows it, so that its two ends wake each other less often."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # type: ignore[arg-type]


def _send(answer: object, stream: IO[bytes]) -> None:
    """Write an object, and after it the bytes of its arrays, which `pickle` would copy."""
    arrays: list[pickle.PickleBuffer] = []
    packed = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=arrays.append)
    contents = [array.raw() for array in arrays]
    pickle.dump((packed, [content.nbytes for content in contents]), stream, protocol=pickle.HIGHEST_PROTOCOL)
    for content in contents:
        stream.write(content)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    """Read what `_send` wrote. Raise EOFError if the stream ends before."""
    packed, sizes = pickle.load(stream)
    contents = [np.empty(size, np.uint8) for size in sizes]
    for content in contents:
        if stream.readinto(content.data) < content.nbytes:  # type: ignore[attr-defined]
            raise EOFError
    return pickle.loads(packed, buffers=contents)
