"""Compare two runs by what they recorded: settings, images, environment, metrics. Nothing is computed again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sharingan_jax.config.schema import to_dict
from sharingan_jax.files import user_path
from sharingan_jax.run.folder import RunFolder, read_config
from sharingan_jax.run.manifest import DataRecord, Environment, read_data_record, read_manifest
from sharingan_jax.run.metrics import read_metrics

MOST_NAMED = 10


@dataclass(frozen=True)
class RunDifferences:
    """The differences of two runs, each as `name: value | value`; empty lists if there are none.

    `metrics` is the first of the `common_steps` whose metrics are not the same floats, with those metrics, or None. `digests`
    are those of both runs' last states, None until a run has ended, and `last_steps` the steps that they belong to.
    """

    settings: list[str]
    images: list[str]
    environment: list[str]
    common_steps: list[int]
    metrics: tuple[int, list[str]] | None
    digests: tuple[str | None, str | None]
    last_steps: tuple[int, int]

    @property
    def digests_comparable(self) -> bool:
        """Whether both runs have ended, at the same step."""
        return None not in self.digests and self.last_steps[0] == self.last_steps[1]

    @property
    def same(self) -> bool:
        """Whether the runs are bitwise identical as far as both have recorded it."""
        same_digest = self.digests[0] == self.digests[1] or not self.digests_comparable
        return bool(self.common_steps) and self.metrics is None and same_digest


def diff(one: str | Path, other: str | Path) -> RunDifferences:
    """Compare the runs in two folders by what they recorded. Raise UserError if one of them cannot be read."""
    folders = [RunFolder(user_path(path, name=name)) for name, path in (("one", one), ("other", other))]
    configs = [to_dict(read_config(folder)) for folder in folders]
    manifests = [read_manifest(folder.manifest) if folder.manifest.is_file() else None for folder in folders]
    data = [read_data_record(folder.data) if folder.data.is_file() else None for folder in folders]
    records = [read_metrics(folder) for folder in folders]
    environments = [manifest.starts[-1].environment for manifest in manifests if manifest and manifest.starts]
    first, second = manifests
    return RunDifferences(
        settings=differing_values(*configs),
        images=differing_images(*data),
        environment=differing_environments(*environments) if len(environments) == 2 else ["one run has not started yet"],
        common_steps=sorted(set.intersection(*({record["step"] for record in own} for own in records))),
        metrics=first_difference(*records),
        digests=(first.digest if first else None, second.digest if second else None),
        last_steps=(first.step if first else 0, second.step if second else 0),
    )


def differing_values(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the values of two nested mappings that differ, as `dotted.key: value | value`.

    A missing value is a dash, and an empty text is ''.
    """
    ours, theirs = dict(flatten(one)), dict(flatten(other))
    pairs = {name: (ours.get(name, "–"), theirs.get(name, "–")) for name in (*ours, *theirs)}
    return [f"{name}: {_shown(our)} | {_shown(their)}" for name, (our, their) in pairs.items() if our != their]


def _shown(value: Any) -> str:
    return str(value) if value != "" else repr(value)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a nested mapping with their dotted keys."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def differing_environments(one: Environment, other: Environment) -> list[str]:
    """Return versions, devices and the like that differ, as `name: value | value`. A version that only one has is ignored."""
    ours, theirs = (dict(flatten(asdict(environment))) for environment in (one, other))
    both = [name for name in ours if name in theirs]
    return differing_values({name: ours[name] for name in both}, {name: theirs[name] for name in both})


def differing_images(one: DataRecord | None, other: DataRecord | None) -> list[str]:
    """Return how two data sets differ: files that only one has, that only one holds out, other contents, or only other pixels."""
    if one is None or other is None:
        return [] if one is other else ["data.json is missing in one of the two"]
    relabelled = bool(one.labels and other.labels and one.labels != other.labels)
    if one.digest == other.digest and one.held_out == other.held_out and not relabelled:
        return []
    ours, theirs = one.files | one.held_out, other.files | other.held_out
    found = [f"{name}: only in the first" for name in ours if name not in theirs]
    found += [f"{name}: only in the second" for name in theirs if name not in ours]
    found += [f"{name}: other contents" for name in ours if theirs.get(name, ours[name]) != ours[name]]
    found += [f"{name}: held out only in the first" for name in one.held_out if name in other.files]
    found += [f"{name}: held out only in the second" for name in other.held_out if name in one.files]
    if not found:
        pixels = "the same files, made into other pixels (data.size, data.channels, or Pillow's version)"
        found = ["the same images, with other classes" if one.digest == other.digest else pixels]
    more = len(found) - MOST_NAMED
    return found[:MOST_NAMED] + ([f"and {more} more"] if more > 0 else [])


def first_difference(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]] | None:
    """Return the first step that both have a record of and whose metrics are not the same floats, with those metrics.

    Return None if all are the same. `time` is not compared.
    """
    others = {record["step"]: record for record in other}
    for record in one:
        if record["step"] in others:
            found = differing_values({**record, "time": 0}, {**others[record["step"]], "time": 0})
            if found:
                return record["step"], found
    return None
