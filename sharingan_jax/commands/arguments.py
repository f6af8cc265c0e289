"""Command lines: argparse for a command's own flags, and `--config.any.key=value` for settings."""

import argparse
import difflib
import os
import re
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from sharingan_jax.config.load import is_config
from sharingan_jax.config.parse import read_whole_number
from sharingan_jax.config.schema import KINDS
from sharingan_jax.devices.processes import Processes, join, started_together, stay_alone
from sharingan_jax.errors import UserError, command_line
from sharingan_jax.files import user_path

WIDTH = 80
"""Columns of a help text, on a terminal of any width."""


class Parser(argparse.ArgumentParser):
    """argparse that raises UserError for `main` to print, and takes no abbreviated flags.

    `{prog}` in the description stands for the program as it was started: `sharingan-jax` or `python main.py`.
    """

    def __init__(self, command: str, *, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=f"{command_line()} {command}",
            description=description.replace("{prog}", command_line()),
            epilog=epilog.replace("{prog}", command_line()),
            allow_abbrev=False,
            formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=WIDTH, max_help_position=26),
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. See {self.prog} --help")

    def add_path(
        self, flag: str, *, to: argparse._ActionsContainer | None = None, kind: type[Path | str] = Path, **options: Any
    ) -> None:
        """Add a flag that takes a file or a folder, `to` a group. An empty text is refused; `~` is the home folder.

        With `kind=str` a slash at the end is kept.
        """
        name = f"{flag}=" if flag.startswith("-") else options["metavar"]
        (to or self).add_argument(flag, type=lambda text: _path(name, text, kind), **options)

    def add_whole_number(self, flag: str, **options: Any) -> None:
        """Add a flag that takes a whole number, written as a setting's may be (`1e3`). Another text is refused."""
        self.add_argument(flag, type=lambda text: _whole_number(flag, text), **options)

    def in_flags(self, message: str) -> str:
        """Return a function's error on its arguments as that of the flags: `num=0: ...` becomes `--num=0: ...`.

        A function names an argument at the start of its message, before `=` or `:`; later before `=`, or between backticks.
        """
        flags = {action.dest: action.option_strings[0] for action in self._actions if action.option_strings}
        names = "|".join(map(re.escape, flags))
        named = re.compile(rf"^({names})(?=[=:])|(?<= )({names})(?==)|`({names})`")
        return named.sub(lambda found: flags[found[1] or found[2] or found[3]], message)

    def parse(
        self, arguments: list[str], *, settings_from: str | None = None
    ) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
        """Return the command's flags, and the overrides `(dotted key, text)` in the order given.

        A command that takes its settings from elsewhere says where (`settings_from`): overrides are then refused.
        """
        try:
            flags, rest = self.parse_known_args(arguments)
        except UserError:
            self._check_flags(arguments)  # A misspelled flag explains why another one is missing.
            raise
        if getattr(flags, "unused", None) is not None:  # The placeholder of --help, typed literally.
            raise UserError("--config.KEY: expected a setting's name for KEY, such as --config.train.steps=400")
        overrides = []
        while rest:
            word = rest.pop(0)
            key, equals, text = word.removeprefix("--config.").partition("=")
            if not word.startswith("--config."):
                raise self._unknown(word)
            if settings_from:
                raise UserError(f"--config.{key}: {self.prog} takes its settings from {settings_from}. Remove the flag.")
            if not equals:
                if not rest or rest[0].startswith("--"):
                    raise UserError(f"{word}: expected a value. Write {word}=VALUE")
                text = rest.pop(0)
            overrides.append((key, text))
        return flags, overrides

    def _check_flags(self, arguments: list[str]) -> None:
        """Raise UserError for the first flag that this command does not have."""
        known = {"--", *(option for action in self._actions for option in action.option_strings)}
        for word in arguments:
            if word.startswith("--") and not word.startswith("--config.") and word.partition("=")[0] not in known:
                raise self._unknown(word)

    def _unknown(self, word: str) -> UserError:
        meant = self._meant_by(word)
        hint = f"Did you mean {meant}?" if meant else f"See {self.prog} --help"
        return UserError(f"{word}: not an argument of {self.prog}. {hint}")

    def _meant_by(self, word: str) -> str:
        """Return the nearest argument to one that does not exist: a setting's, a configuration's, or a flag; "" if none is."""
        known = [option for action in self._actions for option in action.option_strings]
        flag = word.partition("=")[0]
        if "--config.KEY" in known and flag.removeprefix("--") in KINDS:
            return f"--config.{flag.removeprefix('--')}"
        if "--config" in known and is_config(word):
            return f"--config {word}"
        return next(iter(difflib.get_close_matches(flag, known, n=1, cutoff=0.7)), "")


def _path(flag: str, text: str, kind: type[Path | str]) -> Path | str:
    path = user_path(text, name=flag)
    return path if kind is Path else os.path.expanduser(text)


def _whole_number(flag: str, text: str) -> int:
    value = read_whole_number(text)
    if value is None:
        raise UserError(f"{flag}={text}: expected a whole number.")
    return value


def add_process_flags(parser: Parser) -> None:
    """Add the flags that tell one of several processes which one it is."""
    group = parser.add_argument_group("several processes that train one run")
    group.add_argument("--coordinator", metavar="HOST:PORT", help="address of process 0")
    group.add_argument("--processes", type=int, metavar="N", help="number of processes; default: what the launcher says")
    group.add_argument("--process", type=int, metavar="I", help="index of this process, from 0")


def join_processes(flags: argparse.Namespace) -> Processes:
    """Join the other processes, if the flags or a launcher name any. Raise UserError if the flags contradict each other."""
    given = {"--coordinator": flags.coordinator, "--processes": flags.processes, "--process": flags.process}
    missing = [flag for flag, value in given.items() if value is None]
    if len(missing) == len(given):
        return join(coordinator=None, count=None, index=None) if started_together() else stay_alone()
    if missing:
        raise UserError(f"{', '.join(missing)}: missing. Give each process --coordinator, --processes and --process.")
    host, _, port = flags.coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"--coordinator={flags.coordinator}: expected HOST:PORT of process 0, such as 10.0.0.1:1234")
    if flags.processes < 1 or not 0 <= flags.process < flags.processes:
        given_numbers = f"--process={flags.process} with --processes={flags.processes}"
        raise UserError(f"{given_numbers}: expected a number from 0 to {flags.processes - 1}")
    return join(coordinator=flags.coordinator, count=flags.processes, index=flags.process)
