"""`manifest.json`: what a run says of itself, written before its first step and again at its end."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sharingan_jax.errors import UserError
from sharingan_jax.files import write_json
from sharingan_jax.run.diff import CONDITIONS
from sharingan_jax.run.folder import RunDir, read_manifest


@dataclass(frozen=True)
class Conditions:
    """What decided the roundings of the steps after `after_step`, as far as those of the next: versions, device and the like."""

    after_step: int
    noted: Mapping[str, Any]


def begin_manifest(run: RunDir, facts: Mapping[str, Any], *, after_step: int) -> None:
    """Notes a start: `facts` of the run as it is now, and under which conditions the steps after `after_step` are made.

    Conditions of steps made before stay, those of steps that are made again do not.
    """
    before = read_manifest(run.manifest) if run.manifest.is_file() else {}
    kept = {"wall_seconds": before.get("wall_seconds", 0.0)}
    if before.get("imported"):
        kept["imported"] = before["imported"]
    starts = [{"after_step": one.after_step, **one.noted} for one in conditions_of(before) if one.after_step < after_step]
    now = {name: facts[name] for name in CONDITIONS}
    if not starts or {**starts[-1], **now} != starts[-1]:
        starts.append({"after_step": after_step, **now})
    write_json(run.manifest, {**facts, **kept, "status": "running", "starts": starts})


def fail_manifest(run: RunDir) -> None:
    """Notes that the run has failed; where not even that can be written, nothing."""
    with contextlib.suppress(OSError, UserError):  # A full disk or a folder that is gone may be what has ended it.
        write_json(run.manifest, {**read_manifest(run.manifest), "status": "failed"})


def end_manifest(run: RunDir, *, status: str, step: int, digest: str, images_seen: int, seconds: float) -> None:
    """Notes how a start ended that ended of itself; `seconds` it took are added to those of the starts before."""
    manifest = read_manifest(run.manifest)
    wall_seconds = round(manifest["wall_seconds"] + seconds, 1)
    ending = {"status": status, "step": step, "digest": digest, "images_seen": images_seen, "wall_seconds": wall_seconds}
    write_json(run.manifest, {**manifest, **ending})


def devices_begun_on(run: RunDir) -> int:
    """How many devices the run's first steps were made on; 0 for a run that has not begun."""
    noted = conditions_of(read_manifest(run.manifest)) if run.manifest.is_file() else []
    return int(noted[0].noted.get("device", {}).get("count", 0)) if noted else 0


def seeds_begun_on(run: RunDir, *, seeds: int) -> int:
    """How many devices the run's first steps beside others were made on, where it was one of `seeds`; 0 where it was not."""
    noted = conditions_of(read_manifest(run.manifest)) if run.manifest.is_file() else []
    beside = [one.noted for one in noted if one.noted.get("seeds_at_once") == seeds]
    count = beside[0].get("seeds_devices") if beside else 0
    return count if isinstance(count, int) else 0


def conditions_of(manifest: Mapping[str, Any]) -> list[Conditions]:
    """A run's conditions in the order of its steps: one where all its starts had the same, none where it noted none.

    What was written before there was such a list tells of the last start alone.
    """
    starts = manifest.get("starts")
    if starts is None:
        noted = {name: manifest[name] for name in CONDITIONS if name in manifest}
        starts = [{"after_step": manifest.get("started_at_step", 0), **noted}] if "device" in manifest else []
    return [Conditions(int(one["after_step"]), {name: one[name] for name in CONDITIONS if name in one}) for one in starts]
