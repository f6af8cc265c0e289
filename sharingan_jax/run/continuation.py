"""Decide whether a start may continue the run in a folder, from what the folder says. Every such refusal is raised here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sharingan_jax.config.schema import Config, identity_changes
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.sources.files import lies_among
from sharingan_jax.errors import UserError, as_command
from sharingan_jax.run.diff import differing_images
from sharingan_jax.run.folder import RunFolder, read_config
from sharingan_jax.run.manifest import (
    DataRecord,
    Manifest,
    Origin,
    config_digest,
    describe_data,
    labels_digest,
    read_data_record,
    read_manifest,
)
from sharingan_jax.run.metrics import Record, read_whole_records


class UnrecordedError(UserError):
    """A checkpoint of a step up to which `metrics.jsonl` is not whole."""


@dataclass(frozen=True)
class Existing:
    """A run's folder as a start finds it, read once. In a new folder everything is None or empty.

    `steps` are those of its checkpoints, which may still turn out damaged; `data` is None for a run that has not trained yet.
    """

    folder: RunFolder
    config: Config | None
    manifest: Manifest | None
    data: DataRecord | None
    steps: tuple[int, ...]
    seed_folders: tuple[Path, ...]
    written_at: int
    """When the manifest was last written, in nanoseconds; 0 without one."""

    @property
    def origin(self) -> Origin | None:
        """Where the first state came from, if the run did not start from its seed."""
        return self.manifest.origin if self.manifest else None

    @property
    def last_step(self) -> int:
        """The last step whose checkpoint says that it holds that step; 0 if there is none."""
        return next((step for step in reversed(self.steps) if self.folder.has_state_of(step)), 0)

    @property
    def first_step(self) -> int:
        """The run's first step: 1, or the one after the step of its origin."""
        return self.origin.step + 1 if self.origin else 1


def read_existing(folder: RunFolder) -> Existing:
    """Read what a folder says of its run. Raise UserError naming the file that cannot be read or has wrong values."""
    if folder.root.exists() and not folder.root.is_dir():
        raise UserError(f"workdir={folder.root} is a file; give the name of a folder")
    written_at = _written_at(folder)
    if not folder.config.is_file():
        return Existing(folder, None, None, None, (), folder.seed_folders(), written_at)
    manifest = read_manifest(folder.manifest) if folder.manifest.is_file() else None
    data = read_data_record(folder.data) if folder.data.is_file() else None
    return Existing(folder, read_config(folder), manifest, data, folder.checkpoint_steps(), (), written_at)


def _written_at(folder: RunFolder) -> int:
    return folder.manifest.stat().st_mtime_ns if folder.manifest.is_file() else 0


def check_unchanged(existing: Existing) -> None:
    """Raise UserError if another start has trained in the folder since it was read."""
    if _written_at(existing.folder) != existing.written_at:
        seen = "expected the run that was there when this start read it, and another start has trained in it since"
        raise UserError(f"workdir={existing.folder.root}: {seen}. The same command continues that run.")


def check_continuation(existing: Existing, config: Config, dataset: ImageDataset, *, total_steps: int | None = None) -> None:
    """Raise UserError, naming what differs, if a start with `config` on `dataset` may not continue the run.

    A new folder is accepted unless it lies among the images or holds the runs of several seeds. With `total_steps`, a run that
    is past that step is refused as well.
    """
    root = existing.folder.root
    if config.data.source in ("folder", "parquet") and lies_among(root, Path(config.data.path)):
        raise UserError(
            f"workdir={root} lies inside data.path={config.data.path}, and its grids would be images to train on at the"
            " next start; use a folder outside it"
        )
    if existing.seed_folders:
        raise UserError(
            f"workdir={root} holds runs of several seeds; for one of them use {existing.seed_folders[0]}, for several"
            " train.seeds above 1"
        )
    if existing.config is None:
        return
    changed = identity_changes(existing.config, config)
    if changed:
        raise UserError(
            f"workdir={root} holds another run: {'; '.join(changed)}; use the settings it started with, or another folder"
            f"{_branch_hint(existing)}"
        )
    trained_on, now = existing.manifest.data if existing.manifest else None, describe_data(config, dataset)
    before = existing.data
    other_parts = before is not None and (before.held_out, before.labels) != (now.held_out, now.labels)
    if trained_on is not None and (trained_on.digest != now.digest or other_parts):
        found = differing_images(existing.data, now)
        raise UserError(
            f"workdir={root}: the images have changed since the run started (first: then, second: now): {'; '.join(found)};"
            f" put them back, or use another folder{_branch_hint(existing)}"
        )
    if total_steps is not None and existing.last_step > total_steps:
        raise UserError(
            f"workdir={root} is at step {existing.last_step}, past train.steps={total_steps};"
            f" ask for more than {existing.last_step}, or use another folder"
        )


def _branch_hint(existing: Existing) -> str:
    """Return how to continue a run with other settings or images, if it has a checkpoint."""
    branch = as_command("--branch-from", [str(existing.folder.root)])
    return f"; to continue its state so, give `train` {branch} and a new --workdir" if existing.steps else ""


def common_host_threads(several: Sequence[Existing]) -> int:
    """Return the host threads that the runs started with; 0 if all are new. Raise UserError if they differ."""
    configs = {existing.folder.root: existing.config for existing in several if existing.config}
    recorded = {config.train.host_threads: root for root, config in configs.items() if config.train.host_threads}
    if len(recorded) > 1:
        found = " and ".join(f"{root} with {threads}" for threads, root in recorded.items())
        raise UserError(
            f"train.host_threads: expected one number for all seeds, got {found}. Start them one by one, or set"
            f" --config.train.host_threads={min(recorded)}"
        )
    return min(recorded, default=0)


def checkpoint_metadata(config: Config, dataset: ImageDataset) -> dict[str, str]:
    """Return what a checkpoint records of the run it belongs to: the digests of settings, images, and labels if it knows them."""
    labels = labels_digest(config, dataset)
    return {"config": config_digest(config), "data": dataset.digest} | ({"labels": labels} if labels else {})


def check_checkpoint(folder: RunFolder, step: int, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Raise UserError if a checkpoint's metadata are those of another run. Keys that it does not have are ignored."""
    for name, part in (("config", "settings"), ("data", "images"), ("labels", "classes")):
        if name in expected and found.get(name, expected[name]) != expected[name]:
            raise UserError(
                f"workdir={folder.root}: the checkpoint of step {step} is of other {part}; use those it was made with, or"
                " another folder"
            )


def records_in_order(existing: Existing) -> tuple[list[Record], str]:
    """Return the records of the run's first steps, without a gap, and what is wrong with the line after them ("": nothing)."""
    records, problem = read_whole_records(existing.folder)
    for step, record in enumerate(records, existing.first_step):
        if record["step"] != step:
            lost = step not in {record["step"] for record in records}
            what = f"has no record of step {step}" if lost else "has records that are not in order"
            return records[: step - existing.first_step], f"{existing.folder.metrics} {what}"
    return records, problem


def check_recorded(existing: Existing, step: int) -> None:
    """Raise UnrecordedError if not all steps up to that of a checkpoint have a record."""
    records, problem = records_in_order(existing)
    last = existing.first_step - 1 + len(records)
    if last < step:
        what = problem or f"{existing.folder.metrics} has no record of step {last + 1}"
        raise UnrecordedError(f"{what}, and the last checkpoint is of step {step}")
