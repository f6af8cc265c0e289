"""Signals to stop, as a question that the training loop asks between chunks, in all of a run's processes together."""

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from sharingan_jax.errors import Stopped

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""The signals that stop a run after saving. SIGHUP is sent when the terminal is lost; Windows has none."""


class StopRequest:
    """While entered, the first signal of STOPS is kept in `signal`; a second SIGINT ends the process at once.

    `agreed` is the signal on which all processes of the run agreed; 0 until then. Python runs a signal's handler only between two
    of its own instructions, so not during a compilation, and only once for several signals. So a thread counts the signals as
    they arrive. In a notebook a second SIGINT interrupts the cell and spares the user's variables. Outside of the main thread
    Python allows no handlers, and no signal is heard.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.agreed = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is not threading.main_thread():
            return self
        arriving, self._tell = os.pipe()
        if sys.platform != "win32":  # There it is neither needed nor, before Python 3.12, possible.
            os.set_blocking(self._tell, False)
        self._thread = threading.Thread(target=_end_at_second_interrupt, args=(arriving,), name="signals", daemon=True)
        self._thread.start()
        for number in STOPS:
            if number != signal.SIGINT and signal.getsignal(number) == signal.SIG_IGN:
                continue  # `nohup` has it ignored, so that the run outlives the terminal.
            self._before[number] = signal.signal(number, self._keep)
        self._wakeup_before = signal.set_wakeup_fd(self._tell, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._before:
            return
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._tell)
        self._thread.join()

    def _keep(self, number: int, _: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT and _in_a_session():
            raise KeyboardInterrupt
        self.signal = self.signal or signal.Signals(number)


def _end_at_second_interrupt(arriving: int) -> None:
    """Read the numbers of signals, a byte each, until the other end is closed."""
    with open(arriving, "rb", buffering=0) as numbers:
        interrupts = 0
        while number := numbers.read(1):
            interrupts += number[0] == signal.SIGINT
            if interrupts == 2 and not _in_a_session():
                os._exit(128 + signal.SIGINT)  # Orbax leaves an unfinished checkpoint under a name that no reader opens.


def _in_a_session() -> bool:
    """Return whether a notebook or a Python prompt would lose its variables with the process."""
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules


def _signal_soon(number: int) -> None:
    """Send the main thread a signal in a moment, when it does something else than now."""

    def send() -> None:
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, number)  # Wakes it if it sleeps.
        else:
            _thread.interrupt_main(signal.Signals(number))

    timer = threading.Timer(0.05, send)
    timer.daemon = True
    timer.start()


@contextlib.contextmanager
def interrupts_between_imports() -> Iterator[None]:
    """While entered, signals of STOPS are exceptions, and those during an import are acted on when the import is done.

    An exception in the middle of an import is swallowed by some packages, and leaves others half initialised. Without one,
    SIGTERM and SIGHUP would end the process before it has removed its unfinished files. Does nothing outside of the main thread;
    a signal that is ignored or handled in another way stays so.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                _signal_soon(number)
                return
            frame = frame.f_back
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Stopped(number, then="everything saved so far is intact")

    def raise_again(lost: Any) -> None:
        """Python calls this for an exception in a finalizer or a callback, where nobody can hear it."""
        if isinstance(lost.exc_value, Stopped):
            _signal_soon(lost.exc_value.exit_code - 128)
        elif isinstance(lost.exc_value, KeyboardInterrupt):
            _signal_soon(signal.SIGINT)
        else:
            hook(lost)

    hook = sys.unraisablehook
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for stop in STOPS:
            if signal.getsignal(stop) in (signal.default_int_handler, signal.SIG_DFL):
                before[stop] = signal.signal(stop, interrupt)
    if before:
        sys.unraisablehook = raise_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for stop, handler in before.items():
            signal.signal(stop, handler)
