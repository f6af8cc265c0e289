"""A run's folder: where everything lies, what it says of itself, and whether a start may continue it."""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sharingan_jax.config.parse import parse
from sharingan_jax.config.schema import Config, identity, to_dict
from sharingan_jax.data.dataset import Pictures
from sharingan_jax.errors import UserError
from sharingan_jax.files import write_json

PUT_BACK = "put the file back as it was, or use another --workdir"


MANIFEST: dict[str, type | tuple[type, ...]] = {
    "config": dict,
    "data": dict,
    "data.files": dict,
    "data.fingerprint": str,
    "device": dict,
    "device.count": int,
    "digest": str,
    "imported": dict,
    "imported.files": dict,
    "imported.step": int,
    "starts": list,
    "step": int,
    "wall_seconds": (int, float),
}
"""What the parts of a manifest that are read again are, where they are there."""


@dataclass(frozen=True)
class RunDir:
    """The layout below `root`."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.root / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def damaged(self) -> Path:
        """Where checkpoints go that turned out damaged."""
        return self.root / "damaged"

    @property
    def events(self) -> Path:
        return self.root / "events"

    def sample(self, step: int) -> Path:
        return self.samples / f"step_{step:06d}.png"

    def sample_files(self, last_step: int) -> list[Path]:
        """The grids of steps up to `last_step`, in order."""
        files = {
            int(path.stem.removeprefix("step_")): path for path in self.samples.glob("step_*.png") if path.stem[5:].isdigit()
        }
        return [files[step] for step in sorted(files) if step <= last_step]


def read_config(run: RunDir) -> Config:
    """The configuration a run was started with. Raises UserError where `run` is not a run's folder."""
    if not run.config.is_file():
        raise UserError(
            f"--workdir={run.root}: no config.json there; a run's folder is made by `python main.py --config FILE --workdir DIR`"
        )
    settings = read_json(run.config)
    try:
        return parse(settings)
    except UserError as error:
        raise UserError(f"{run.config}: {error}") from None


def recorded_threads(run: RunDir) -> int:
    """The host threads that a run began with; 0 where there is none yet."""
    return read_config(run).train.host_threads if run.config.is_file() else 0


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises UserError naming the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a {type(value).__name__}, and was to hold an object")
    return value


def read_manifest(path: Path) -> dict[str, Any]:
    """A `manifest.json`, of which what is there is what it should be. Raises UserError naming what is not."""
    manifest = read_json(path)
    for name, kind in MANIFEST.items():
        value: Any = manifest
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None and not isinstance(value, kind):
            raise UserError(f"{path}: {name} is of type {type(value).__name__}; {PUT_BACK}")
    texts = manifest.get("data", {}).get("files", {}).values()
    starts = manifest.get("starts") or []
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{path}: data.files holds what is no digest; {PUT_BACK}")
    for start in starts:
        known = isinstance(start, dict) and isinstance(start.get("after_step"), int)
        if not known or not isinstance(start.get("device", {}), dict):
            raise UserError(f"{path}: starts holds what tells of no start; {PUT_BACK}")
    return manifest


def read_imported(run: RunDir) -> dict[str, Any] | None:
    """Where the run's first weights are from, as `main.py import` noted it; None for a run that drew its own."""
    manifest = read_manifest(run.manifest) if run.manifest.is_file() else {}
    imported: dict[str, Any] | None = manifest.get("imported")
    return imported


def write_config(run: RunDir, config: Config) -> None:
    """`config.json`: every setting as resolved."""
    write_json(run.config, to_dict(config))


def describe_pictures(config: Config, pictures: Pictures) -> dict[str, Any]:
    """What `manifest.json` keeps of the pictures: each one's digest, and that of all of them as they are trained on."""
    return {
        "source": config.data.source,
        "count": pictures.count,
        "fingerprint": pictures.fingerprint,
        "skipped": len(pictures.skipped),
        "files": dict(zip(pictures.names, pictures.digests, strict=True)),
    }


def config_fingerprint(config: Config) -> str:
    """SHA-256 over the settings that make a run what it is."""
    return sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()
