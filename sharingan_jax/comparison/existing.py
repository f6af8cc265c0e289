"""Group runs that exist into variants: the same settings except the seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sharingan_jax.comparison.failures import failure_of
from sharingan_jax.comparison.plan import PER_RUN, StudyRun
from sharingan_jax.config.parse import parse
from sharingan_jax.config.schema import Config, DataConfig, settings_of
from sharingan_jax.errors import UserError
from sharingan_jax.run.listing import COMPARED, RunEntry, list_runs
from sharingan_jax.run.manifest import Manifest, read_manifest


def check_same_images(manifests: Mapping[Path, Manifest]) -> None:
    """Raise UserError if two of the runs, with their manifests by path, were trained on different images."""
    digests: dict[str, Path] = {}
    for path, manifest in sorted(manifests.items()):
        if manifest.data is not None:
            digests.setdefault(manifest.data.digest, path)
    if len(digests) > 1:
        first, second, *_ = digests.values()
        raise UserError(f"{first} and {second}: were trained on different images, so no figure compares them. Compare one set.")


def group_runs(folders: Sequence[Path], *, baseline: str | None = None) -> tuple[list[StudyRun], DataConfig]:
    """Return the runs in and below `folders` by variant and seed, and the images of the first. The baseline comes first.

    Without one the variants have the order of `folders`, and in a folder that of their paths.

    A variant is named after its configuration. If several would have one name, or none is exactly a variant's, a variant has the
    name of the folder that holds its seeds.
    Raise UserError if there is no run in one of them, if two runs of a variant have one seed, or if their images differ.
    """
    entries: dict[Path, RunEntry] = {}
    for folder in folders:
        below = list_runs(folder)
        if not below:
            raise UserError(f"{folder}: expected a folder with runs, found none.")
        entries |= {entry.path.resolve(): entry for entry in below}
    groups: dict[tuple[object, ...], list[tuple[Path, Config, str]]] = {}
    manifests = {path: read_manifest(path / "manifest.json") for path in entries}
    check_same_images(manifests)
    for path, entry in entries.items():
        config = parse(manifests[path].config)
        settings = settings_of(config)
        key = tuple(settings[name] for name in COMPARED if name not in PER_RUN)
        groups.setdefault(key, []).append((path, config, entry.config))
    names = [members[0][2] for members in groups.values()]
    runs = []
    for name, members in zip(names, groups.values(), strict=True):
        # `quick +2` does not say which two settings; the folder that `compare` makes does.
        own = name if len(names) == 1 or (names.count(name) == 1 and " +" not in name) else _folder_name(members[0][0])
        seeds: dict[int, Path] = {}
        for path, config, _ in members:
            if config.seed in seeds:
                there = f"{seeds[config.seed]} and {path}"
                raise UserError(f"{there}: are the same configuration and seed, so they are not two results. Give one of them.")
            seeds[config.seed] = path
        runs += [StudyRun(own, seed, path, failure_of(path)) for seed, path in sorted(seeds.items())]
    found = list(dict.fromkeys(run.variant for run in runs))
    if len(found) < len(groups):
        raise UserError(f"{', '.join(map(str, folders))}: several variants have the name of one folder. Report on fewer folders.")
    if baseline is not None:
        if baseline not in found:
            raise UserError(f"baseline={baseline}: expected one of {', '.join(found)}.")
        runs.sort(key=lambda run: run.variant != baseline)
    data = next(iter(groups.values()))[0][1].data
    return runs, data


def _folder_name(path: Path) -> str:
    return path.parent.name if path.name.startswith("seed-") else path.name
