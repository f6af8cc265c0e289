"""The command line: `sharingan-jax COMMAND`, `python -m sharingan_jax COMMAND` or `python main.py COMMAND`."""

import contextlib
import difflib
import errno
import importlib
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import sharingan_jax
from sharingan_jax.errors import LostProcessError, Stopped, UserError, command_line, reason_of, without_control
from sharingan_jax.reporting.output import lasting
from sharingan_jax.training.signals import interrupts_between_imports

COMMANDS = {
    "train": ("train", "train a configuration, or continue a run"),
    "data": ("data", "look at images before training: duplicates, colours, advice"),
    "sample": ("sample", "draw images from a trained run"),
    "project": ("project", "find the latents of real images, and how near they come"),
    "evaluate": ("evaluate", "measure quality, diversity and copying, next to controls"),
    "compare": ("compare", "train configurations over paired seeds and report"),
    "report": ("report", "make the report of runs that exist"),
    "export": ("export", "write PyTorch weights, a replay kit or a portable sampler"),
    "import": ("import_weights", "start a run from PyTorch weights"),
    "verify": ("verify", "repeat a run and check that it is bitwise identical"),
    "diff": ("diff", "show what differs between two runs"),
    "configs": ("configs", "list the configurations, with their length"),
    "runs": ("runs", "list the runs below a folder, with their state"),
}
"""Each command's module in `sharingan_jax.commands`, and what it does."""

OVERVIEW = """\
usage: {prog} COMMAND ...

{description}

commands:
{commands}

Without a command, flags go to train. Start here:
  {prog} --config quick
  {prog} COMMAND --help
  {prog} --version
"""

WRITABLE = "; give a folder that may be written to"
NEXT: dict[int | None, str] = {
    errno.ENOSPC: "; make room on the disk, and the same command continues from the last checkpoint",
    errno.EROFS: WRITABLE,
    errno.EACCES: WRITABLE,
}
"""What to do next, if the system's own words do not say it."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command, `train` if the first word is a flag, and return the exit code of the process."""
    words = sys.argv[1:] if arguments is None else arguments
    _open_standard_files()
    out, err = lasting(sys.stdout), lasting(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), interrupts_between_imports():
        code = exit_code(lambda: _run(words))
        out.flush()  # Here a reader who has left is no error; when the interpreter ends it would be.
        err.flush()
    return code


def _run(words: list[str]) -> int:
    from sharingan_jax.devices.environment import pin_jax

    pin_jax()
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(f"sharingan-jax {sharingan_jax.__version__}")
        return 0
    name, rest = ("train", words) if words[0].startswith("-") else (words[0], words[1:])
    if name not in COMMANDS:
        from sharingan_jax.config.load import is_config  # Not at every start: this one ends here.

        nearest = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.6)
        nearest = [f"--config {name}"] if is_config(name) else nearest
        meant = f"Did you mean {nearest[0]}? " if nearest else ""
        raise UserError(f"{name}: no such command. {meant}Choose one of {', '.join(COMMANDS)}.")
    command = importlib.import_module(f"sharingan_jax.commands.{COMMANDS[name][0]}")
    try:
        return int(command.run(rest))
    except UserError as error:
        error.args = (command.make_parser().in_flags(str(error)),)
        raise


def exit_code(work: Callable[[], int]) -> int:
    """Do the work of a command and return its exit code. An error that the user can mend is printed as one line."""
    try:
        return work()
    except UserError as error:
        print(f"error: {without_control(str(error))}", file=sys.stderr)
        if isinstance(error, LostProcessError):
            _leave(2)
        return 2
    except OSError as error:  # A full disk or a folder that may not be written: the system's own words name the file.
        print(f"error: {without_control(str(error))}{NEXT.get(error.errno, '')}", file=sys.stderr)
        return 2
    except (ImportError, MemoryError, RuntimeError) as error:
        line = _machine_trouble(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        if str(stopped):
            print(stopped)
        return stopped.exit_code
    except KeyboardInterrupt:
        print("interrupted; everything saved so far is intact", file=sys.stderr)
        _leave(130)


def _leave(code: int) -> NoReturn:
    """End the process at once: threads of XLA may still compute or wait, and have crashed when Python closed around them."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _machine_trouble(error: Exception) -> str | None:
    """Return one line for what is missing on this machine; None for an error of another kind."""
    words = str(error)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("sharingan_jax"):
        return f"the package {error.name.partition('.')[0]} is not installed. Run: pip install -r requirements.txt"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in words:
        return "there is not enough memory. Use smaller networks, fewer images, or a machine with more memory"
    if "can't start new thread" in words:
        return "the system allows no more threads. Raise its limit (ulimit -u), or stop other programs"
    if "Unable to initialize backend" in words:
        return f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}: {reason_of(error)}. Unset the variable"
    return None


def _open_standard_files() -> None:
    """Open those of the files 0, 1 and 2 that the process started without, so that no other file becomes its output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It gets the lowest free number.


def overview() -> str:
    """Return the list of commands."""
    commands = "\n".join(f"  {name:<9}{purpose}" for name, (_, purpose) in COMMANDS.items())
    return OVERVIEW.format(prog=command_line(), description=sharingan_jax.__doc__, commands=commands).rstrip()


if __name__ == "__main__":
    sys.exit(main())
