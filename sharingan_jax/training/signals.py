"""Ctrl-C and SIGTERM as a question that the training loop asks between dispatches, in all of a run's processes together."""

import os
import signal
import threading
from types import FrameType
from typing import Any


class StopRequest:
    """While entered, the first SIGINT or SIGTERM is noted in `signal`; a second SIGINT leaves the process at once.

    `agreed` is the signal that ends the run in all its processes, once they know of it; 0 until then. To be entered in the main
    thread. Python calls a handler between two of its own instructions, so not before a compilation has ended, and once for
    signals that came meanwhile: signals are counted by a thread, which hears of each as it comes.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.agreed = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        heard, self._tell = os.pipe()
        os.set_blocking(self._tell, False)
        self._thread = threading.Thread(target=_leave_at_second_interrupt, args=(heard,), name="signals", daemon=True)
        self._thread.start()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        self._told_before = signal.set_wakeup_fd(self._tell, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._told_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._tell)
        self._thread.join()

    @property
    def exit_code(self) -> int:
        """128 + the agreed signal's number, as shells say it; 0 where none came."""
        return 128 + self.agreed if self.agreed else 0

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number)


def _leave_at_second_interrupt(heard: int) -> None:
    """Reads the numbers of signals, a byte each, until the other end is closed."""
    with open(heard, "rb", buffering=0) as numbers:
        interrupts = 0
        while number := numbers.read(1):
            interrupts += number[0] == signal.SIGINT
            if interrupts == 2:
                os._exit(128 + signal.SIGINT)  # Orbax leaves an unfinished checkpoint under a name that no reader opens.
