"""Command lines: argparse for a command's own flags, and `--config.any.key=value` beside them."""

import argparse
import contextlib
import difflib
from collections.abc import Iterator
from typing import NoReturn

from sharingan_jax.devices.processes import Processes, join, started_together, stay_alone
from sharingan_jax.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse that raises UserError for `main` to print, and never guesses at shortened flags."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")

    def parse(self, arguments: list[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
        """The command's flags, and the overrides `(dotted key, text)` in the order given."""
        flags, rest = self.parse_known_args(arguments)
        if getattr(flags, "unused", None) is not None:  # --help's placeholder, typed as it stands there.
            raise UserError("--config.KEY: put a setting's name for KEY, such as --config.train.steps=400")
        overrides = []
        while rest:
            word = rest.pop(0)
            if not word.startswith("--config."):
                self._refuse(word)
            key, equals, text = word.removeprefix("--config.").partition("=")
            if not equals:
                if not rest or rest[0].startswith("--"):
                    raise UserError(f"{word} needs a value: {word}=VALUE")
                text = rest.pop(0)
            overrides.append((key, text))
        return flags, overrides

    def _refuse(self, word: str) -> NoReturn:
        known = [option for action in self._actions for option in action.option_strings]
        nearest = difflib.get_close_matches(word.partition("=")[0], known, n=1, cutoff=0.7)
        hint = f"did you mean {nearest[0]}?" if nearest else f"see {self.prog} --help"
        raise UserError(f"{word} is not an argument of {self.prog}; {hint}")


def add_process_flags(parser: Parser) -> None:
    """The flags by which one of several processes says which it is."""
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="of several processes: where the first one is to be found")
    parser.add_argument("--processes", type=int, metavar="N", help="how many there are; default: as many as the launcher says")
    parser.add_argument("--process", type=int, metavar="I", help="which this one is, from 0")


def join_processes(flags: argparse.Namespace) -> Processes:
    """Meets the other processes where flags or a launcher tell of some. Raises UserError where what is told makes no sense."""
    given = {"--coordinator": flags.coordinator, "--processes": flags.processes, "--process": flags.process}
    if all(value is None for value in given.values()):
        return join(coordinator=None, count=None, index=None) if started_together() else stay_alone()
    missing = [flag for flag, value in given.items() if value is None]
    if missing:
        raise UserError(f"{', '.join(missing)} missing: of several processes each is given --coordinator, --processes, --process")
    host, _, port = flags.coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"--coordinator={flags.coordinator} is to be the first process's HOST:PORT, such as 10.0.0.1:1234")
    if flags.processes < 1 or not 0 <= flags.process < flags.processes:
        raise UserError(
            f"--process={flags.process} with --processes={flags.processes}: they are numbered from 0 to {flags.processes - 1}"
        )
    return join(coordinator=flags.coordinator, count=flags.processes, index=flags.process)


@contextlib.contextmanager
def lost_processes_told(processes: Processes) -> Iterator[None]:
    """Raises UserError for what JAX raises where another process of the run has ended without a word to this one."""
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
