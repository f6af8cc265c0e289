"""Repeat a run, whole or between two of its checkpoints, and compare everything with what it wrote."""

import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from sharingan_jax.config.parse import parse
from sharingan_jax.config.schema import Config, identity_changes
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.devices.environment import pin_environment, pin_jax
from sharingan_jax.errors import Stopped, UserError
from sharingan_jax.files import make_folder
from sharingan_jax.run.continuation import Existing, read_existing
from sharingan_jax.run.diff import differing_environments, differing_images, first_difference
from sharingan_jax.run.folder import RunFolder, write_config
from sharingan_jax.run.manifest import Manifest, describe_data, read_manifest, write_manifest
from sharingan_jax.run.metrics import Record, append_metrics, read_metrics

if TYPE_CHECKING:
    from sharingan_jax.gan.state import TrainState

NEVER = 2**31 - 1


@dataclass(frozen=True)
class Span:
    """The steps that are repeated: those after `start` (a checkpoint's step, or 0) up to `end` (a checkpoint's step)."""

    start: int
    end: int


@dataclass(frozen=True)
class Verdict:
    """The result of a verification.

    `images` says how the images have changed since; nothing was repeated then. `metrics` and `tensors` name the first step that
    differs, and what differs there. `digests` are the recorded and the found digest of the end, if they differ. `environment`
    lists what has changed since, and `recorded_from` is the step from which the run recorded its environment.
    """

    span: Span
    digest: str = ""
    compared: tuple[int, ...] = ()
    images: tuple[str, ...] = ()
    metrics: tuple[int, list[str]] | None = None
    tensors: tuple[int, list[str]] | None = None
    digests: tuple[str, str] | None = None
    environment: tuple[str, ...] = ()
    recorded_from: int = 0

    @property
    def same(self) -> bool:
        """Whether the repeated steps gave the same bits as the run."""
        return not self.images and self.metrics is None and self.tensors is None and self.digests is None


def verify(
    workdir: Path | str,
    *,
    start: int | None = None,
    end: int | None = None,
    config: Config | None = None,
    keep_devices: bool = True,
    stream: TextIO | None = None,
) -> Verdict:
    """Repeat the steps of a run from `start` to `end` in a scratch folder and compare. The run itself is only read.

    The defaults are the whole run. `config` are the run's settings with another place of the images, or other devices
    (`keep_devices=False`). Raises UserError if the run's own records or checkpoints of these steps are not whole, or if the run
    cannot be repeated, and Stopped at a signal.
    """
    existing = read_existing(RunFolder(Path(workdir).expanduser()))
    recorded = _check_settings(existing)
    config = config or recorded
    pin_jax()
    config = pin_environment(config, recorded=config.train.host_threads)

    from sharingan_jax.data.sources.load import load_dataset_from_config  # JAX starts only when the environment is pinned.

    if keep_devices:
        config = _with_devices_of(existing, config)
    span = choose_span(existing, start=start, end=end)
    dataset = load_dataset_from_config(config.data)
    changed = differing_images(existing.data, describe_data(config, dataset)) if existing.data else []
    if changed:
        return Verdict(span, images=tuple(changed))
    with tempfile.TemporaryDirectory(prefix="sharingan-jax-verify-") as scratch:
        return repeat(existing, config, dataset, span, scratch=Path(scratch), stream=stream)


def _check_settings(existing: Existing) -> Config:
    """Return the run's settings. Raises UserError if the folder is not a run's, or if its two files disagree."""
    folder = existing.folder
    if existing.seed_folders:
        names = ", ".join(place.name for place in existing.seed_folders)
        raise UserError(f"--workdir={folder.root} holds the runs {names}: use one, such as {existing.seed_folders[0]}")
    if existing.config is None or existing.manifest is None:
        missing = folder.manifest.name if existing.config else folder.config.name
        raise UserError(f"--workdir={folder.root}: no {missing} there; expected a run's folder")
    changed = identity_changes(parse(existing.manifest.config), existing.config)
    if changed:
        raise UserError(
            f"{folder.config} does not have the settings of {folder.manifest.name}: {'; '.join(changed)}; one of them was changed"
            " since the run: put it back"
        )
    return existing.config


def _with_devices_of(existing: Existing, config: Config) -> Config:
    """Return `config` for as many devices as the run last had, if there are that many now; else for as many as fit."""
    import jax

    starts = existing.manifest.starts if existing.manifest else ()
    count = starts[-1].environment.device.count if starts else 0
    return replace(config, train=replace(config.train, devices=count if 0 < count <= jax.device_count() else 0))


def choose_span(existing: Existing, *, start: int | None, end: int | None) -> Span:
    """Return the span asked for, or the longest there is. Raises UserError if its ends are not checkpoints of the run."""
    first, steps = existing.first_step - 1, existing.steps
    starts = sorted({*([] if existing.imported and first not in steps else [first]), *steps})
    if not steps or not starts or steps == (first,):
        raise UserError(
            f"--workdir={existing.folder.root}: has made no step that there is a checkpoint of, so there is nothing to verify"
        )
    span = Span(starts[0] if start is None else start, steps[-1] if end is None else end)
    for flag, step, choices in (("--from", span.start, starts), ("--to", span.end, steps)):
        if step not in choices:
            raise UserError(f"{flag}={step}: the run has no checkpoint of that step; there are: {', '.join(map(str, choices))}")
    if span.start >= span.end:
        raise UserError(f"--from={span.start} must be below --to={span.end}")
    return span


def repeat(
    existing: Existing, config: Config, dataset: ImageDataset, span: Span, *, scratch: Path, stream: TextIO | None
) -> Verdict:
    """Repeat the steps of `span` in `scratch`, an empty folder, and compare. See `verify`."""
    from sharingan_jax.training.loop import train_group
    from sharingan_jax.training.setup import setup_run
    from sharingan_jax.training.signals import StopRequest

    assert existing.manifest is not None
    recorded = _records_of(existing, span)
    steps = _check_ends(existing, span)
    again = RunFolder(scratch)
    quiet = replace(
        config,
        train=replace(config.train, steps=span.end),
        sample=replace(config.sample, every=NEVER),
        checkpoint=replace(config.checkpoint, keep=NEVER),
        log=replace(config.log, tensorboard=False),
    )
    _write_beginning(existing, again, quiet, start=span.start)
    setup = setup_run(quiet, dataset, read_existing(again))
    out = stream or sys.stderr
    print(f"repeating steps {span.start + 1} to {span.end} of {existing.folder.root} in a scratch folder", file=out, flush=True)
    with StopRequest() as stop:
        (result,) = train_group([setup], stop=stop, stream=out, verb="repeating")
    if isinstance(result, UserError):
        raise result
    if result.signal:
        raise Stopped(result.signal)
    repeated = [record for record in read_metrics(again) if record["step"] > span.start]
    manifest = existing.manifest
    compared = [step for step in steps if (again.checkpoints / str(step)).is_dir()]
    digest_then = manifest.digest if manifest.step == span.end else None
    return Verdict(
        span=span,
        digest=result.digest,
        compared=tuple(compared),
        metrics=first_difference(recorded, repeated),
        tensors=_first_tensors(existing.folder, again, compared),
        digests=(digest_then, result.digest) if digest_then not in (None, result.digest) else None,
        environment=tuple(_changed_environment(manifest, read_manifest(again.manifest), span)),
        recorded_from=manifest.starts[0].after_step if manifest.starts else span.end,
    )


def _changed_environment(then: Manifest, now: Manifest, span: Span) -> list[str]:
    """Return what differs between the environments that made the steps of `span` and the one of now, each named once.

    If the run had several, the steps are added: `versions.jax: 0.10.1 | 0.10.2 (steps 41 to 80)`.
    """
    ends = [later.after_step for later in then.starts[1:]] + [span.end]
    found: list[str] = []
    for start, end in zip(then.starts, ends, strict=True):
        first, last = max(start.after_step, span.start) + 1, min(end, span.end)
        if first <= last:
            steps = f" (steps {first} to {last})" if len(then.starts) > 1 else ""
            found += [line + steps for line in differing_environments(start.environment, now.starts[-1].environment)]
    return found


def _records_of(existing: Existing, span: Span) -> list[Record]:
    recorded = [record for record in read_metrics(existing.folder) if span.start < record["step"] <= span.end]
    lost = sorted(set(range(span.start + 1, span.end + 1)) - {record["step"] for record in recorded})
    if lost:
        raise UserError(f"{existing.folder.metrics} has no record of step {lost[0]}, so there is nothing to compare with")
    return recorded


def _check_ends(existing: Existing, span: Span) -> list[int]:
    """Return the run's checkpoints in the span. Raises UserError if the one at either end of it is damaged."""
    from sharingan_jax.run.load import Run

    run = Run(existing.folder.root)
    for step in (span.start, span.end):
        if step in existing.steps:
            run.state(step)
    return [step for step in existing.steps if span.start < step <= span.end]


def _write_beginning(existing: Existing, again: RunFolder, config: Config, *, start: int) -> None:
    """Write into the scratch folder what a run has before the step after `start`."""
    assert existing.manifest is not None
    make_folder(again.checkpoints)
    write_config(again, config)
    write_manifest(again.manifest, replace(existing.manifest, starts=(), digest=None, wall_seconds=0.0))
    if start or existing.imported:
        shutil.copytree(existing.folder.checkpoints / str(start), again.checkpoints / str(start))
        append_metrics(again, [record for record in read_metrics(existing.folder) if record["step"] <= start])


def _first_tensors(folder: RunFolder, again: RunFolder, steps: list[int]) -> tuple[int, list[str]] | None:
    """Return the first of `steps` after which tensors differ, with those tensors; None if there is none."""
    from sharingan_jax.run.load import Run

    for step in steps:
        found = differing_tensors(*(Run(place.root).state(step) for place in (folder, again)))
        if found:
            return step, found
    return None


def differing_tensors(one: "TrainState", other: "TrainState") -> list[str]:
    """Return the arrays of two states that are not the same bits, as `name: by up to x`, in the order of the state."""
    import jax

    from sharingan_jax.gan.state import named_arrays

    found = []
    for (name, ours), theirs in zip(named_arrays(one).items(), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(ours), np.asarray(theirs)
        if a.tobytes() != b.tobytes():
            apart = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
            found.append(f"{name}: by up to {apart:.3g}")
    return found
