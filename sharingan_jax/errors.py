"""Exceptions that a user is meant to read, and the words by which they name the program."""

import sys
from pathlib import Path


class UserError(Exception):
    """A request that cannot be met. The message is one line: the setting or file, its value, what is allowed, what to do next.

    The command line prints the message without a traceback and exits with code 2.
    """


class Stopped(KeyboardInterrupt):
    """A run that a signal stopped after it was saved. `exit_code` is 128 plus the signal's number."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"stopped by signal {exit_code - 128}; the run is saved")
        self.exit_code = exit_code


def command_line() -> str:
    """Return how the program was started, for messages that name a command: `sharingan-jax` or `python main.py`."""
    script = Path(sys.argv[0] if sys.argv else "")
    if script.name == "main.py":
        return "python main.py"
    return "python -m sharingan_jax" if script.parts[-2:] == ("sharingan_jax", "__main__.py") else "sharingan-jax"
