"""A run done again, whole or between two of its checkpoints, and held against what it wrote: figures, digests, tensors."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import jax
import numpy as np

from sharingan_jax import loop
from sharingan_jax.atomic import make_folder, write_json
from sharingan_jax.checkpoint import Checkpoints
from sharingan_jax.comparison import differing_conditions, first_difference
from sharingan_jax.config import Config
from sharingan_jax.data.pictures import Pictures
from sharingan_jax.errors import UserError
from sharingan_jax.rundir import RunDir, append_metrics, read_imported, read_json, read_metrics, write_config
from sharingan_jax.saved import read_saved_run
from sharingan_jax.state import TrainState

NEVER = 2**31 - 1


@dataclass(frozen=True)
class Span:
    """The steps done again: those after `start` (a checkpoint's, or 0) up to and with `end` (a checkpoint's)."""

    start: int
    end: int


@dataclass(frozen=True)
class Verdict:
    """What came out. `figures` and `tensors` name the first that differ; both None where the run is the same to the bit."""

    span: Span
    digest: str
    compared: int
    figures: tuple[int, list[str]] | None
    tensors: tuple[int, list[str]] | None
    conditions: list[str]

    @property
    def same(self) -> bool:
        return self.figures is None and self.tensors is None


def choose_span(run: RunDir, *, start: int | None, end: int | None) -> Span:
    """The span asked for, or the longest there is. Raises UserError where its ends are not checkpoints of the run."""
    imported = read_imported(run)
    first = int(imported["step"]) if imported else 0
    with Checkpoints(run.checkpoints, keep=1, read_only=True) as checkpoints:
        steps = checkpoints.steps
    starts = sorted({*([] if imported and first not in steps else [first]), *steps})
    if not steps or not starts:
        raise UserError(f"--workdir={run.root}: has no checkpoint to hold against")
    span = Span(starts[0] if start is None else start, steps[-1] if end is None else end)
    for flag, step, choices in (("--from", span.start, starts), ("--to", span.end, steps)):
        if step not in choices:
            raise UserError(f"{flag}={step}: the run has no checkpoint of that step; there are: {', '.join(map(str, choices))}")
    if span.start >= span.end:
        raise UserError(f"--from={span.start} must be below --to={span.end}")
    return span


def verify(run: RunDir, config: Config, pictures: Pictures, span: Span, *, scratch: Path, stream: TextIO) -> Verdict:
    """Does the steps of `span` again in `scratch`, an empty folder, and compares. The run itself is only read."""
    again = RunDir(scratch)
    quiet = replace(
        config,
        train=replace(config.train, steps=span.end, devices=_devices(run, config)),
        sample=replace(config.sample, every=NEVER),
        log=replace(config.log, tensorboard=False),
    )
    _begin(run, again, quiet, start=span.start)
    outcome = loop.train(loop.prepare(quiet, pictures, again), stream=stream)
    if outcome.exit_code:
        raise UserError(f"stopped at step {int(outcome.state.step)}, before --to={span.end}: nothing is verified")
    recorded = [record for record in read_metrics(run) if span.start < record["step"] <= span.end]
    anew = [record for record in read_metrics(again) if record["step"] > span.start]
    steps = _common_checkpoints(run, again, span)
    return Verdict(
        span=span,
        digest=outcome.digest,
        compared=len(recorded),
        figures=first_difference(recorded, anew),
        tensors=_first_tensors(run, again, steps),
        conditions=differing_conditions(read_json(run.manifest), read_json(again.manifest)),
    )


def _devices(run: RunDir, config: Config) -> int:
    """As many devices as the run had, where there are so many now."""
    count = int(read_json(run.manifest).get("device", {}).get("count", config.train.devices))
    return count if count <= jax.device_count() else config.train.devices


def _begin(run: RunDir, again: RunDir, config: Config, *, start: int) -> None:
    make_folder(again.checkpoints)
    write_config(again, config)
    if imported := read_imported(run):
        write_json(again.manifest, {"imported": imported})
    if start:
        shutil.copytree(run.checkpoints / str(start), again.checkpoints / str(start))
        append_metrics(again, [record for record in read_metrics(run) if record["step"] <= start])


def _common_checkpoints(run: RunDir, again: RunDir, span: Span) -> list[int]:
    steps = []
    for folder in (run.checkpoints, again.checkpoints):
        with Checkpoints(folder, keep=1, read_only=True) as checkpoints:
            steps.append(set(checkpoints.steps))
    return sorted(step for step in steps[0] & steps[1] if span.start < step <= span.end)


def _first_tensors(run: RunDir, again: RunDir, steps: list[int]) -> tuple[int, list[str]] | None:
    """The first of `steps` after which tensors differ, with those; None where there is none."""
    for step in steps:
        found = differing_tensors(*(read_saved_run(place.root, step=step).state for place in (run, again)))
        if found:
            return step, found
    return None


def differing_tensors(one: TrainState, other: TrainState) -> list[str]:
    """The arrays of two states that are not the same bits, as `name: by up to x`, in the order of the state."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True)
    found = []
    for (path, ours), theirs in pairs:
        a, b = np.asarray(ours), np.asarray(theirs)
        if a.tobytes() != b.tobytes():
            apart = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
            found.append(f"{jax.tree_util.keystr(path, simple=True, separator='.')}: by up to {apart:.3g}")
    return found
