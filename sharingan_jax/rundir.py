"""A run's folder: where everything lies, what it says of itself, and whether a start may continue it."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sharingan_jax.atomic import make_folder, naming, write_json, write_text
from sharingan_jax.comparison import differing_pictures
from sharingan_jax.config import Config, complete_older, identity, identity_changes, parse, to_dict
from sharingan_jax.data.pictures import Pictures
from sharingan_jax.errors import UserError

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
FIGURES = ("loss_d", "loss_g", "d_real", "d_fake_before", "d_fake_after")
"""What every record has of its step; those of G are null where it was not updated."""


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
        return parse(complete_older(settings))
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


def check_same_run(run: RunDir, config: Config, pictures: Pictures) -> None:
    """Raises UserError, naming keys or files, where `run` began with other settings or pictures; returns where it is new."""
    if run.root.exists() and not run.root.is_dir():
        raise UserError(f"--workdir={run.root} is a file; give the name of a folder")
    if config.data.source == "folder" and run.root.resolve().is_relative_to(Path(config.data.path).resolve()):
        raise UserError(
            f"--workdir={run.root} lies inside data.path={config.data.path}, and its grids would be pictures to train on at the"
            " next start; use a --workdir outside it"
        )
    if not run.config.is_file():
        inside = sorted(path.parent for path in run.root.glob("seed-*/config.json"))
        if inside:
            raise UserError(
                f"--workdir={run.root} holds runs of several seeds; for one of them use --workdir={inside[0]}, for several"
                " train.seeds above 1"
            )
        return
    changed = identity_changes(read_config(run), config)
    if changed:
        raise UserError(
            f"--workdir={run.root} holds another run: {'; '.join(changed)}; use the settings it began with, or another --workdir"
        )
    if run.manifest.is_file():
        data = read_manifest(run.manifest).get("data", {})
        began_with = data.get("fingerprint")
        has_trained = began_with is not None or read_imported(run) is None
        if has_trained and began_with != pictures.fingerprint:
            found = differing_pictures({"data": data}, {"data": describe_pictures(config, pictures)})
            raise UserError(
                f"--workdir={run.root}: the pictures have changed since the run began (first: then, second: now):"
                f" {'; '.join(found)}; put them back, or use another --workdir"
            )


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


def read_metrics(run: RunDir) -> list[dict[str, Any]]:
    """The records of `metrics.jsonl`, in order, without a last line that a crash cut short.

    Raises UserError naming the line where any other is no record.
    """
    if not run.metrics.is_file():
        return []
    lines = run.metrics.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, 1):
        if not line and number == len(lines):
            break
        try:
            record = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
            if not _is_record(record):
                raise ValueError("no record of a step")
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise UserError(f"{run.metrics}, line {number}: {error}; {PUT_BACK}") from None
        records.append(record)
    return records


def _is_record(record: Any) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        return False
    return all(name in record and isinstance(record[name], int | float | None) for name in (*FIGURES, "time"))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no figure")


def append_metrics(run: RunDir, records: Iterable[dict[str, Any]]) -> None:
    """Adds one line for each record; they are on disk when it returns, before any checkpoint that stands on them."""
    lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    with naming(run.metrics), run.metrics.open("a", encoding="utf-8") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def cut_metrics(run: RunDir, *, last_step: int) -> None:
    """Drops the records after `last_step`, which are about to be made again.

    Raises UserError, and changes nothing, where one of the steps up to it has no record.
    """
    kept = [record for record in read_metrics(run) if record["step"] <= last_step]
    imported = read_imported(run)
    first = int(imported["step"]) + 1 if imported else 1
    steps = [record["step"] for record in kept]
    if steps != list(range(first, last_step + 1)):
        lost = sorted(set(range(first, last_step + 1)) - set(steps))
        what = f"has no record of step {lost[0]}" if lost else "has records that are not in order"
        raise UserError(
            f"{run.metrics} {what}, and the last checkpoint is of step {last_step}; put the file back as it was, or use"
            " another --workdir"
        )
    write_text(run.metrics, "".join(json.dumps(record, allow_nan=False) + "\n" for record in kept))


@contextlib.contextmanager
def held(run: RunDir) -> Iterator[Callable[[], None]]:
    """While entered, no other start may train in the folder (where the system has `flock`; elsewhere nothing is held).

    Gives a check that raises UserError where the folder has since been removed, or another put in its place: what is written
    then would be half a run. Raises UserError where another start holds the folder. A process that dies lets go.
    """
    make_folder(run.root)
    lock = run.root / ".lock"
    # A link would lead to another file than the one that is held.
    with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644), "r+") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except BlockingIOError:
            raise UserError(
                f"--workdir={run.root}: another start is training there; wait for it, stop it, or use another --workdir"
            ) from None
        yield lambda: _check_still_there(run, os.fstat(file.fileno()), lock)


def _check_still_there(run: RunDir, opened: os.stat_result, lock: Path) -> None:
    try:
        if os.path.samestat(opened, lock.stat()):
            return
    except OSError as error:
        raise _gone(run) from error
    raise _gone(run)


def _gone(run: RunDir) -> UserError:
    return UserError(
        f"--workdir={run.root}: the folder was removed or replaced while the run was training in it, so the run has stopped and"
        " written nothing more; put it back to continue from its last checkpoint, or begin in another --workdir"
    )
