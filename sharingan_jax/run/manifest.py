"""`manifest.json`, what a run records about itself, and `data.json`, the images it was trained on."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from sharingan_jax.config.schema import RULES, Config, identity
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.errors import UserError
from sharingan_jax.files import PUT_BACK, read_as, read_json, write_json

STATUSES = ("imported", "branched", "running", "complete", "stopped", "collapsed", "failed")
"""`imported` and `branched` are runs with a first state from elsewhere that have not started yet."""
MOST_FILES = 100_000
"""The most images that `data.json` names one by one."""
FORMAT = 4
"""The layout of both files. Raise it when a key changes its meaning: runs of another format are then refused."""


@dataclass(frozen=True)
class Device:
    """The devices that a run's program used: `count` of one kind, in all its processes together."""

    platform: str
    kind: str
    count: int
    processes: int


@dataclass(frozen=True)
class Environment:
    """What decides rounding besides settings and images: devices, versions, compiler flags, threads, this code's commit.

    `stacked_seeds` runs shared one program, on `stacked_devices` devices; a run trained alone has 1 and 1.
    """

    device: Device
    stacked_seeds: int
    stacked_devices: int
    conv_impl: str
    host_threads: int
    xla_flags: str
    jax_variables: str
    versions: dict[str, str]
    git: dict[str, Any] | None
    platform: str
    machine: str
    processor: dict[str, str]
    byteorder: str


@dataclass(frozen=True)
class Start:
    """One start of a run: it made the steps after `after_step`, up to the next start, in this environment.

    `sample` are its settings `sample.every`, `num` and `columns`, which decide which grids it wrote.
    """

    after_step: int
    environment: Environment
    sample: dict[str, int]


@dataclass(frozen=True)
class DataSummary:
    """The training images of a run: source, number and digest; how many files were skipped, how many bad ones were left
    out, how many images were held out.
    """

    source: str
    count: int
    digest: str
    skipped: int
    bad: int
    held_out: int


@dataclass(frozen=True)
class DataRecord:
    """`data.json`: the summary with each skipped file and each bad one (an image that cannot be read) and the reason, and the
    name and SHA-256 of each image's source: `files` are the training images, `held_out` the images held out from training.
    More than MOST_FILES training images have one entry: their number, and the SHA-256 over all names and digests.
    If the networks know classes, `labels` is the SHA-256 of all labels, and `classes` are the names, in the labels' order.
    """

    source: str
    count: int
    digest: str
    skipped: dict[str, str]
    bad: dict[str, str]
    files: dict[str, str]
    held_out: dict[str, str]
    labels: str = ""
    classes: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def summary(self) -> DataSummary:
        return DataSummary(self.source, self.count, self.digest, len(self.skipped), len(self.bad), len(self.held_out))


@dataclass(frozen=True)
class Origin:
    """Where the first state of a run came from, if it did not start from its seed: its step and digest, and either PyTorch
    `files` with their SHA-256, or the folder of another `run` and the settings changed since, as `key: then | now`.

    `images_seen` is the number of images that the other run had seen; None for files, which do not say. `missing` are the
    networks (`disc`) that the files lack; they have the initial weights of the run's seed.
    """

    step: int
    digest: str
    files: dict[str, str]
    run: str | None = None
    changes: tuple[str, ...] = ()
    images_seen: int | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Branch:
    """A run that started from the state of this one after `step`: its folder, and the settings changed there."""

    folder: str
    step: int
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`. `status` is one of STATUSES; `digest` is None until a start has ended.

    `starts` has one entry for each change of environment or of `sample`, not for each start: one that changes neither adds none.
    """

    status: str
    seed: int
    step: int
    total_steps: int
    config: dict[str, Any]
    config_digest: str
    data: DataSummary | None = None
    starts: tuple[Start, ...] = ()
    origin: Origin | None = None
    branches: tuple[Branch, ...] = ()
    digest: str | None = None
    images_seen: int = 0
    wall_seconds: float = 0.0
    format: int = FORMAT

    @property
    def initial_devices(self) -> int:
        """How many devices made the run's first steps; 0 for a run that has made none."""
        return self.starts[0].environment.device.count if self.starts else 0

    def initial_stacked_devices(self, *, seeds: int) -> int:
        """Return the number of devices of the first start with `seeds` stacked runs; 0 if there was none."""
        stacked = (start.environment for start in self.starts if start.environment.stacked_seeds == seeds)
        return next((environment.stacked_devices for environment in stacked), 0)

    def images_seen_after(self, step: int, plan: BatchPlan) -> int:
        """Return how many images the first `step` steps have seen, those of the run it came from included."""
        before = self.origin.images_seen if self.origin else None
        if self.origin is None or before is None:
            return plan.images_seen(step)
        return before + plan.images_seen(step) - plan.images_seen(self.origin.step)

    def with_start(self, start: Start) -> "Manifest":
        """Return the manifest with another start. Environments of steps that are about to be repeated are dropped."""
        kept = tuple(earlier for earlier in self.starts if earlier.after_step < start.after_step)
        if kept and replace(kept[-1], after_step=start.after_step) == start:
            return replace(self, starts=kept)
        return replace(self, starts=(*kept, start))


def read_manifest(path: Path) -> Manifest:
    """Return a run's manifest. Raise UserError naming the file and the wrong key."""
    manifest = read_as(Manifest, _checked_format(path), path=path)
    for number, start in enumerate(manifest.starts):
        for name in ("every", "num", "columns"):
            value, rule = start.sample.get(name), RULES[f"sample.{name}"]
            if not rule.allows(value):
                raise UserError(f"{path}: starts[{number}].sample.{name}: expected {rule}, got {value}; {PUT_BACK}")
    return manifest


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, atomically."""
    write_json(path, asdict(manifest))


def read_data_record(path: Path) -> DataRecord:
    """Return what `data.json` holds. Raise UserError naming the file and the wrong key."""
    return read_as(DataRecord, _checked_format(path), path=path)


def write_data_record(path: Path, record: DataRecord) -> None:
    """Write `data.json`, atomically."""
    write_json(path, asdict(record))


def describe_data(config: Config, dataset: ImageDataset) -> DataRecord:
    """Return what `data.json` holds for the training images `dataset`. More than MOST_FILES have one entry together."""
    files = dict(zip(dataset.names, dataset.digests, strict=True))
    if len(files) > MOST_FILES:
        lines = (f"{name}\0{digest}\n".encode() for name, digest in files.items())
        files = {f"{len(files):,} images": sha256(b"".join(lines)).hexdigest()}
    return DataRecord(
        source=config.data.source,
        count=dataset.count,
        digest=dataset.digest,
        skipped=dict(dataset.skipped),
        bad=dict(dataset.bad),
        files=files,
        held_out=dict(dataset.held_out_digests),
        labels=labels_digest(config, dataset),
        classes=dataset.classes if config.model.classes else (),
    )


def labels_digest(config: Config, dataset: ImageDataset) -> str:
    """Return the SHA-256 of the images' labels and the classes' names, if the networks know classes; else ""."""
    if not config.model.classes or dataset.labels is None:
        return ""
    return sha256(json.dumps([dataset.labels.tolist(), dataset.classes]).encode()).hexdigest()


def config_digest(config: Config) -> str:
    """Return the SHA-256 over the settings that make a run what it is."""
    return sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()


def _checked_format(path: Path) -> Mapping[str, Any]:
    value = read_json(path)
    if value.get("format") != FORMAT:
        raise UserError(
            f"{path}: format={value.get('format')!r}: expected {FORMAT}. The file was written by another version of this"
            " project, or is not a run's; use that version, or another folder"
        )
    return value
