"""Configuration files and `--config.key=value` overrides, read into plain settings for `config.parse`."""

import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sharingan_jax.config.parse import parse, unknown_key
from sharingan_jax.config.schema import Config, known_keys
from sharingan_jax.errors import UserError


def load_config(path: Path, overrides: Iterable[tuple[str, str]] = ()) -> Config:
    """The checked settings of a configuration file with `(dotted key, text)` overrides put on top, in order.

    `path` is a Python file with `get_config() -> ConfigDict`, or a run's `config.json` or `manifest.json`. Raises UserError
    naming the file or the key.
    """
    settings = _read_json(path) if path.suffix == ".json" else _run_file(path)
    for key, text in overrides:
        _override(settings, key, text)
    return parse(settings)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(path) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable JSON configuration: {error}") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: holds a {type(settings).__name__}, and a configuration is an object of settings")
    if "config" in settings and "status" in settings:  # A manifest: its settings are one part of it.
        return _settings_in_manifest(path, settings)
    return settings


def _settings_in_manifest(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    imported = manifest.get("imported")
    if isinstance(imported, dict):
        files = ", ".join(map(str, imported.get("files") or ())) if isinstance(imported.get("files"), dict) else "elsewhere"
        raise UserError(f"{path}: that run's first weights are from {files}; import them again, and train from there")
    settings = manifest.get("config")
    if not isinstance(settings, dict):
        raise UserError(f"{path}: has no settings in it; use the config.json beside it")
    return settings


def _run_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise _missing(path)
    if path.suffix != ".py":
        raise UserError(f"{path}: a configuration is a .py file with get_config(), or a run's config.json or manifest.json")
    spec = importlib.util.spec_from_file_location(f"config_file_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        settings = module.get_config()
    except Exception as error:  # The file is the user's own program: whatever it raises is its author's to read.
        line = _line_in(path, error)
        raise UserError(f"{path}{line}: {type(error).__name__}: {error}") from error
    if not hasattr(settings, "to_dict"):
        raise UserError(f"{path}: get_config() returned a {type(settings).__name__}, and must return a ConfigDict")
    plain: dict[str, Any] = settings.to_dict()
    return plain


def _line_in(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno}"
    line, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    return line


def _missing(path: Path) -> UserError:
    folder = next((place for place in (path, path.parent) if place.is_dir() and list(place.glob("*.py"))), Path("configs"))
    names = sorted(entry.name for entry in folder.glob("*.py") if entry.name != "__init__.py")
    hint = f"; in {folder}: {', '.join(names)}" if names else ""
    return UserError(f"--config={path}: {'a folder, not a file' if path.is_dir() else 'no such file'}{hint}")


def _override(settings: dict[str, Any], key: str, text: str) -> None:
    *groups, name = key.split(".")
    group: Any = settings
    for part in groups:
        group = group.get(part) if isinstance(group, dict) else None
    if not isinstance(group, dict) or name not in group:
        raise unknown_key(key)
    if isinstance(group[name], dict):
        inside = ", ".join(known for known in known_keys() if known.startswith(f"{key}."))
        raise UserError(f"config: {key} is a group; set one of {inside}")
    group[name] = _read_value(text, group[name])


def _read_value(text: str, current: Any) -> Any:
    """`text` as the kind of value that stands there now; where it is none, the text itself, for `parse` to refuse by name."""
    if isinstance(current, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    kinds: tuple[type, ...] = {int: (int, float), float: (int, float)}.get(type(current), ())
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            continue
    return text
