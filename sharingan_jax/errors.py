"""Exceptions that a user is meant to read, and the words by which they name the program."""

import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path


class UserError(Exception):
    """A request that cannot be met. The message is one line: the setting or file, its value, what is allowed, what to do next.

    The command line prints the message without a traceback and exits with code 2.
    """


class LostProcessError(UserError):
    """Another process of the run has ended. The command line then exits at once: JAX would wait for it, and abort."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP stopped the work, after everything was saved. The same call continues it.

    It is a KeyboardInterrupt, so that it also stops the script or the notebook cell that was running.
    """

    def __init__(self, number: int, *, then: str = "the same command continues from here") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {then}")
        self.exit_code = 128 + number


def command_line() -> str:
    """Return how the program was started, for messages that name a command: `sharingan-jax` or `python main.py`."""
    script = Path(sys.argv[0] if sys.argv else "")
    if script.name == "main.py":
        return "python main.py"
    return "python -m sharingan_jax" if script.parts[-2:] == ("sharingan_jax", "__main__.py") else "sharingan-jax"


def as_command(program: str, arguments: Sequence[str]) -> str:
    """Return a command line as it would be typed: arguments with spaces or brackets are quoted."""
    return " ".join([program, *map(shlex.quote, arguments)])


def without_control(text: str) -> str:
    """Return a message with escapes in place of control characters: a file's names may hold codes that change a terminal."""
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in text)


def shortened(name: str, *, most: int = 100) -> str:
    """Return a name of at most `most` characters: the middle of a long one is left out."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2) + 1 :]}"


def listed(names: Sequence[str], *, most: int = 10) -> str:
    """Return names in a sentence: all of them, or the first `most` and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 run`, `2,000 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def reason_of(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters and without its full stop, or else its type."""
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
