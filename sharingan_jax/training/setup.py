"""All of a run that is settled before its first step, what it says of itself, and how its folder begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from sharingan_jax.config.schema import Config, to_dict
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.devices.compiled import Programs, compile_programs
from sharingan_jax.devices.environment import describe_environment
from sharingan_jax.devices.mesh import check_groups, make_mesh
from sharingan_jax.devices.processes import ALONE, Processes
from sharingan_jax.devices.stacked_seeds import Together, seeds_mesh, side_by_side
from sharingan_jax.errors import UserError
from sharingan_jax.gan.system import System, build_system
from sharingan_jax.run.continuation import check_same_run
from sharingan_jax.run.diff import differing_conditions, differing_pictures, differing_settings
from sharingan_jax.run.folder import RunDir, config_fingerprint, describe_pictures, write_config
from sharingan_jax.run.manifest import begin_manifest, devices_begun_on, seeds_begun_on
from sharingan_jax.run.metrics import cut_metrics
from sharingan_jax.training.schedule import Schedule, make_schedule


@dataclass(frozen=True)
class Beside:
    """How a run trains beside others: as one of `seeds` in the program `together`, on `devices`, and begun on `begun_on`."""

    together: Together
    seeds: int
    devices: int
    begun_on: int


@dataclass(frozen=True)
class Prepared:
    """A run before its first step, as a dry run can show it; `begun_on` is the devices of its first.

    `beside` is None where it trains alone.
    """

    config: Config
    pictures: ImageDataset
    run: RunDir
    system: System
    programs: Programs
    schedule: Schedule
    processes: Processes
    begun_on: int
    beside: Beside | None = None

    @property
    def plan(self) -> BatchPlan:
        return self.schedule.plan

    @property
    def seeds_at_once(self) -> int:
        return self.beside.seeds if self.beside else 1

    @property
    def seeds_devices(self) -> int:
        return self.beside.devices if self.beside else 1


def prepare(
    config: Config, pictures: ImageDataset, run: RunDir, *, processes: Processes = ALONE, like: Prepared | None = None
) -> Prepared:
    """Checks all that can be checked before anything is written; raises UserError.

    `config` is of one seed. The programs are those of `like`, a run of another seed and otherwise the same settings, where that
    has the same devices.
    """
    plan = BatchPlan(pictures.count, batch_size=config.train.batch_size, seed=config.seed, last_batch=config.data.last_batch)
    batch_sizes = {plan.size_of(1), plan.size_of(plan.batches_per_epoch)}
    check_groups(config.model.batch_norm_groups, batch_sizes=batch_sizes)
    begun_on = int(processes.bytes_of_first(lambda: str(_check_and_read(run, config, pictures)).encode()))
    mesh = make_mesh(config.train.devices, batch_sizes=batch_sizes, begun_on=begun_on)
    config = replace(config, train=replace(config.train, devices=mesh.size))  # So that its manifest alone makes the same bits.
    if like is not None and like.programs.mesh == mesh:
        system, programs = like.system, like.programs
    else:
        system = build_system(config)
        programs = compile_programs(system, mesh, precision=config.train.precision)
    ready = Prepared(config, pictures, run, system, programs, make_schedule(config, plan), processes, begun_on or mesh.size)
    processes.check_alike(lambda: facts_of(ready), _differing)
    return ready


def prepare_seeds(
    config: Config, pictures: ImageDataset, folder_of: Callable[[int], RunDir], *, processes: Processes = ALONE
) -> list[list[Prepared]]:
    """The runs of `train.seeds` seeds, each in `folder_of(seed)`, in groups of those that share a program. Raises UserError."""
    at_once = _seeds_at_once(config)
    if at_once > 1 and processes.count > 1:
        raise UserError(
            f"config: train.seeds_at_once={at_once} with {processes.count} processes, which train one seed at a time; use"
            " --config.train.seeds_at_once=1, or a process for each group of seeds"
        )
    devices = 1 if at_once > 1 else config.train.devices
    own = replace(config, train=replace(config.train, seeds=1, seeds_at_once=0, devices=devices))
    runs: list[Prepared] = []
    for seed in range(config.seed, config.seed + config.train.seeds):
        of_seed, like = replace(own, seed=seed), runs[0] if runs else None
        runs.append(prepare(of_seed, pictures, folder_of(seed), processes=processes, like=like))
    groups = [runs[first : first + at_once] for first in range(0, len(runs), at_once)]
    programs: dict[int, Beside] = {}
    return [_side_by_side(group, programs, devices=config.train.devices) for group in groups]


def _seeds_at_once(config: Config) -> int:
    """On a CPU one seed keeps all cores busy, and is best by itself; elsewhere one leaves most of a device idle."""
    chosen = config.train.seeds_at_once
    return chosen or (1 if jax.default_backend() == "cpu" else config.train.seeds)


def _side_by_side(group: Sequence[Prepared], programs: dict[int, Beside], *, devices: int) -> list[Prepared]:
    """The group as runs that share a program: that of `programs`, by their number, where such a group has been before."""
    count, first = len(group), group[0]
    if count == 1:
        return list(group)
    if count not in programs:
        begun_on = seeds_begun_on(first.run, seeds=count)
        mesh = seeds_mesh(devices, seeds=count, begun_on=begun_on)
        together = side_by_side(first.system, mesh, precision=first.config.train.precision)
        programs[count] = Beside(together, count, mesh.size, begun_on or mesh.size)
    return [replace(ready, beside=programs[count]) for ready in group]


def _check_and_read(run: RunDir, config: Config, pictures: ImageDataset) -> int:
    """Raises UserError where `run` is of other settings or pictures; the number of devices it began on, 0 where it has not."""
    check_same_run(run, config, pictures)
    return devices_begun_on(run)


def _differing(first: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What of two processes' facts keeps them from being one run: all but where each has its pictures, and its machine."""
    settings = [line for line in differing_settings(first, here) if not line.startswith(("data.path:", "data.data_dir:"))]
    conditions = [line for line in differing_conditions(first, here) if not line.startswith(("platform:", "processor.", "git."))]
    return settings + differing_pictures(first, here) + conditions


def split_off(ready: Prepared, *, count: int) -> Prepared:
    """The run as one of `count` that go on together, fewer than its group: on as many of the group's devices as divide them."""
    if count == ready.seeds_at_once:
        return ready
    if count == 1:
        return replace(ready, beside=None)
    mesh = seeds_mesh(0, seeds=count, at_most=ready.seeds_devices)
    together = side_by_side(ready.system, mesh, precision=ready.config.train.precision)
    return replace(ready, beside=Beside(together, count, mesh.size, mesh.size))


def check_not_past(ready: Prepared, last_step: int) -> None:
    """Raises UserError where the run has a checkpoint beyond the steps that are asked for."""
    if last_step > ready.schedule.total_steps:
        raise UserError(
            f"--workdir={ready.run.root} is at step {last_step}, past train.steps={ready.schedule.total_steps};"
            f" ask for more than {last_step}, or use another --workdir"
        )


def identity_facts(ready: Prepared) -> dict[str, str]:
    """What a checkpoint notes of the run it is of."""
    return {"config": config_fingerprint(ready.config), "data": ready.pictures.digest}


def begin_folder(ready: Prepared, *, after_step: int) -> None:
    """Writes what the run is before its next step, so that a run that dies has said what it was."""
    cut_metrics(ready.run, last_step=after_step)
    write_config(ready.run, ready.config)
    begin_manifest(ready.run, facts_of(ready), after_step=after_step)


def facts_of(ready: Prepared) -> dict[str, Any]:
    """What `manifest.json` says of the run, in plain values."""
    mesh = ready.programs.mesh
    device = mesh.devices.flat[0]
    return {
        "seed": ready.config.seed,
        "total_steps": ready.schedule.total_steps,
        "config": to_dict(ready.config),
        "config_fingerprint": config_fingerprint(ready.config),
        "data": describe_pictures(ready.config, ready.pictures),
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": mesh.size,
            "processes": ready.processes.count,
        },
        "seeds_at_once": ready.seeds_at_once,
        "seeds_devices": ready.seeds_devices,
        "convolution": ready.system.form,
        **describe_environment(),
    }
