"""A run done again, whole or between two of its checkpoints, and held against what it wrote: figures, digests, tensors."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np

from sharingan_jax.config.schema import Config
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.errors import UserError
from sharingan_jax.files import make_folder, write_json
from sharingan_jax.gan.state import TrainState, named_arrays
from sharingan_jax.run.checkpoints import Checkpoints
from sharingan_jax.run.diff import differing_conditions, first_difference
from sharingan_jax.run.folder import RunDir, read_imported, read_manifest, write_config
from sharingan_jax.run.load import read_saved_run
from sharingan_jax.run.manifest import conditions_of
from sharingan_jax.run.metrics import append_metrics, read_metrics
from sharingan_jax.training import loop
from sharingan_jax.training.setup import prepare

NEVER = 2**31 - 1


@dataclass(frozen=True)
class Span:
    """The steps done again: those after `start` (a checkpoint's, or 0) up to and with `end` (a checkpoint's)."""

    start: int
    end: int


@dataclass(frozen=True)
class Verdict:
    """What came out. `figures` and `tensors` name the first step that differs and what of it; `digests` are those of the end,
    noted and found, where they differ. All three are None where the run is the same to the bit."""

    span: Span
    digest: str
    compared: list[int]
    figures: tuple[int, list[str]] | None
    tensors: tuple[int, list[str]] | None
    digests: tuple[str, str] | None
    conditions: list[str]
    noted_from: int

    @property
    def same(self) -> bool:
        return self.figures is None and self.tensors is None and self.digests is None


class StoppedError(Exception):
    """The run was not done again to its end: a signal came."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def choose_span(run: RunDir, *, start: int | None, end: int | None) -> Span:
    """The span asked for, or the longest there is. Raises UserError where its ends are not checkpoints of the run."""
    imported = read_imported(run)
    first = int(imported["step"]) if imported else 0
    with Checkpoints(run.checkpoints, keep=1, read_only=True) as checkpoints:
        steps = checkpoints.steps
    starts = sorted({*([] if imported and first not in steps else [first]), *steps})
    if not steps or not starts or steps == [first]:
        raise UserError(f"--workdir={run.root}: has made no step that there is a checkpoint of, so there is nothing to verify")
    span = Span(starts[0] if start is None else start, steps[-1] if end is None else end)
    for flag, step, choices in (("--from", span.start, starts), ("--to", span.end, steps)):
        if step not in choices:
            raise UserError(f"{flag}={step}: the run has no checkpoint of that step; there are: {', '.join(map(str, choices))}")
    if span.start >= span.end:
        raise UserError(f"--from={span.start} must be below --to={span.end}")
    return span


def verify(run: RunDir, config: Config, pictures: ImageDataset, span: Span, *, scratch: Path, stream: TextIO) -> Verdict:
    """Does the steps of `span` again in `scratch`, an empty folder, and compares. The run itself is only read.

    Raises UserError where the run's own records or checkpoints of the span are not whole, and StoppedError at a signal.
    """
    recorded = _records_of(run, span)
    steps = _check_ends(run, span)
    again = RunDir(scratch)
    quiet = replace(
        config,
        train=replace(config.train, steps=span.end),
        sample=replace(config.sample, every=NEVER),
        checkpoint=replace(config.checkpoint, keep=NEVER),
        log=replace(config.log, tensorboard=False),
    )
    _begin(run, again, quiet, start=span.start)
    outcome = loop.train(prepare(quiet, pictures, again), stream=stream)
    if outcome.exit_code:
        raise StoppedError(outcome.exit_code)
    anew = [record for record in read_metrics(again) if record["step"] > span.start]
    manifest = read_manifest(run.manifest)
    compared = [step for step in steps if (again.checkpoints / str(step)).is_dir()]
    digest_then = manifest.get("digest") if manifest.get("step") == span.end else None
    noted = conditions_of(manifest)
    return Verdict(
        span=span,
        digest=outcome.digest,
        compared=compared,
        figures=first_difference(recorded, anew),
        tensors=_first_tensors(run, again, compared),
        digests=(digest_then, outcome.digest) if digest_then not in (None, outcome.digest) else None,
        conditions=_changed_conditions(manifest, read_manifest(again.manifest), span),
        noted_from=noted[0].after_step if noted else span.end,
    )


def _changed_conditions(then: dict[str, Any], now: dict[str, Any], span: Span) -> list[str]:
    """What differs between the conditions under which the run made the steps of `span` and those of now, each named once.

    Where the run had several, the steps stand behind: `versions.jax: 0.10.1 | 0.10.2 (steps 41 to 80)`.
    """
    noted = conditions_of(then)
    ends = [later.after_step for later in noted[1:]] + [span.end]
    found: list[str] = []
    for one, end in zip(noted, ends, strict=True):
        first, last = max(one.after_step, span.start) + 1, min(end, span.end)
        if first <= last:
            steps = f" (steps {first} to {last})" if len(noted) > 1 else ""
            found += [line + steps for line in differing_conditions(one.noted, now)]
    return found


def _records_of(run: RunDir, span: Span) -> list[dict[str, Any]]:
    recorded = [record for record in read_metrics(run) if span.start < record["step"] <= span.end]
    lost = sorted(set(range(span.start + 1, span.end + 1)) - {record["step"] for record in recorded})
    if lost:
        raise UserError(f"{run.metrics} has no record of step {lost[0]}, so there is nothing to hold its figures against")
    return recorded


def _check_ends(run: RunDir, span: Span) -> list[int]:
    """The run's checkpoints in the span. Raises UserError where that at either end of it is damaged."""
    with Checkpoints(run.checkpoints, keep=1, read_only=True) as checkpoints:
        steps = checkpoints.steps
    for step in (span.start, span.end):
        if step in steps:
            read_saved_run(run.root, step=step)
    return [step for step in steps if span.start < step <= span.end]


def with_devices_of(run: RunDir, config: Config) -> Config:
    """`config` for as many devices as the run last had, where there are so many now; else for as many as fit."""
    count = int(read_manifest(run.manifest).get("device", {}).get("count", 0))
    return replace(config, train=replace(config.train, devices=count if 0 < count <= jax.device_count() else 0))


def _begin(run: RunDir, again: RunDir, config: Config, *, start: int) -> None:
    make_folder(again.checkpoints)
    write_config(again, config)
    imported = read_imported(run)
    if imported:
        write_json(again.manifest, {"imported": imported})
    if start or imported:
        shutil.copytree(run.checkpoints / str(start), again.checkpoints / str(start))
        append_metrics(again, [record for record in read_metrics(run) if record["step"] <= start])


def _first_tensors(run: RunDir, again: RunDir, steps: list[int]) -> tuple[int, list[str]] | None:
    """The first of `steps` after which tensors differ, with those; None where there is none."""
    for step in steps:
        found = differing_tensors(*(read_saved_run(place.root, step=step).state for place in (run, again)))
        if found:
            return step, found
    return None


def differing_tensors(one: TrainState, other: TrainState) -> list[str]:
    """The arrays of two states that are not the same bits, as `name: by up to x`, in the order of the state."""
    found = []
    for (name, ours), theirs in zip(named_arrays(one).items(), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(ours), np.asarray(theirs)
        if a.tobytes() != b.tobytes():
            apart = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
            found.append(f"{name}: by up to {apart:.3g}")
    return found
