"""Ctrl-C and SIGTERM as a question that the training loop asks between dispatches, in all of a run's processes together."""

import os
import signal
from types import FrameType
from typing import Any


class StopRequest:
    """While entered, the first SIGINT or SIGTERM is noted in `signal`; a second SIGINT leaves the process at once.

    `agreed` is the signal that ends the run in all its processes, once they know of it; 0 until then.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.agreed = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """128 + the agreed signal's number, as shells say it; 0 where none came."""
        return 128 + self.agreed if self.agreed else 0

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal == signal.SIGINT and number == signal.SIGINT:
            os._exit(128 + number)  # Orbax leaves an unfinished checkpoint under a name that no reader opens.
        self.signal = self.signal or signal.Signals(number)
