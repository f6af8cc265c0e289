"""List the runs below a folder from their small files, without JAX."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharingan_jax.config.load import config_files, load_config
from sharingan_jax.config.schema import settings_of, to_dict
from sharingan_jax.errors import UserError
from sharingan_jax.files import read_json
from sharingan_jax.run.diff import flatten
from sharingan_jax.run.lock import is_locked

LENGTH = ("train.epochs", "train.steps")
"""Settings that tell configurations apart although a run may change them and remain the same run."""


@dataclass(frozen=True)
class RunEntry:
    """A run's folder: its status, the last step it recorded of how many (0 if not recorded), its seed, the nearest configuration
    (`default +2` has two other settings), and when it last wrote, in seconds since 1970."""

    path: Path
    status: str
    step: int
    total_steps: int
    seed: int | None
    config: str
    modified: float


def list_runs(folder: str | Path) -> list[RunEntry]:
    """Return the runs in `folder` and below it, by path. Raise UserError if it is no folder."""
    root = Path(os.path.expanduser(folder))
    if not root.is_dir():
        raise UserError(f"{root}: expected a folder of runs, found {'a file' if root.exists() else 'none'}.")
    known = {path.stem: load_config(path) for path in config_files()}
    rules = {key: rule for key, _, rule in settings_of(known["default"])}
    telling = [key for key, rule in rules.items() if (rule.identity and key != "seed") or key in LENGTH]
    settings = {name: {key: value for key, value in flatten(to_dict(config)) if key in telling} for name, config in known.items()}
    return [_entry(path, settings) for path in _run_folders(root)]


def _run_folders(root: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(root):
        if "manifest.json" in files or "config.json" in files:
            folders.clear()  # Nothing below a run is another run.
            yield Path(place)
        folders.sort()


def _entry(path: Path, known: Mapping[str, Mapping[str, Any]]) -> RunEntry:
    manifest = _read(path / "manifest.json")
    config, status = manifest.get("config"), manifest.get("status")
    if not isinstance(config, dict):
        config = _read(path / "config.json")
    if not isinstance(status, str):
        status = "unreadable"
    if status == "running" and not is_locked(path):
        status = "interrupted"
    written = [path / name for name in ("metrics.jsonl", "manifest.json", "config.json") if (path / name).is_file()]
    return RunEntry(
        path=path,
        status=status,
        step=_last_step(path / "metrics.jsonl") or _whole(manifest.get("step")) or 0,
        total_steps=_whole(manifest.get("total_steps")) or 0,
        seed=_whole(config.get("seed")),
        config=_nearest(dict(flatten(config)), known),
        modified=max(file.stat().st_mtime for file in written),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except UserError:
        return {}


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None


def _last_step(path: Path) -> int | None:
    """Return the step of the last whole line of `metrics.jsonl`."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            return _whole(json.loads(file.read().split(b"\n")[-2])["step"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _nearest(settings: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name of the known configuration with the fewest other settings, with their number; a dash for no settings."""
    differences = {name: sum(settings.get(key) != value for key, value in other.items()) for name, other in known.items()}
    name = min(differences, key=lambda name: (differences[name], name != "default"))
    if differences[name] == len(known[name]):
        return "-"
    return f"{name} +{differences[name]}" if differences[name] else name
