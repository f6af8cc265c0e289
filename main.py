"""SharinGAN in JAX. `python main.py --config configs/default.py` trains; `python main.py --help` tells the rest."""

import errno
import importlib
import sys

COMMANDS = {
    "train": "train",
    "sample": "sample",
    "export": "export",
    "import": "import_weights",
    "diff": "diff",
    "verify": "verify",
}
"""Each command's module in `sharingan_jax.commands`."""
WRITABLE = "; give a folder that may be written to"
NEXT: dict[int | None, str] = {
    errno.ENOSPC: "; make room on the disk, and the same command goes on from what was saved",
    errno.EROFS: WRITABLE,
    errno.EACCES: WRITABLE,
}
"""What to do next where the system's own words do not say it."""


def main(arguments: list[str]) -> int:
    """Runs the named command, `train` where none is; returns the process's exit code."""
    name, rest = "train", arguments
    if arguments and not arguments[0].startswith("-"):
        name, rest = arguments[0], arguments[1:]
    from sharingan_jax.devices.environment import pin_jax
    from sharingan_jax.errors import Stopped, UserError

    pin_jax()
    try:
        if name not in COMMANDS:
            raise UserError(f"there is no command {name!r}; there are: {', '.join(COMMANDS)}")
        command = importlib.import_module(f"sharingan_jax.commands.{COMMANDS[name]}")
        code: int = command.run(rest)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # A full disk or a folder that may not be written: the system's own words name the file.
        print(f"error: {error}{NEXT.get(error.errno, '')}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(stopped)
        return stopped.exit_code
    except KeyboardInterrupt:
        print("interrupted; what was saved is whole", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
