"""Find and read configurations: a name, a path, a run's folder or nested settings, with overrides on top."""

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sharingan_jax.config.parse import parse, read_text, setting_kinds, unknown_key
from sharingan_jax.config.schema import Config, to_dict
from sharingan_jax.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

Overrides = Mapping[str, Any] | Iterable[tuple[str, Any]]
"""Settings by dotted key: `{"train.steps": 400}`, or pairs in order. Texts are read as on the command line."""


def load_config(source: str | Path | Mapping[str, Any] | Config, overrides: Overrides = ()) -> Config:
    """Return the checked settings of `source` with `overrides` on top.

    `source` is a name in `configs/` ("quick" or "quick.py"), a Python file with `get_config() -> ConfigDict`, a run's folder,
    its `config.json` or `manifest.json`, or nested settings. Raise UserError, one line, if a file or a setting is wrong.
    """
    settings = _read(source)
    for key, value in overrides.items() if isinstance(overrides, Mapping) else overrides:
        _override(settings, key, value)
    return parse(settings)


def base_config(source: str | Path) -> "ConfigDict":
    """Return the settings of another configuration, for a configuration that builds on it.

    `base_config("default")` finds `default` as `--config default` does.
    """
    from ml_collections import ConfigDict

    return ConfigDict(_run_file(find_config(source)))


def configs_folder() -> Path:
    """Return the folder of the configurations that come with the package: in the wheel, or in the checkout."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def config_files(folder: Path | None = None) -> list[Path]:
    """Return the configurations in `folder`, by default those that come with the package, by name."""
    return sorted(path for path in (folder or configs_folder()).glob("*.py") if path.name != "__init__.py")


def find_config(source: str | Path) -> Path:
    """Return the file that `source` names: a path as given, a run's folder, or a name in `configs/`, from any current folder.

    Raise UserError with the nearest names if there is none.
    """
    given = Path(os.path.expanduser(source))
    if given.suffix in (".py", ".json") and given.is_file():
        return given
    for name in ("manifest.json", "config.json"):
        if str(source) and (given / name).is_file():
            return given / name
    name = given.name if given.suffix == ".py" else f"{given.name}.py"
    if given.parent in (Path("."), Path("configs")) and (configs_folder() / name).is_file():
        return configs_folder() / name
    raise _not_found(source, given)


def _not_found(source: str | Path, given: Path) -> UserError:
    if given.is_file():
        return UserError(f"--config={source}: expected a .py file, a run's folder, or its config.json or manifest.json.")
    found = "got a folder without a run" if str(source) and given.is_dir() else "found none"
    places = [place for place in (given, given.parent) if place != Path(".") and place.is_dir() and config_files(place)]
    folder = next(iter(places), configs_folder())
    by_name = folder.resolve() == configs_folder().resolve()
    names = [path.stem if by_name else path.name for path in config_files(folder)]
    nearest = difflib.get_close_matches(given.stem, [Path(name).stem for name in names], n=1, cutoff=0.6)
    meant = f"Did you mean {nearest[0]}? " if nearest else ""
    return UserError(f"--config={source}: expected a configuration, {found}. {meant}In {folder}: {', '.join(names)}.")


def _read(source: str | Path | Mapping[str, Any] | Config) -> dict[str, Any]:
    if isinstance(source, str | Path):
        path = find_config(source)
        return _read_json(path) if path.suffix == ".json" else _run_file(path)
    if isinstance(source, Config):
        return to_dict(source)
    settings = _plain(source)
    if not isinstance(settings, dict):
        raise UserError(f"config: expected a name, a path or settings, got {type(source).__name__}.")
    return settings


def _plain(settings: Any) -> Any:
    """Return nested settings (a ConfigDict or other mappings) as dicts of their own."""
    if hasattr(settings, "to_dict"):
        settings = settings.to_dict()
    return {key: _plain(value) for key, value in settings.items()} if isinstance(settings, Mapping) else settings


def _read_json(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: expected a JSON object of settings, got a {type(settings).__name__}.")
    return _settings_in_manifest(path, settings) if "config" in settings and "status" in settings else settings


def _settings_in_manifest(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    imported = manifest.get("imported")
    if isinstance(imported, dict):
        files = ", ".join(map(str, imported.get("files") or ())) if isinstance(imported.get("files"), dict) else "elsewhere"
        raise UserError(f"{path}: this run started from the weights in {files}. Import them again, then train in that folder.")
    settings = manifest.get("config")
    if not isinstance(settings, dict):
        raise UserError(f"{path}: expected the run's settings under `config`, found none. Use the config.json in its folder.")
    return settings


def _run_file(path: Path) -> dict[str, Any]:
    """Run a configuration file and return its settings as nested dicts."""
    module = ModuleType(f"config_file_{path.stem}")
    module.__file__ = str(path)
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
        if not callable(getattr(module, "get_config", None)):
            raise UserError("expected a function get_config() that returns a ConfigDict, found none.")
        settings = module.get_config()
    except UserError as error:  # Of this file, or of one that it builds on.
        raise UserError(f"{path}{_line_in(path, error)}: {error}") from error
    except SystemExit as error:
        raise UserError(f"{path}{_line_in(path, error)}: the configuration exits ({error.code}). Remove the exit.") from error
    except Exception as error:  # The file is the user's own program and may raise anything.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}{_line_in(path, error)}: {reason}") from error
    if not isinstance(settings, Mapping) and not hasattr(settings, "to_dict"):
        raise UserError(f"{path}: expected get_config() to return a ConfigDict, got {type(settings).__name__}.")
    plain: dict[str, Any] = _plain(settings)
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


def _override(settings: dict[str, Any], key: str, value: Any) -> None:
    kinds = setting_kinds()
    inside = [known for known in kinds if known.startswith(f"{key}.")]
    if inside and isinstance(value, Mapping):
        for name, inner in value.items():
            _override(settings, f"{key}.{name}", inner)
    elif inside:
        raise UserError(f"{key} is a group of settings. Set one of {', '.join(inside)}.")
    elif key not in kinds:
        raise unknown_key(key)
    else:
        *groups, name = key.split(".")
        group: Any = settings
        for part in groups:
            group = group.setdefault(part, {}) if isinstance(group, dict) else None
        if isinstance(group, dict):  # Else `parse` names the group that is none.
            group[name] = read_text(value, kinds[key]) if isinstance(value, str) else value
