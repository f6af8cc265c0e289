"""Make the folder of a run whose first state comes from elsewhere: from PyTorch files, or from another run."""

import os
import shutil
from pathlib import Path

from sharingan_jax.config.schema import Config, to_dict
from sharingan_jax.errors import UserError
from sharingan_jax.files import ABANDONED_AFTER, hidden_sibling, make_folder, remove_hidden_siblings
from sharingan_jax.gan.state import TrainState
from sharingan_jax.run.checkpoints import CheckpointManager
from sharingan_jax.run.folder import RunFolder, write_config
from sharingan_jax.run.manifest import Manifest, Origin, config_digest, write_manifest


def check_new_folder(root: Path) -> None:
    """Raise UserError unless `root` does not exist yet, or is an empty folder and not the current one."""
    if RunFolder(root).config.exists() or RunFolder(root).checkpoints.exists():
        raise UserError(f"workdir={root}: holds a run already. Give a new folder.")
    if root.resolve() == Path.cwd():
        raise UserError(f"workdir={root}: is the current folder. Give a new folder.")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"workdir={root}: exists and is not an empty folder. Give a new folder.")


def write_first_state(root: Path, config: Config, state: TrainState, origin: Origin, *, status: str) -> None:
    """Write the folder of a run that starts from `state`: its settings, where the state came from, and a checkpoint.

    The folder is written under another name and then renamed, so that an interruption leaves no incomplete run.
    """
    root, step = root.resolve(), int(state.step)
    manifest = Manifest(
        status=status,
        seed=config.seed,
        step=step,
        total_steps=step,
        config=to_dict(config),
        config_digest=config_digest(config),
        origin=origin,
    )
    make_folder(root.parent)
    remove_hidden_siblings(root.parent, of=root.name, older_than=ABANDONED_AFTER)
    run = RunFolder(hidden_sibling(root))
    try:
        make_folder(run.checkpoints)
        with CheckpointManager(run.checkpoints, keep=config.checkpoint.keep) as checkpoints:
            checkpoints.save(state, {"config": manifest.config_digest})
            checkpoints.wait()
        write_manifest(run.manifest, manifest)
        write_config(run, config)
        if root.is_dir():
            root.rmdir()
        os.rename(run.root, root)
    except BaseException:
        shutil.rmtree(run.root, ignore_errors=True)
        raise
