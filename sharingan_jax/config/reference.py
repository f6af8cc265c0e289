"""What the help and the documentation say of settings and configurations, read from `configs/` without its requirements."""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from sharingan_jax.config.load import config_files, configs_folder


@dataclass(frozen=True)
class Setting:
    """A setting's dotted key, its default, and the comment of `configs/default.py` with its unit and source."""

    key: str
    default: Any
    comment: str


@dataclass(frozen=True)
class Configuration:
    """A file in `configs/`: its name, the first sentence of its docstring, and the docstring's `Time:` line."""

    name: str
    purpose: str
    time: str


def setting_reference() -> list[Setting]:
    """Return every setting of `configs/default.py` in its order, with the comments on its lines or on the lines above."""
    text = (configs_folder() / "default.py").read_text(encoding="utf-8")
    program = ast.parse(text)
    program.body = [node for node in program.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    names: dict[str, Any] = {"ConfigDict": _Recorder}
    exec(compile(program, "default.py", "exec"), names)
    return list(_settings(names["get_config"](), "", text.splitlines()))


class _Recorder:
    """A stand-in for ConfigDict, which may not be installed. It also keeps the numbers of the lines that set each name."""

    line_numbers: dict[str, list[int]]

    def __init__(self) -> None:
        vars(self)["line_numbers"] = {}

    def __setitem__(self, name: str, value: Any) -> None:
        vars(self)[name] = value
        self.line_numbers.setdefault(name, []).append(sys._getframe(1).f_lineno)

    __setattr__ = __setitem__


def _settings(group: _Recorder, prefix: str, lines: list[str]) -> Iterator[Setting]:
    for name, numbers in group.line_numbers.items():
        value = getattr(group, name)
        if isinstance(value, _Recorder):
            yield from _settings(value, f"{prefix}{name}.", lines)
        else:
            comments = [_comment(lines, number - 1) for number in numbers]
            yield Setting(prefix + name, value, " ".join(filter(None, comments)))


def _comment(lines: list[str], index: int) -> str:
    """Return the comment at the end of a line, or else the one that fills the lines directly above."""
    _, found, comment = lines[index].rpartition("  # ")
    if found:
        return comment
    above = takewhile(lambda line: line.lstrip().startswith("#"), reversed(lines[:index]))
    return " ".join(line.lstrip(" #") for line in reversed([*above]))


def list_configurations() -> list[Configuration]:
    """Return the configurations that come with the package, by name."""
    return [_configuration(path) for path in config_files()]


def _configuration(path: Path) -> Configuration:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8-sig"))) or ""
    purpose = " ".join(text.partition("\n\n")[0].split())
    time = re.search(r"^Time: (.*(?:\n.+)*)", text, re.MULTILINE)
    return Configuration(path.stem, purpose, " ".join(time[1].split()) if time else "")
