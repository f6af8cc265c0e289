"""Check a run's files against each other: what one of them says must follow from the others."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import jax

from sharingan_jax.config.schema import Config, to_dict
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.measures.collapse import CollapseWatch
from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.reporting.grids import read_png
from sharingan_jax.run.checkpoints import CheckpointManager
from sharingan_jax.run.continuation import Existing, checkpoint_metadata, records_in_order
from sharingan_jax.run.diff import differing_values
from sharingan_jax.run.manifest import DataRecord, Manifest, config_digest, describe_data
from sharingan_jax.training.schedule import make_schedule

ENDED = ("complete", "stopped", "collapsed")


def contradictions(existing: Existing, manifest: Manifest, config: Config, dataset: ImageDataset) -> list[str]:
    """Return what a run's files say that does not follow from the others, as `file: key: found | expected`.

    `config` are the run's own settings, on its images `dataset`. Every checkpoint is read. Raise UserError if one is damaged.
    """
    folder, data = existing.folder, describe_data(config, dataset)
    found = [f"{folder.manifest.name}: {line}" for line in _of_manifest(existing, manifest, config, data)]
    if existing.data is None and manifest.data is not None:
        found.append(f"{folder.data.name}: missing | the record of {manifest.data.count} images")
    if existing.data:
        # Files that are not images may come and go, and so may images that cannot be read.
        pairs = differing_values(*(asdict(replace(record, skipped={}, bad={})) for record in (existing.data, data)))
        found += [f"{folder.data.name}: {line}" for line in pairs]
    records, problem = records_in_order(existing)
    if problem:
        found.append(f"{folder.metrics.name}: {problem.removeprefix(f'{folder.metrics} ')}")
    if manifest.status in ENDED and folder.metrics.is_file() and not folder.metrics.read_bytes().endswith(b"\n"):
        found.append(f"{folder.metrics.name}: its last line is cut")
    if manifest.status in ENDED and manifest.step != existing.first_step - 1 + len(records):
        found.append(f"{folder.metrics.name}: its last step: {existing.first_step - 1 + len(records)} | {manifest.step}")
    found += _of_checkpoints(existing, manifest, config, checkpoint_metadata(config, dataset))
    steps = set(map(str, existing.steps))
    names = sorted(path.name for path in folder.checkpoints.glob("*") if path.name.isdigit() and path.name not in steps)
    found += [f"checkpoints/{name}: is not a checkpoint" for name in names]
    grids = folder.sample_files(sys.maxsize).values()
    found += [f"samples/{path.name}: is not a grid" for path in sorted(folder.samples.glob("*.png")) if path not in grids]
    return found + list(_of_grids(existing, last_step=existing.first_step - 1 + len(records)))


def _of_checkpoints(existing: Existing, manifest: Manifest, config: Config, expected: Mapping[str, str]) -> Iterator[str]:
    folder, origin, gan = existing.folder, existing.origin, build_gan(config)
    like = jax.eval_shape(lambda: init_state(gan, seed=config.seed))
    with CheckpointManager(folder.checkpoints, keep=config.checkpoint.keep, read_only=True) as checkpoints:
        for step in existing.steps:
            checkpoints.restore(step, like=like)  # Raise UserError if it is damaged.
            identity = checkpoints.identity(step)
            own = {name: identity.get(name, "–") for name in expected if not origin or name in identity}
            for line in differing_values(own, {name: expected[name] for name in own}):
                yield f"checkpoints/{step}: {line}"
            if step == manifest.step and manifest.digest not in (None, identity["digest"]):
                yield f"{folder.manifest.name}: digest: {manifest.digest} | {identity['digest']}"
            if origin and step == origin.step and origin.digest != identity["digest"]:
                yield f"{folder.manifest.name}: origin.digest: {origin.digest} | {identity['digest']}"


def _of_grids(existing: Existing, *, last_step: int) -> Iterator[str]:
    for step, path in sorted(existing.folder.sample_files(sys.maxsize).items()):
        name = f"samples/{path.name}"
        if not existing.first_step <= step <= last_step:
            yield f"{name}: a step that the run has no record of"
        try:
            read_png(path)
        except UserError:
            yield f"{name}: is not an image"


def _of_manifest(existing: Existing, manifest: Manifest, config: Config, data: DataRecord) -> Iterator[str]:
    plan = BatchPlan(data.count, batch_size=config.train.batch_size, seed=config.seed, last_batch=config.data.last_batch)
    total, first_step = make_schedule(config, plan).total_steps, existing.first_step
    expected: dict[str, Any] = {
        "seed": config.seed,
        "total_steps": total,
        "config_digest": config_digest(config),
        "config": to_dict(config),
        "data": asdict(data.summary) | {name: len(getattr(existing.data, name, ())) for name in ("skipped", "bad")},
    }
    if manifest.status in ENDED:
        expected["images_seen"] = manifest.images_seen_after(manifest.step, plan)
        expected["status"] = "complete" if manifest.step == total else _status_of_stop(existing, config)
    else:  # They are written when a run ends.
        expected |= {"images_seen": 0, "digest": None}
    yield from differing_values({key: value for key, value in asdict(manifest).items() if key in expected}, expected)
    if manifest.status not in (*ENDED, "running", "failed"):
        yield f"status: {manifest.status} | one of {', '.join(ENDED)}, running, failed"
    if manifest.status in ENDED:
        if manifest.step not in existing.steps:
            yield f"step: {manifest.step} | the step of a checkpoint ({', '.join(map(str, existing.steps))})"
        if manifest.digest is None:
            yield "digest: missing | that of the last state"
    starts = [start.after_step for start in manifest.starts]
    if starts != sorted(set(starts)) or starts[:1] != [first_step - 1] or starts[-1] >= max(total, first_step):
        yield f"starts: after the steps {starts} | steps from {first_step - 1} on, in order"


def _status_of_stop(existing: Existing, config: Config) -> str:
    """Return "collapsed" or "stopped", for a run that ended before its last step."""
    watch = CollapseWatch()
    watch.feed(records_in_order(existing)[0])
    return "collapsed" if 0 < config.train.stop_on_collapse <= watch.in_a_row else "stopped"
