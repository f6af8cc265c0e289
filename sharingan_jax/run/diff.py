"""Two runs compared by what they wrote of themselves: settings, pictures, conditions, figures. Nothing is computed again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Manifest = Mapping[str, Any]
CONDITIONS = (
    "device",
    "seeds_at_once",
    "seeds_devices",
    "convolution",
    "host_threads",
    "xla_flags",
    "jax_variables",
    "versions",
    "git",
    "platform",
    "machine",
    "processor",
    "byteorder",
)
"""The parts of a manifest that may decide roundings."""
MOST_NAMED = 10


def differing_settings(one: Manifest, other: Manifest) -> list[str]:
    """Settings that differ, as `key: value | value`."""
    return _differing(one.get("config", {}), other.get("config", {}))


def differing_conditions(one: Manifest, other: Manifest) -> list[str]:
    """Versions, devices and the like that differ, as `name: value | value`. What only one of them noted cannot be said to."""
    ours, theirs = (dict(_flat({name: run[name] for name in CONDITIONS if name in run})) for run in (one, other))
    noted = [name for name in ours if name in theirs]
    return _differing({name: ours[name] for name in noted}, {name: theirs[name] for name in noted})


def differing_pictures(one: Manifest, other: Manifest) -> list[str]:
    """What of the data differs: files only in one, files of other contents, or the whole's fingerprint alone."""
    parts = one.get("data", {}), other.get("data", {})
    if parts[0].get("fingerprint") == parts[1].get("fingerprint"):
        return []
    files: tuple[dict[str, str], ...] = tuple(part.get("files", {}) for part in parts)
    found = [f"{name}: only in the first" for name in files[0] if name not in files[1]]
    found += [f"{name}: only in the second" for name in files[1] if name not in files[0]]
    found += [f"{name}: other contents" for name in files[0] if files[1].get(name, files[0][name]) != files[0][name]]
    if not found:
        found = ["the same files, made into other pixels (data.size, data.channels, or Pillow's version)"]
    more = len(found) - MOST_NAMED
    return found[:MOST_NAMED] + ([f"and {more} more"] if more > 0 else [])


def first_difference(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]] | None:
    """The first step that both have records of and whose figures are not the same floats, with those figures; None where all are.

    `time` is not compared.
    """
    others = {record["step"]: record for record in other}
    for record in one:
        if record["step"] in others:
            figures = [
                {name: value for name, value in line.items() if name != "time"} for line in (record, others[record["step"]])
            ]
            found = _differing(*figures)
            if found:
                return record["step"], found
    return None


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    ours, theirs = dict(_flat(one)), dict(_flat(other))
    names = list(dict.fromkeys([*ours, *theirs]))
    missing = "–"
    return [
        f"{name}: {ours.get(name, missing)} | {theirs.get(name, missing)}"
        for name in names
        if ours.get(name, missing) != theirs.get(name, missing)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
