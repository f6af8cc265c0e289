"""Compare what a repetition makes with what the run wrote: checkpoints and sample grids."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sharingan_jax.errors import UserError
from sharingan_jax.gan.state import TrainState, named_arrays
from sharingan_jax.reporting.grids import read_png
from sharingan_jax.run.checkpoints import SharedCheckpoints
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.manifest import Manifest


class ComparedCheckpoints(SharedCheckpoints):
    """The checkpoints of a repetition: each state is given to `compare`, and none is written.

    So a repetition of any length takes no room.
    """

    def __init__(self, *arguments: Any, compare: Callable[[TrainState], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._compare = compare

    def save(self, state: TrainState, **_: Any) -> None:
        self._compare(state)


def compare_grids(
    manifest: Manifest, folder: RunFolder, again: RunFolder, *, steps: range
) -> tuple[list[str], tuple[int, ...], list[str]]:
    """Return the grids of `steps` that differ or are missing, the steps of those compared, and a line on those not compared.

    The grids in `again` are drawn with the settings `sample` of the start that made their step.
    """
    theirs, repeated = folder.sample_files(steps[-1]), again.sample_files(steps[-1])
    found: list[str] = []
    compared: list[int] = []
    others: list[int] = []
    for step in steps:
        sample = sample_settings(manifest, step)
        is_due = sample and (step % sample["every"] == 0 or step == manifest.total_steps)
        name = folder.sample(step).relative_to(folder.root).as_posix()
        if step in theirs and step in repeated and sample:
            compared.append(step)
            if not _same_pixels(theirs[step], repeated[step]):
                found.append(f"{name}: other pixels")
        elif step in theirs:
            others.append(step)
        elif is_due:
            found.append(f"{name}: missing")
    line = [f"the grids of steps {', '.join(map(str, others))}, whose settings were not recorded"] if others else []
    return found, tuple(compared), line


def sample_settings(manifest: Manifest, step: int) -> dict[str, int]:
    """Return the settings `sample` of the start that made a step; empty if there was none."""
    return next((start.sample for start in reversed(manifest.starts) if start.after_step < step), {})


def _same_pixels(one: Path, other: Path) -> bool:
    try:
        return np.array_equal(read_png(one), read_png(other))
    except UserError:
        return False  # It is not an image.


def differing_tensors(one: TrainState, other: TrainState) -> list[str]:
    """Return the arrays of two states that are not the same bits, as `name: by up to x`, in the order of the state."""
    found = []
    for (name, ours), theirs in zip(named_arrays(one).items(), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(ours), np.asarray(theirs)
        if a.tobytes() != b.tobytes():
            apart = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
            found.append(f"{name}: by up to {apart:.3g}")
    return found
