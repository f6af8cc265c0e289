"""Find and read configurations: a name, a path, a run's folder or nested settings, with overrides on top."""

import difflib
import os
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sharingan_jax.config.parse import flatten, parse, read_text
from sharingan_jax.config.schema import KINDS, Config, to_dict
from sharingan_jax.errors import UserError
from sharingan_jax.files import read_json

if TYPE_CHECKING:
    from ml_collections import ConfigDict

Overrides = Mapping[str, Any] | Iterable[tuple[str, Any]]
"""Settings by dotted key: `{"train.steps": 400}`, or pairs in order. Texts are read as on the command line."""


ConfigSource = str | Path | Mapping[str, Any] | Config
"""What `load_config` reads settings from."""


def load_config(source: ConfigSource, overrides: Overrides = ()) -> Config:
    """Return the checked settings of `source` with `overrides` on top.

    `source` is a name in `configs/` ("quick" or "quick.py"), a Python file with `get_config() -> ConfigDict`, a run's folder,
    its `config.json` or `manifest.json`, or nested settings. A `data.path` in `overrides` replaces the emblems.
    Raise UserError, one line, if a file or a setting is wrong.
    """
    changes = flatten(_pairs(overrides))
    read = {key: read_text(value, KINDS[key]) if isinstance(value, str) else value for key, value in changes.items()}
    settings = flatten(_read(source))
    if changes.get("data.path") and "data.source" not in changes and settings.get("data.source") == "emblems":
        read["data.source"] = "folder"  # A path alone is enough.
    return parse(settings | read)


def with_absolute_paths(config: Config) -> Config:
    """Return `config` with its paths as they are from any folder, so that a run's record says where its images were."""
    data = config.data
    places = (data.path, data.data_dir, data.cache)
    path, data_dir, cache = (str(Path(place).absolute()) if place else "" for place in places)
    return replace(config, data=replace(data, path=path, data_dir=data_dir, cache=cache))


def base_config(source: str | Path) -> "ConfigDict":
    """Return the settings of another configuration, found as by `--config`, for a configuration that builds on it."""
    from ml_collections import ConfigDict

    return ConfigDict(_run_file(find_config(source)))


def configs_folder() -> Path:
    """Return the folder of the configurations that come with the package: in the wheel, or in the checkout."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def config_files(folder: Path | None = None) -> list[Path]:
    """Return the configurations in `folder` (default: those that come with the package), by name."""
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


def is_config(source: str) -> bool:
    """Return whether `load_config` finds a configuration by this name or path. It may still be invalid."""
    try:
        find_config(source)
    except UserError:
        return False
    return True


def seed_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders of several seeds' runs that lie in `root`, in order."""
    seeds = {path.parent.name.removeprefix("seed-"): path.parent for path in root.glob("seed-*/config.json")}
    return tuple(seeds[seed] for seed in sorted(seeds, key=lambda seed: (len(seed), seed)))


def check_one_run(root: Path) -> None:
    """Raise UserError, naming the runs, if `root` holds those of several seeds."""
    if seeds := seed_folders(root):
        names = ", ".join(place.name for place in seeds)
        raise UserError(f"{root} holds the runs {names}: use one, such as {seeds[0]}")


def _not_found(source: str | Path, given: Path) -> UserError:
    if given.is_file():
        return UserError(f"config={source}: expected a .py file, a run's folder, or its config.json or manifest.json.")
    if str(source):
        check_one_run(given)
    found = "got a folder without a run" if str(source) and given.is_dir() else "found none"
    places = [place for place in (given, given.parent) if place != Path(".") and place.is_dir() and config_files(place)]
    folder = next(iter(places), configs_folder())
    by_name = folder.resolve() == configs_folder().resolve()
    names = [path.stem if by_name else path.name for path in config_files(folder)]
    nearest = difflib.get_close_matches(given.stem, [Path(name).stem for name in names], n=1, cutoff=0.6)
    meant = f"Did you mean {nearest[0]}? " if nearest else ""
    return UserError(f"config={source}: expected a configuration, {found}. {meant}In {folder}: {', '.join(names)}.")


def _pairs(overrides: Any) -> list[tuple[str, Any]]:
    given = overrides.items() if hasattr(overrides, "items") else overrides
    pairs = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        expected = 'settings by dotted key, such as {"train.steps": 400}, or pairs'
        raise UserError(f"overrides: expected {expected}, got {overrides!r}.")
    return pairs


def _read(source: ConfigSource) -> Any:
    if isinstance(source, Config):
        return to_dict(source)
    if isinstance(source, str | Path):
        path = find_config(source)
        return _read_json(path) if path.suffix == ".json" else _run_file(path)
    if not hasattr(source, "items"):
        raise UserError(f"config: expected a name, a path or settings, got {type(source).__name__}.")
    return source


def _read_json(path: Path) -> dict[str, Any]:
    """Return the settings in a `config.json` or a `manifest.json`."""
    content = read_json(path)
    if not {"config", "status"} <= content.keys():
        return content
    origin, settings = content.get("origin"), content["config"]
    if isinstance(origin, dict):
        run, files = origin.get("run"), ", ".join(origin.get("files") or [])
        again = f"Branch from {run}@{origin.get('step')}" if run else "Import them"
        raise UserError(
            f"{path}: this run started from {run or f'the weights in {files}'}. {again} again, then train that folder."
        )
    if not isinstance(settings, dict):
        raise UserError(f"{path}: expected the run's settings, found none. Use the config.json in its folder.")
    return settings


def _run_file(path: Path) -> Any:
    """Run a configuration file and return its settings, a ConfigDict or a mapping."""
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
    except ModuleNotFoundError as error:
        if error.name == "ml_collections":
            raise  # The command line says how to install the requirements.
        raise UserError(f"{path}{_line_in(path, error)}: {error}. Install it, or remove the import.") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # The file is the user's own program and may raise anything.
        raise UserError(f"{path}{_line_in(path, error)}: {_in_words(error)}") from error
    if not hasattr(settings, "items"):
        raise UserError(f"{path}: expected get_config() to return a ConfigDict, got {type(settings).__name__}.")
    return settings


def _in_words(error: BaseException) -> str:
    try:
        return " ".join(f"{type(error).__name__}: {error}".split())
    except Exception:  # Its own text may raise too.
        return type(error).__name__


def _line_in(path: Path, error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return f", line {lines[-1]}" if lines else ""
