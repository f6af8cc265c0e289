"""Repeat a run, whole or between two of its checkpoints, and compare everything with what it wrote."""

import shutil
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TextIO

from sharingan_jax.config.load import ConfigSource, load_config
from sharingan_jax.config.parse import parse
from sharingan_jax.config.schema import Config, identity_changes
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.devices.environment import pin_environment
from sharingan_jax.errors import Stopped, UserError
from sharingan_jax.evaluation.measures.collapse import SIGN_NAMES
from sharingan_jax.files import ABANDONED_AFTER, PUT_BACK, make_folder, user_path
from sharingan_jax.reporting.output import lasting
from sharingan_jax.run.continuation import Existing, read_existing
from sharingan_jax.run.diff import differing_environments, differing_images, first_difference
from sharingan_jax.run.folder import RunFolder, read_config, write_config
from sharingan_jax.run.lock import is_locked
from sharingan_jax.run.manifest import Manifest, describe_data, read_manifest, write_manifest
from sharingan_jax.run.metrics import Record, read_metrics, write_metrics

NEVER = 2**31 - 1
SCRATCH = "sharingan-jax-verify-"
NOT_DERIVED = (
    "times, recorded environments, origins and branches, data.json's lists of other files, Orbax's own metadata, damaged/,"
    " evaluation/, events/, losses.png, raw_vs_averaged.png, real_vs_fake.png, report.html and training.gif"
)
"""What no rerun can give again, or what is drawn from the rest."""


@dataclass(frozen=True)
class Span:
    """The steps that are repeated: those after `start` (a checkpoint's step, or 0) up to `end` (a checkpoint's step)."""

    start: int
    end: int


@dataclass(frozen=True)
class Verdict:
    """The result of a verification.

    `images` says how the images have changed since; nothing was repeated then. `metrics` and `tensors` name the first step that
    differs, and what differs there; `ends_alike` says whether the last checkpoint is the same nevertheless. `digests` are the
    recorded and the found digest of the end, if they differ. `grids` names the sample grids that differ or are missing, and
    `contradictions` what the run's own files say against each other. `compared` and `compared_grids` are the steps of the
    checkpoints and grids that were compared; `not_compared` says what was not. `environment` lists what has changed since, and
    `recorded_from` is the step from which the run recorded it.
    """

    span: Span
    digest: str = ""
    compared: tuple[int, ...] = ()
    compared_grids: tuple[int, ...] = ()
    not_compared: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    metrics: tuple[int, list[str]] | None = None
    tensors: tuple[int, list[str]] | None = None
    ends_alike: bool = True
    digests: tuple[str, str] | None = None
    grids: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    recorded_from: int = 0

    @property
    def same(self) -> bool:
        """Whether the repeated steps gave the same bits as the run, and its files agree with each other."""
        return not any((self.images, self.contradictions, self.metrics, self.tensors, self.digests, self.grids))

    @property
    def was_edited(self) -> bool:
        """Whether the repeated steps end in the run's own weights, so that what differs was edited or damaged after the run."""
        return not self.same and not self.images and self.ends_alike and bool(self.compared)


def verify(
    workdir: Path | str,
    *,
    start: int | None = None,
    end: int | None = None,
    config: ConfigSource | None = None,
    keep_devices: bool = True,
    stream: TextIO | None = None,
) -> Verdict:
    """Repeat the steps of a run from `start` to `end` in a scratch folder and compare. The run itself is only read.

    The defaults are the whole run. `config` are the run's settings with another place of the images, or other devices
    (`keep_devices=False`). Raise UserError if the run's own records or checkpoints of these steps are not whole, or if the run
    cannot be repeated, and Stopped at a signal.
    """
    existing = read_existing(RunFolder(user_path(workdir, name="workdir")))
    folder, manifest, recorded = existing.folder, existing.manifest, existing.config or read_config(existing.folder)
    if manifest is None:
        raise UserError(f"workdir={folder.root}: no {folder.manifest.name} there; expected a run's folder")
    changed = identity_changes(parse(manifest.config), recorded)
    if changed:
        raise UserError(
            f"{folder.config} does not have the settings of {folder.manifest.name}: {'; '.join(changed)}; one of them was changed"
            " since the run: put it back"
        )
    config = pin_environment(recorded if config is None else load_config(config), recorded=recorded.train.host_threads)

    import jax  # It starts only when the environment is pinned.

    from sharingan_jax.data.sources.load import load_dataset_from_config
    from sharingan_jax.training.consistency import contradictions

    if keep_devices:
        last = manifest.starts[-1].environment.device.count if manifest.starts else 0
        config = replace(config, train=replace(config.train, devices=last if last <= jax.device_count() else 0))
    span = _choose_span(existing, start=start, end=end)
    dataset = load_dataset_from_config(config.data)
    images = differing_images(existing.data, describe_data(config, dataset)) if existing.data else []
    if images:
        return Verdict(span, images=tuple(images))
    found = contradictions(existing, manifest, recorded, dataset)
    _remove_abandoned_scratch()
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch:
        out = lasting(stream or sys.stderr)
        verdict = _repeat(existing, manifest, config, dataset, span, again=RunFolder(Path(scratch)), stream=out)
    return replace(verdict, contradictions=tuple(found))


def _remove_abandoned_scratch() -> None:
    """Remove the scratch folders of verifications that were killed: nothing trains in them, and they are hours old."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with suppress(OSError):  # It may be another user's.
            if time.time() - folder.stat().st_mtime > ABANDONED_AFTER and not is_locked(folder):
                shutil.rmtree(folder)


def _choose_span(existing: Existing, *, start: int | None, end: int | None) -> Span:
    """Return the span asked for, or the longest there is. Raise UserError if its ends are not checkpoints of the run."""
    first, steps = existing.first_step - 1, existing.steps
    starts = sorted({*([] if existing.origin and first not in steps else [first]), *steps})
    if not steps or not starts or steps == (first,):
        raise UserError(f"workdir={existing.folder.root}: has no checkpoint after its first step, so there is nothing to verify")
    span = Span(starts[0] if start is None else start, steps[-1] if end is None else end)
    for name, step, choices in (("start", span.start, starts), ("end", span.end, steps)):
        if step not in choices:
            raise UserError(f"{name}={step}: the run has no checkpoint of that step; there are: {', '.join(map(str, choices))}")
    if span.start >= span.end:
        raise UserError(f"start={span.start}: expected a step below {span.end}, where the repetition ends")
    return span


def _repeat(
    existing: Existing, manifest: Manifest, config: Config, dataset: ImageDataset, span: Span, *, again: RunFolder, stream: TextIO
) -> Verdict:
    """Repeat the steps of `span` in the empty folder `again`, and compare."""
    from sharingan_jax.gan.state import TrainState
    from sharingan_jax.run.load import Run
    from sharingan_jax.training.comparison import ComparedCheckpoints, compare_grids, differing_tensors, sample_settings
    from sharingan_jax.training.consistency import ENDED
    from sharingan_jax.training.loop import train_group
    from sharingan_jax.training.recorder import draw_sample, save_sample
    from sharingan_jax.training.setup import setup_run
    from sharingan_jax.training.signals import StopRequest

    folder = existing.folder
    records = read_metrics(folder)
    recorded = [record for record in records if span.start < record["step"] <= span.end]
    lost = sorted(set(range(span.start + 1, span.end + 1)) - {record["step"] for record in recorded})
    if lost:
        raise UserError(f"{folder.metrics} has no record of step {lost[0]}: it was edited or damaged since; {PUT_BACK}")
    quiet = replace(
        config,
        train=replace(config.train, steps=span.end, stop_on_collapse=0),
        checkpoint=replace(config.checkpoint, every=NEVER),
        log=replace(config.log, tensorboard=False),
    )
    make_folder(again.checkpoints)
    write_config(again, quiet)
    write_manifest(again.manifest, replace(manifest, starts=(), digest=None, wall_seconds=0.0))
    if span.start or existing.origin:
        shutil.copytree(folder.checkpoints / str(span.start), again.checkpoints / str(span.start))
        write_metrics(again, [record for record in records if record["step"] <= span.start])
    setup = setup_run(quiet, dataset, read_existing(again))
    compared = tuple(step for step in existing.steps if span.start < step <= span.end)
    drawn = asdict(config.sample)
    settings = {step: sample_settings(manifest, step) for step in folder.sample_files(span.end) if step > span.start}
    drawn_otherwise = {step: sample for step, sample in settings.items() if sample not in ({}, drawn)}
    setup = replace(setup, schedule=replace(setup.schedule, extra_saves=tuple(sorted({*compared, *drawn_otherwise}))))
    differences: dict[int, list[str]] = {}
    run = Run(folder.root)

    def compare(state: TrainState) -> None:
        step = int(state.step)
        if step in compared:
            differences[step] = differing_tensors(run.state(step), state)
        if sample := drawn_otherwise.get(step):
            save_sample(setup, step, draw_sample(setup, state, num=sample["num"]), columns=sample["columns"])

    open_checkpoints = partial(ComparedCheckpoints, compare=compare)
    print(f"repeating steps {span.start + 1} to {span.end} of {folder.root} in a scratch folder", file=stream, flush=True)
    with StopRequest() as stop:
        (repeated,) = train_group([setup], stop=stop, stream=stream, verb="repeating", open_checkpoints=open_checkpoints)
    if repeated.failure:
        raise repeated.failure
    if stop.agreed and not repeated.is_complete:
        raise Stopped(stop.agreed)

    now = read_manifest(again.manifest)
    digests = (manifest.digest or "", now.digest or "")
    due = [step for step in range(existing.first_step, span.end + 1) if step % config.checkpoint.every == 0 or step == span.end]
    gone = [step for step in due[-config.checkpoint.keep :] if step not in existing.steps]
    not_there = [f"checkpoints that are gone: {', '.join(map(str, gone))}"] if gone else []
    if manifest.status not in ENDED:
        not_there.append(f"status and step, since the run is recorded as {manifest.status} and has not ended")
    if manifest.starts and manifest.starts[-1].sample != drawn:
        not_there.append("how often the last start drew a grid: config.json has other settings than it recorded")
    earlier = [f"steps {existing.first_step} to {span.start}"] if span.start >= existing.first_step else []
    grids, compared_grids, not_compared = compare_grids(manifest, folder, again, steps=range(span.start + 1, span.end + 1))
    return Verdict(
        span=span,
        digest=digests[1],
        compared=compared,
        compared_grids=compared_grids,
        not_compared=(NOT_DERIVED, *not_there, *not_compared, *earlier),
        metrics=first_difference(*(_without_signs(one, manifest, drawn) for one in (recorded, read_metrics(again)))),
        tensors=next(((step, names) for step, names in sorted(differences.items()) if names), None),
        ends_alike=not differences.get(span.end),
        digests=digests if manifest.step == span.end and digests[0] not in ("", digests[1]) else None,
        grids=tuple(grids),
        environment=tuple(_changed_environment(manifest, now, span)),
        recorded_from=manifest.starts[0].after_step if manifest.starts else span.end,
    )


def _without_signs(records: list[Record], manifest: Manifest, drawn: dict[str, int]) -> list[Record]:
    """Return records without the signs of collapse of grids with other settings than `drawn`: other images, other signs."""
    from sharingan_jax.training.comparison import sample_settings

    return [
        record
        if sample_settings(manifest, record["step"]) == drawn
        else {key: value for key, value in record.items() if key not in SIGN_NAMES}
        for record in records
    ]


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
