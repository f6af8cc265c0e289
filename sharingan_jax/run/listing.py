"""List the runs below a folder from their small files, without JAX."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharingan_jax.config.load import ConfigSource, config_files, configs_folder, find_config, load_config
from sharingan_jax.config.parse import parse
from sharingan_jax.config.schema import RULES, Config, settings_of
from sharingan_jax.errors import UserError, counted
from sharingan_jax.files import read_as, read_json, user_path
from sharingan_jax.run.lock import is_locked

LENGTH = ("train.epochs", "train.steps", "train.stop_on_collapse")
COMPARED = [key for key, rule in RULES.items() if (rule.identity and key != "seed") or key in LENGTH]
"""Settings that tell configurations apart: what to train and how long, not the seed."""


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


@dataclass(frozen=True)
class _Recorded:
    """The part of `manifest.json` that an entry shows."""

    status: str = "unreadable"
    step: int = 0
    total_steps: int = 0
    config: dict[str, Any] | None = None


def list_runs(folder: str | Path) -> list[RunEntry]:
    """Return the runs in `folder` and below it, by path. Raise UserError if it is no folder."""
    root = user_path(folder, name="folder")
    if not root.is_dir():
        raise UserError(f"{root}: expected a folder of runs, found {'a file' if root.exists() else 'none'}.")
    known = _known_configs()
    return [_entry(path, known) for path in _run_folders(root)]


def name_config(config: Config, source: ConfigSource) -> str:
    """Return the name of the configuration that `source` names, or that is nearest to `config`, and how many settings differ.

    It is a name of `configs/` or the path of another file: "quick", or "mine.py, 2 settings changed". The seed does not count.
    """
    file = find_config(source) if isinstance(source, str | Path) else None
    if file is None:
        known = _known_configs()
    else:
        known = {file.stem if file.parent.resolve() == configs_folder().resolve() else str(file): load_config(file)}
    name, changed = _nearest(config, known, keys=[key for key in RULES if key != "seed"])
    return f"{name}, {counted(changed, 'setting')} changed" if changed else name


def _known_configs() -> dict[str, Config]:
    """Return the configurations that come with the package, by name."""
    known = {}
    for path in config_files():
        with suppress(UserError):  # One that is being written says nothing about the runs.
            known[path.stem] = load_config(path)
    return known


def _run_folders(root: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(root):
        if "manifest.json" in files or "config.json" in files:
            folders.clear()  # Nothing below a run is another run.
            yield Path(place)
        folders.sort()


def _entry(path: Path, known: Mapping[str, Config]) -> RunEntry:
    recorded, config = _Recorded(), None
    with suppress(UserError):
        recorded = read_as(_Recorded, read_json(path / "manifest.json"), path=path)
    with suppress(UserError):
        config = parse(recorded.config or read_json(path / "config.json"))
    written = [path / name for name in ("metrics.jsonl", "manifest.json", "config.json") if (path / name).is_file()]
    return RunEntry(
        path=path,
        status="interrupted" if recorded.status == "running" and not is_locked(path) else recorded.status,
        step=_last_step(path / "metrics.jsonl") or recorded.step,
        total_steps=recorded.total_steps,
        seed=config.seed if config else None,
        config=_short_name(config, known) if config else "-",
        modified=max((file.stat().st_mtime for file in written), default=path.stat().st_mtime),
    )


def _last_step(path: Path) -> int:
    """Return the step of the last whole line of `metrics.jsonl`, 0 if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            whole_lines = file.read().split(b"\n")[:-1]
        return int(json.loads(whole_lines[-1])["step"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def _short_name(config: Config, known: Mapping[str, Config]) -> str:
    name, changed = _nearest(config, known, keys=COMPARED)
    return f"{name} +{changed}" if changed else name


def _nearest(config: Config, known: Mapping[str, Config], *, keys: Sequence[str]) -> tuple[str, int]:
    """Return the name of the configuration with the fewest other settings among `keys`, and their number; "-" without any."""
    own, others = settings_of(config), {name: settings_of(other) for name, other in known.items()}
    differences = {name: sum(own[key] != other[key] for key in keys) for name, other in others.items()}
    if not differences:
        return "-", 0
    name = min(differences, key=lambda name: (differences[name], name != "default"))
    return name, differences[name]
