"""Describe what a run would do: the text of `--dry-run`."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from sharingan_jax.config.schema import settings_of
from sharingan_jax.devices.estimate import estimate_cost, in_words, memory_limit
from sharingan_jax.errors import counted
from sharingan_jax.gan.gan import init_state
from sharingan_jax.training.announce import describe_images
from sharingan_jax.training.inspection import inspect_dataset
from sharingan_jax.training.setup import RunSetup

ABSURD_DAYS = 7  # from which on a run's time is worth a warning


def describe(groups: Sequence[Sequence[RunSetup]]) -> str:
    """Return several lines: every setting, the images, networks, steps, and where each seed's run would start and write."""
    setups = [setup for group in groups for setup in group]
    setup, stacked = setups[0], len(groups[0])
    schedule, plan, dataset, trainer = setup.schedule, setup.plan, setup.dataset, setup.trainer
    devices = (setup.stacked_mesh or trainer.mesh).size
    state = jax.eval_shape(lambda: init_state(trainer.gan, seed=setup.config.seed))
    device = trainer.mesh.devices.flat[0]
    lines = [f"  {key} = {value!r}" for key, value in settings_of(setup.config).items()]
    partial_batch = f", the last of {plan.size_of(plan.batches_per_epoch)}" if plan.has_partial_batch else ""
    facts = [
        f"images       {describe_images(setup)}, {counted(len(dataset.skipped) + len(dataset.bad), 'file')} skipped;"
        f" digest {dataset.digest[:12]}",
        f"networks     G {_count(state.gen.params):,} and D {_count(state.disc.params):,} parameters;"
        f" {trainer.gan.conv_impl} convolutions",
        f"devices      {devices} of {jax.device_count()} × {device.device_kind} ({device.platform})",
        f"steps        {schedule.total_steps}: batches of {plan.batch_size}, {plan.batches_per_epoch} per epoch{partial_batch},"
        f" {schedule.total_steps / plan.batches_per_epoch:g} epochs, {schedule.steps_per_dispatch} steps per dispatch",
        f"writes       {setup.folder.root}: a sample every {schedule.sample_every} steps,"
        f" a checkpoint every {schedule.checkpoint_every}",
        f"starts       {_start(setup)}",
        *_cost(setup, stacked=stacked, seeds=len(setups), count=devices),
        *(f"advice       {line}" for line in inspect_dataset(dataset, setup.config).advice),
    ]
    if len(setups) > 1:
        at_once = f"{stacked} in one program" if stacked > 1 else "one after another"
        facts.append(f"seeds        {len(setups)}, {at_once}; the others:")
        facts += [f"             {one.folder.root}, {_start(one)}" for one in setups[1:]]
    decoded = f" but the decoded images, {dataset.decoded_in}, which the run would read" if dataset.decoded_in else ""
    return "\n".join(["settings", *lines, *facts, f"nothing was written{decoded}"])


def _cost(setup: RunSetup, *, stacked: int, seeds: int, count: int) -> list[str]:
    """Return the estimates of memory and time, with a warning if one of them is absurd."""
    schedule, trainer = setup.schedule, setup.trainer
    cost = estimate_cost(trainer, batch_size=setup.plan.batch_size, image_shape=setup.dataset.image_shape)
    left = schedule.total_steps - setup.existing.last_step
    seconds = left * seeds * cost.step_seconds / (count if stacked > 1 else 1)
    device = trainer.mesh.devices.flat[0]
    limit, memory = memory_limit(device), cost.memory * stacked
    there = f" of {limit / 1e9:.0f} GB" if limit else ""
    lines = [
        f"memory       roughly {memory / 1e9:,.1f} GB{there}, besides a gigabyte of programs",
        f"time         roughly {in_words(seconds)} and compiling: {cost.step_seconds:.3g} s a step",
    ]
    smaller = "a smaller model.gen.width, model.disc.width or train.batch_size"
    if limit and memory > limit:
        lines.append(f"warning      this does not fit into {limit / 1e9:.0f} GB. Set {smaller}.")
    if seconds > ABSURD_DAYS * 86400:
        lines.append(f"warning      this would take {seconds / 86400:,.0f} days. Set fewer train.steps, or {smaller}.")
    return lines


def _count(params: Any) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


def _start(setup: RunSetup) -> str:
    step = setup.existing.last_step
    return f"after step {step}, from its checkpoint" if step else "at step 1: the folder holds no checkpoint"
