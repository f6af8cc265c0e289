"""What a run would do, as text: the body of `--dry-run`."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from sharingan_jax.config.schema import settings_of
from sharingan_jax.run.checkpoints import Checkpoints
from sharingan_jax.training.setup import Prepared, check_not_past


def describe(groups: Sequence[Sequence[Prepared]]) -> str:
    """Several lines: every setting, the pictures, the networks, the steps, and where each seed's run would start and write."""
    runs = [ready for group in groups for ready in group]
    ready = runs[0]
    schedule, plan, pictures, mesh = ready.schedule, ready.plan, ready.pictures, ready.programs.mesh
    state = jax.eval_shape(lambda: ready.programs.init(ready.config.seed))
    device = mesh.devices.flat[0]
    lines = [f"  {key} = {value!r}" for key, value, _ in settings_of(ready.config)]
    partial_batch = f", the last of {plan.size_of(plan.batches_per_epoch)}" if plan.has_partial_batch else ""
    facts = [
        f"pictures     {pictures.count} from {ready.config.data.source}, {len(pictures.skipped)} files skipped;"
        f" digest {pictures.digest[:12]}",
        f"networks     G {_count(state.gen.params):,} and D {_count(state.disc.params):,} parameters;"
        f" {ready.system.form} convolutions",
        f"devices      {max(mesh.size, ready.seeds_devices)} of {jax.device_count()} × {device.device_kind} ({device.platform})",
        f"steps        {schedule.total_steps}: batches of {plan.batch_size}, {plan.batches_per_epoch} an epoch{partial_batch},"
        f" {schedule.total_steps / plan.batches_per_epoch:g} epochs, {schedule.steps_per_call} steps a dispatch",
        f"writes       {ready.run.root}: a sample every {schedule.sample_every} steps,"
        f" a checkpoint every {schedule.checkpoint_every}",
        f"starts       {_start(ready)}",
    ]
    if len(runs) > 1:
        at_once = f"{ready.seeds_at_once} in one program" if ready.seeds_at_once > 1 else "one after another"
        facts.append(f"seeds        {len(runs)}, {at_once}; the others:")
        facts += [f"             {one.run.root}, {_start(one)}" for one in runs[1:]]
    return "\n".join(["settings", *lines, *facts, "nothing was written"])


def _count(params: Any) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


def _start(ready: Prepared) -> str:
    if not ready.run.checkpoints.is_dir():
        return "at step 1: the folder holds no checkpoint"
    with Checkpoints(ready.run.checkpoints, keep=ready.config.checkpoint.keep, read_only=True) as checkpoints:
        if checkpoints.steps:
            check_not_past(ready, checkpoints.steps[-1])
        return (
            f"after step {checkpoints.steps[-1]}, from its checkpoint"
            if checkpoints.steps
            else "at step 1: the folder holds no checkpoint"
        )
