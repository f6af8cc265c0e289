"""A PyTorch run's files as a training state of ours."""

import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import product
from pathlib import Path

import jax
import numpy as np

from sharingan_jax.config.schema import AdamConfig, Config
from sharingan_jax.devices.environment import describe_environment
from sharingan_jax.errors import UserError
from sharingan_jax.files import make_folder, write_json
from sharingan_jax.gan.state import TrainState, digest
from sharingan_jax.gan.system import build_system, init_state
from sharingan_jax.interop.state_dict import COUNTER, expected_shapes, from_tensors, mismatches, parameter_shapes
from sharingan_jax.interop.tensor_table import disc_table, gen_table
from sharingan_jax.interop.torch_files import TorchContents, read_torch_file
from sharingan_jax.run.checkpoints import Checkpoints
from sharingan_jax.run.folder import RunDir, config_fingerprint, write_config


def import_state(config: Config, paths: Sequence[Path]) -> TrainState:
    """The state of both networks that `paths` hold together, and of Adam where they hold that.

    Raises UserError, naming the tensors with both shapes, where they are not the networks of `config`, and the settings where
    Adam ran with others.
    """
    system = build_system(config)
    abstract = jax.eval_shape(lambda: init_state(system, seed=config.seed))
    shapes = expected_shapes(config, abstract)
    parameters = {"gen": parameter_shapes(gen_table(config), shapes), "dis": parameter_shapes(disc_table(config), shapes)}
    whole = TorchContents()
    for path in paths:
        whole.merge(read_torch_file(path, shapes=shapes, parameters=parameters), where=str(path))
    names = ", ".join(map(str, paths))
    complaint = mismatches(config, abstract, whole.tensors)
    if complaint:
        raise UserError(f"--from={names}: {complaint}{_what_would_fit(config, whole)}")
    _check_numbers(whole, names=names)
    _check_counts(config, whole, names=names)
    for net, adam in (("gen", config.optim.gen), ("dis", config.optim.disc)):
        if net in whole.adam_settings:
            _check_settings(adam, whole.adam_settings[net], key="optim.gen" if net == "gen" else "optim.disc", names=names)
    return from_tensors(config, system, whole.tensors, gen_adam=whole.adam.get("gen"), disc_adam=whole.adam.get("dis"))


def begin_run(run: RunDir, config: Config, state: TrainState, paths: Sequence[Path]) -> None:
    """Writes the folder of a run that begins with `state`: its settings, where it is from, and a checkpoint.

    It is made whole beside its place and then moved there, so that a start that is broken off leaves no half of a run. `run.root`
    is not there yet, or an empty folder.
    """
    root = run.root.resolve()
    make_folder(root.parent)
    being_made = RunDir(Path(tempfile.mkdtemp(prefix=f".{root.name}.importing-", dir=root.parent)))
    try:
        _write_beginning(being_made, config, state, paths)
        if root.is_dir():
            root.rmdir()
        os.rename(being_made.root, root)
    except BaseException:
        shutil.rmtree(being_made.root, ignore_errors=True)
        raise


def _write_beginning(run: RunDir, config: Config, state: TrainState, paths: Sequence[Path]) -> None:
    make_folder(run.checkpoints)
    os.chmod(run.root, 0o755)  # mkdtemp's 0o700 would hide the run from the group it is shared with.
    files = {str(path): sha256(path.read_bytes()).hexdigest() for path in paths}
    imported = {"step": int(state.step), "files": files, "digest": digest(state)}
    with Checkpoints(run.checkpoints, keep=config.checkpoint.keep) as checkpoints:
        checkpoints.save(state, {"config": config_fingerprint(config), "imported": files})
        checkpoints.wait()
    write_json(run.manifest, {"status": "imported", "step": int(state.step), "imported": imported, **describe_environment()})
    write_config(run, config)


def _check_numbers(contents: TorchContents, *, names: str) -> None:
    for name, array in contents.tensors.items():
        if not name.endswith(COUNTER) and array.dtype.kind != "f":
            raise UserError(f"--from={names}: {name} is of {array.dtype}, and weights are floating-point numbers")
    with np.errstate(over="ignore"):
        unfinished = [name for name, array in contents.tensors.items() if not np.isfinite(array.astype(np.float32)).all()]
    if unfinished:
        raise UserError(f"--from={names}: not all numbers of {', '.join(unfinished)} are finite, or fit a float32")


def _check_counts(config: Config, contents: TorchContents, *, names: str) -> None:
    if len(contents.adam) == 1:
        raise UserError(f"--from={names}: holds Adam's state of {next(iter(contents.adam))} alone; give both, or neither")
    if contents.adam:
        gen, disc = contents.adam["gen"].count, contents.adam["dis"].count
        if gen != disc // config.train.n_critic:
            raise UserError(
                f"--from={names}: Adam of G has stepped {gen} times and that of D {disc} times, and with"
                f" train.n_critic={config.train.n_critic} it was to be {disc // config.train.n_critic}"
            )


def _what_would_fit(config: Config, contents: TorchContents) -> str:
    """The settings under which the tensors fit, as words to put behind what is wrong; "" where there are none such."""
    model = config.model
    for order, gen_norm, disc_norm in product(("after", "before"), (True, False), (True, False)):
        changes = {"batch_norm": order, "gen_spectral_norm": gen_norm, "disc_spectral_norm": disc_norm}
        other = replace(config, model=replace(model, **changes))  # type: ignore[arg-type]
        system = build_system(other)
        abstract = jax.eval_shape(lambda system=system: init_state(system, seed=0))
        if not mismatches(other, abstract, contents.tensors):
            flags = [f"--config.model.{key}={value}" for key, value in changes.items() if getattr(model, key) != value]
            return f"; it fits with {' '.join(flags)}"
    return ""


def _check_settings(adam: AdamConfig, theirs: dict[str, float], *, key: str, names: str) -> None:
    ours = {"b1": adam.b1, "b2": adam.b2, "eps": adam.eps}
    if adam.schedule == "constant" and adam.warmup_steps == 0:  # Under a schedule PyTorch's lr is that of its last update.
        ours = {"lr": adam.lr, **ours}
    differing = [name for name in ours if not math.isclose(ours[name], theirs[name], rel_tol=1e-6)]  # A float32 lr is the same.
    if differing:
        flags = " ".join(f"--config.{key}.{name}={theirs[name]!r}" for name in differing)
        found = ", ".join(f"{key}.{name}={theirs[name]!r} and the configuration's is {ours[name]!r}" for name in differing)
        raise UserError(f"--from={names}: ran with {found}; to continue it, use {flags}")


def import_weights(files: str | Path | Sequence[str | Path], config: Config, workdir: str | Path) -> TrainState:
    """Make a run's folder in `workdir` from PyTorch `files` that belong to `config`, and return the state it starts from.

    Raise UserError if `workdir` is not new, if the tensors do not fit the networks of `config`, or if Adam ran with other
    settings.
    """
    paths = [Path(os.path.expanduser(file)) for file in ([files] if isinstance(files, str | Path) else files)]
    run = RunDir(Path(os.path.expanduser(workdir)))
    if run.config.exists() or run.checkpoints.exists():
        raise UserError(f"--workdir={workdir}: holds a run already. Give a new folder.")
    if run.root.resolve() == Path.cwd():
        raise UserError(f"--workdir={workdir}: is the current folder. Give a new folder.")
    if run.root.exists() and (not run.root.is_dir() or any(run.root.iterdir())):
        raise UserError(f"--workdir={workdir}: exists and is not an empty folder. Give a new folder.")
    state = import_state(config, paths)
    begin_run(run, config, state, paths)
    return state
