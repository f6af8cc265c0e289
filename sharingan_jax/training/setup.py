"""Check and prepare everything before a run's first step. Nothing is written here."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from sharingan_jax.config.schema import Config, to_dict
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.devices.environment import describe_environment
from sharingan_jax.devices.feed import choose_feed
from sharingan_jax.devices.mesh import check_ghost_batches, make_mesh
from sharingan_jax.devices.processes import ALONE, Processes
from sharingan_jax.devices.stacked_seeds import StackedTrainer, seeds_mesh
from sharingan_jax.devices.trainer import Trainer
from sharingan_jax.errors import UserError
from sharingan_jax.files import read_as
from sharingan_jax.run.continuation import Existing, check_continuation
from sharingan_jax.run.diff import differing_environments, differing_images, differing_values
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.manifest import DataRecord, Device, Environment, describe_data
from sharingan_jax.training.schedule import Schedule, make_schedule


@dataclass(frozen=True)
class RunSetup:
    """A run before its first step. `trainer` trains it alone. `initial_devices` is the number of devices of its first steps.

    `stacked_mesh` are the devices that the seeds of its group share; None if the run has no group.
    """

    config: Config
    dataset: ImageDataset
    existing: Existing
    trainer: Trainer
    schedule: Schedule
    processes: Processes
    initial_devices: int
    stacked_mesh: Mesh | None = None

    @property
    def folder(self) -> RunFolder:
        return self.existing.folder

    @property
    def plan(self) -> BatchPlan:
        return self.schedule.plan


def setup_run(
    config: Config, dataset: ImageDataset, existing: Existing, *, processes: Processes = ALONE, like: RunSetup | None = None
) -> RunSetup:
    """Check all that can be checked before anything is written, and return the run's setup.

    `config` is of one seed. The trainer of `like`, a run of another seed, is reused if it has the same devices.
    Raise UserError.
    """
    plan = BatchPlan(dataset.count, batch_size=config.train.batch_size, seed=config.seed, last_batch=config.data.last_batch)
    batch_sizes = {plan.size_of(1), plan.size_of(plan.batches_per_epoch)}
    check_ghost_batches(config.model.ghost_batches, batch_sizes=batch_sizes)
    schedule = make_schedule(config, plan)

    def check() -> bytes:
        check_continuation(existing, config, dataset, total_steps=schedule.total_steps)
        return str(existing.manifest.initial_devices if existing.manifest else 0).encode()

    initial_devices = int(processes.on_primary(check))  # The primary process alone reads the folder.
    _check_classes(config, dataset)
    mesh = make_mesh(config.train.devices, batch_sizes=batch_sizes, initial_devices=initial_devices)
    settled = replace(config, train=replace(config.train, devices=mesh.size))  # Its manifest alone then gives the same bits.
    on_device = choose_feed(config.data, dataset, mesh) == "device"
    same = like is not None and like.trainer.mesh == mesh
    trainer = like.trainer if like is not None and same else Trainer(settled, mesh, dataset=dataset if on_device else None)
    setup = RunSetup(settled, dataset, existing, trainer, schedule, processes, initial_devices or mesh.size)
    processes.check_alike(lambda: _describe(setup), _differences)
    return setup


def _check_classes(config: Config, dataset: ImageDataset) -> None:
    """Raise UserError unless `model.classes` is 0 or the number of classes that the images have."""
    wanted, found = config.model.classes, len(dataset.classes) if dataset.labels is not None else 0
    if wanted in (0, found):
        return
    reason = "the number of classes of these images" if found else "since these images have no classes"
    raise UserError(f"model.classes={wanted}: expected {found}, {reason}. Use --config.model.classes={found}.")


def setup_seeds(
    config: Config, dataset: ImageDataset, several: Sequence[Existing], *, processes: Processes = ALONE
) -> list[list[RunSetup]]:
    """Return the setups of `train.seeds` seeds, one for each folder, in groups that share a program. Raise UserError.

    With `train.stacked_seeds` = 0 a CPU trains one seed at a time. Other devices train all at once.
    """
    stacked = config.train.stacked_seeds or (1 if jax.default_backend() == "cpu" else config.train.seeds)
    if stacked > 1 and processes.count > 1:
        raise UserError(
            f"train.stacked_seeds={stacked}: expected 1, since {processes.count} processes train one seed at a time."
            " Use --config.train.stacked_seeds=1, or one process for each group of seeds."
        )
    devices = 1 if stacked > 1 else config.train.devices
    single = replace(config, train=replace(config.train, seeds=1, stacked_seeds=0, devices=devices))
    setups: list[RunSetup] = []
    for seed, existing in enumerate(several, config.seed):
        like = setups[0] if setups else None
        setups.append(setup_run(replace(single, seed=seed), dataset, existing, processes=processes, like=like))
    groups = [setups[first : first + stacked] for first in range(0, len(setups), stacked)]
    return [_share_devices(group, devices=config.train.devices) for group in groups]


def _share_devices(group: list[RunSetup], *, devices: int) -> list[RunSetup]:
    if len(group) == 1:
        return group
    manifest = group[0].existing.manifest
    initial = manifest.initial_stacked_devices(seeds=len(group)) if manifest else 0
    mesh = seeds_mesh(devices, seeds=len(group), initial_devices=initial)
    return [replace(setup, stacked_mesh=mesh) for setup in group]


def make_trainer(setups: Sequence[RunSetup], *, group_size: int) -> Trainer:
    """Return the trainer of one run, or of several of a group of `group_size` at once, on the group's devices.

    If they are fewer than their group (one has failed, say), they take as many of these devices as divide them.
    """
    first, seeds = setups[0], len(setups)
    if seeds == 1:
        return first.trainer
    assert first.stacked_mesh is not None
    mesh = first.stacked_mesh if seeds == group_size else seeds_mesh(0, seeds=seeds, at_most=first.stacked_mesh.size)
    return StackedTrainer(first.config, first.trainer.mesh, seeds_mesh=mesh, seeds=seeds, dataset=first.trainer.dataset)


def environment_of(setup: RunSetup, trainer: Trainer) -> Environment:
    """Return what decides rounding in the steps that `trainer` makes of this run."""
    mesh = setup.trainer.mesh
    device = mesh.devices.flat[0]
    return Environment(
        device=Device(device.platform, device.device_kind, mesh.size, setup.processes.count),
        stacked_seeds=trainer.seeds,
        stacked_devices=trainer.seeds_mesh.size if isinstance(trainer, StackedTrainer) else 1,
        conv_impl=setup.trainer.gan.conv_impl,
        **describe_environment(),
    )


def _describe(setup: RunSetup) -> dict[str, Any]:
    """Return what the processes of one run must have in common, as plain values."""
    feed = "tfdata" if setup.trainer.dataset is None else "device"  # Their devices may have chosen it, and may differ.
    return {
        "config": to_dict(replace(setup.config, data=replace(setup.config.data, feed=feed))),
        "data": asdict(describe_data(setup.config, setup.dataset)),
        "environment": asdict(environment_of(setup, setup.trainer)),
    }


def _differences(first: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Return the differences that stop two processes from training one run: all but places of images, and machines."""
    wire = Path("another process")  # Named in the error of a description that cannot be read.
    settings = differing_values(first["config"], here["config"])
    environments = [read_as(Environment, one["environment"], path=wire) for one in (first, here)]
    data = [read_as(DataRecord, one["data"], path=wire) for one in (first, here)]
    of_machine = ("data.path:", "data.data_dir:", "platform:", "processor.", "git.", "git:")
    others = [line for line in settings + differing_environments(*environments) if not line.startswith(of_machine)]
    return others + differing_images(*data)
