"""A run's saved state, read back whole from its folder and from nothing else."""

from dataclasses import dataclass
from pathlib import Path

import jax
from jax.sharding import Mesh

from sharingan_jax.config.schema import Config
from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.errors import UserError
from sharingan_jax.gan.state import TrainState
from sharingan_jax.gan.system import System, build_system, init_state
from sharingan_jax.run.checkpoints import Checkpoints
from sharingan_jax.run.folder import RunDir, read_config


@dataclass(frozen=True)
class SavedRun:
    """A run's folder, settings and networks, and its state at `step`, on one device."""

    run: RunDir
    config: Config
    system: System
    mesh: Mesh
    step: int
    state: TrainState


def read_saved_run(workdir: Path, *, step: int | None) -> SavedRun:
    """The run in `workdir` at one of its checkpoints, the last where `step` is None. Raises UserError where there is none."""
    run = RunDir(workdir)
    config = read_config(run)
    none_yet = UserError(
        f"--workdir={workdir}: no checkpoint there yet; the first comes at step {config.checkpoint.every}, or at Ctrl-C"
    )
    if not run.checkpoints.is_dir():
        raise none_yet
    mesh = make_mesh(1, batch_sizes={1})
    system = build_system(config)
    with Checkpoints(run.checkpoints, keep=config.checkpoint.keep, read_only=True) as checkpoints:
        if not checkpoints.steps:
            raise none_yet
        chosen = checkpoints.steps[-1] if step is None else step
        like = jax.eval_shape(lambda: init_state(system, seed=config.seed))
        state = checkpoints.restore(chosen, like=like)
    return SavedRun(run, config, system, mesh, chosen, state)
