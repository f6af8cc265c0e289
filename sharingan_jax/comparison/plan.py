"""What a comparison trains: configurations and grids of settings, each with the same seeds."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sharingan_jax.config.load import load_config, with_absolute_paths
from sharingan_jax.config.schema import KINDS, Config, settings_of
from sharingan_jax.errors import UserError

PER_RUN = ("seed", "train.seeds", "train.stacked_seeds")
"""Settings that a comparison decides itself."""
MOST_SEEDS = 4096


@dataclass(frozen=True)
class PlannedVariant:
    """One configuration to train with every seed; its runs lie in `folder`/seed-N, relative to the comparison's folder."""

    name: str
    folder: str
    config: Config


@dataclass(frozen=True)
class Plan:
    """The variants of a comparison, the first of which is the baseline, and its seeds."""

    variants: tuple[PlannedVariant, ...]
    seeds: tuple[int, ...]

    def path(self, root: Path, variant: PlannedVariant, seed: int) -> Path:
        """Return the folder of one run."""
        return root / variant.folder / f"seed-{seed}"


@dataclass(frozen=True)
class StudyRun:
    """A run of a comparison. `failure` says why it failed; "" if it did not."""

    variant: str
    seed: int
    path: Path
    failure: str = ""


def separator(names: Sequence[str]) -> str:
    """Return what stands between these names of variants: a semicolon if one has a comma, as those of varied settings have."""
    return "; " if any("," in name for name in names) else ", "


def title_of(names: Sequence[str]) -> str:
    """Return the title of a comparison of variants, the baseline first. What all names start with is said once."""
    if len(names) < 3:
        return " against ".join(reversed(names))
    start = names[0].partition(", ")[0] + ", "
    if all(name.startswith(start) for name in names):
        return f"{len(names)} variants of {start.removesuffix(', ')}: {'; '.join(name.removeprefix(start) for name in names)}"
    return f"{len(names)} variants: {separator(names).join(names)}"


def make_plan(
    configs: Sequence[str | Path | Config],
    seeds: Sequence[int],
    *,
    settings: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
    vary: Mapping[str, Sequence[Any]] | None = None,
    baseline: str | None = None,
) -> Plan:
    """Return the plan: each configuration with `settings` on top, and with every combination of the values in `vary`.

    The baseline (default: the first variant) comes first. Raise UserError if two variants are the same, or a setting is wrong.
    """
    if not configs:
        raise UserError("configs: expected at least one configuration, such as baseline.")
    given: Any = seeds
    if not isinstance(given, Iterable) or not all(isinstance(seed, int) for seed in given):
        raise UserError(f"seeds={seeds!r}: expected whole numbers, such as range(10) or [0, 1, 2].")
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise UserError(f"seeds={','.join(map(str, seeds))}: expected different numbers from 0 on, such as 0:10 or 0,1,2.")
    pairs = _settings(settings)
    vary = {key: [values] if isinstance(values, str | int | float) else list(values) for key, values in (vary or {}).items()}
    for key in [*dict(pairs), *vary]:
        if key in PER_RUN:
            raise UserError(f"{key}: a comparison sets it itself. Use `seeds`, and `stacked` for seeds in one program.")
    keys = list(vary)
    for key in keys:
        if len(set(map(str, vary[key]))) != len(vary[key]) or not vary[key]:
            raise UserError(f"vary={key}: expected different values, got {', '.join(map(str, vary[key])) or 'none'}.")
    variants = []
    for number, source in enumerate(configs):
        if not isinstance(source, str | Path | Config):
            raise UserError(f"configs: expected names, files or configurations, got {source!r}.")
        name = source if isinstance(source, str) else f"config {number + 1}" if isinstance(source, Config) else source.stem
        name = Path(name).stem if name.endswith(".py") else name
        for values in itertools.product(*(vary[key] for key in keys)):
            chosen = list(zip(keys, values, strict=True))
            config = with_absolute_paths(load_config(source, [*pairs, *chosen]))
            config = replace(config, train=replace(config.train, seeds=1, stacked_seeds=0), seed=seeds[0])
            full = ", ".join([name, *(f"{key}={value}" for key, value in chosen)])
            variants.append(PlannedVariant(full, _slug(full), config))
    _check_different(variants)
    if baseline is not None:
        names = [variant.name for variant in variants]
        if baseline not in names:
            raise UserError(f"baseline={baseline}: expected one of {', '.join(names)}.")
        variants.insert(0, variants.pop(names.index(baseline)))
    return Plan(tuple(variants), tuple(seeds))


def _check_different(variants: Sequence[PlannedVariant]) -> None:
    for one, other in itertools.combinations(variants, 2):
        if one.name == other.name:
            raise UserError(f"configs: {one.name} is given twice. Leave one of them out.")
        if one.folder == other.folder:
            raise UserError(f"configs: {one.name} and {other.name} would have the same folder. Rename one of the files.")
        if not changes(one.config, other.config):
            raise UserError(f"configs: {one.name} and {other.name} have the same settings. Leave one of them out.")
    # Turned images are the same images, and no run is judged by them.
    sources = {replace(variant.config.data, last_batch="", turns=1, mirrors=False): variant.name for variant in variants}
    if len(sources) > 1:
        raise UserError(
            f"configs: {' and '.join(sources.values())} train on different images (data.*), so no figure compares them."
        )


def _settings(given: Mapping[str, Any] | Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return settings as pairs of a dotted key and a value. Raise UserError for something else."""
    pairs: Any = given.items() if isinstance(given, Mapping) else given
    if not isinstance(pairs, Iterable) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise UserError(f"settings={given!r}: expected settings by dotted key, such as {{'train.steps': 400}}.")
    return list(pairs)


def changes(baseline: Config, config: Config) -> tuple[str, ...]:
    """Return the settings that differ, as `key: was -> is`, without the seed."""
    old, new = settings_of(baseline), settings_of(config)
    return tuple(f"{key}: {old[key]} -> {new[key]}" for key in KINDS if key not in PER_RUN and old[key] != new[key])


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.=+-]+", "-", name).strip("-.")


def parse_seeds(text: str) -> list[int]:
    """Return the seeds in `0:10` (0 to 9), `0,1,5` or `8` (one seed). Raise UserError."""
    parts: list[range] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})(?::(\d{1,10}))?\s*", part, re.ASCII)
        first, end = (int(match[1]), int(match[2] or int(match[1]) + 1)) if match else (0, 0)
        if end <= first or end > 2**31:
            raise UserError(f"seeds={text}: expected seeds such as 0:10 (0 to 9) or 0,1,5.")
        parts.append(range(first, end))
    count = sum(map(len, parts))  # Counted before they are listed: 0:2000000000 would fill the memory.
    if count > MOST_SEEDS:
        raise UserError(f"seeds={text}: expected at most {MOST_SEEDS} seeds, got {count:,}.")
    return list(itertools.chain(*parts))
