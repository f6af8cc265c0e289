"""What the help and the documentation say of settings and configurations, read from `configs/` without its requirements."""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
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
    """Return every setting of `configs/default.py` in its order, with the comment on its line or on the lines above."""
    text = (configs_folder() / "default.py").read_text(encoding="utf-8")
    program = ast.parse(text)
    program.body = [node for node in program.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    names: dict[str, Any] = {"ConfigDict": _Recorder}
    exec(compile(program, "default.py", "exec"), names)
    return list(_settings(names["get_config"](), "", _comments(text)))


class _Recorder:
    """A stand-in for ConfigDict, which may not be installed: it records each setting's value and lines."""

    _values: dict[str, Any]
    _lines: dict[str, list[int]]

    def __init__(self) -> None:
        self.__dict__.update(_values={}, _lines={})

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value
        self._lines.setdefault(name, []).append(sys._getframe(1).f_lineno)

    __setattr__ = __setitem__

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    __getattr__ = __getitem__


def _settings(group: _Recorder, prefix: str, comments: dict[int, str]) -> Iterator[Setting]:
    for name, value in group._values.items():
        if isinstance(value, _Recorder):
            yield from _settings(value, f"{prefix}{name}.", comments)
        else:
            words = [comments[line] for line in group._lines[name] if line in comments]
            yield Setting(prefix + name, value, " ".join(words))


def _comments(text: str) -> dict[int, str]:
    """Return the comment that belongs to each line: at its end, or alone on the lines directly above."""
    comments: dict[int, str] = {}
    alone: list[str] = []
    code = False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        match token.type:
            case tokenize.COMMENT:
                words = token.string.lstrip("# ").strip()
                if code:
                    comments[line] = words
                else:
                    alone.append(words)
            case tokenize.NEWLINE:
                if alone:
                    comments.setdefault(line, " ".join(alone))
                alone, code = [], False
            case tokenize.NL | tokenize.INDENT | tokenize.DEDENT:
                pass
            case _:
                code = True
    return comments


def list_configurations(folder: Path | None = None) -> list[Configuration]:
    """Return the configurations in `folder`, by default those that come with the package, by name."""
    return [_configuration(path) for path in config_files(folder)]


def _configuration(path: Path) -> Configuration:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8-sig"))) or ""
    purpose = " ".join(text.partition("\n\n")[0].split())
    time = re.search(r"^Time: (.*(?:\n.+)*)", text, re.MULTILINE)
    return Configuration(path.stem, purpose, " ".join(time[1].split()) if time else "")
