"""Start or continue a run from PyTorch files."""

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

from sharingan_jax.config.schema import AdamConfig, Config, settings_of, to_dict
from sharingan_jax.errors import UserError
from sharingan_jax.files import make_folder
from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.state import TrainState, digest
from sharingan_jax.interop.state_dict import COUNTER, expected_shapes, from_tensors, mismatches, parameter_shapes
from sharingan_jax.interop.tensor_table import disc_table, gen_table
from sharingan_jax.interop.torch_files import TorchContents, read_torch_file
from sharingan_jax.run.checkpoints import CheckpointManager
from sharingan_jax.run.folder import RunFolder, write_config
from sharingan_jax.run.manifest import Imported, Manifest, config_digest, write_manifest


def import_state(config: Config, paths: Sequence[Path]) -> TrainState:
    """Return the state of both networks, and of Adam if the files have it, from all files in `paths` together.

    Raise UserError with names and shapes if the tensors do not fit the networks of `config`, and with the settings if Adam ran
    with others.
    """
    gan = build_gan(config)
    abstract = jax.eval_shape(lambda: init_state(gan, seed=config.seed))
    shapes = expected_shapes(config, abstract)
    parameters = {"gen": parameter_shapes(gen_table(config), shapes), "dis": parameter_shapes(disc_table(config), shapes)}
    contents = TorchContents()
    for path in paths:
        contents.merge(read_torch_file(path, shapes=shapes, parameters=parameters), where=str(path))
    names = ", ".join(map(str, paths))
    found = mismatches(config, abstract, contents.tensors)
    if found:
        raise UserError(
            f"--from={names}: expected the tensors of this configuration, got others ({found})."
            f" {_fitting_settings(config, contents)}"
        )
    _check_numbers(contents, names=names)
    _check_counts(config, contents, names=names)
    for net, adam in (("gen", config.optim.gen), ("dis", config.optim.disc)):
        if net in contents.adam_settings:
            _check_settings(adam, contents.adam_settings[net], key="optim.gen" if net == "gen" else "optim.disc", names=names)
    return from_tensors(config, gan, contents.tensors, gen_adam=contents.adam.get("gen"), disc_adam=contents.adam.get("dis"))


def begin_run(run: RunFolder, config: Config, state: TrainState, paths: Sequence[Path]) -> None:
    """Write the folder of a run that starts from `state`: its settings, the files of its weights, and a checkpoint.

    The folder is written under another name and then renamed, so that an interrupted import leaves no incomplete run.
    `run.root` does not exist yet, or is an empty folder.
    """
    root = run.root.resolve()
    make_folder(root.parent)
    new = RunFolder(Path(tempfile.mkdtemp(prefix=f".{root.name}.importing-", dir=root.parent)))
    try:
        _write_folder(new, config, state, paths)
        if root.is_dir():
            root.rmdir()
        os.rename(new.root, root)
    except BaseException:
        shutil.rmtree(new.root, ignore_errors=True)
        raise


def _write_folder(run: RunFolder, config: Config, state: TrainState, paths: Sequence[Path]) -> None:
    make_folder(run.checkpoints)
    os.chmod(run.root, 0o755)  # mkdtemp's 0o700 would hide the run from other users.
    files = {str(path): sha256(path.read_bytes()).hexdigest() for path in paths}
    step = int(state.step)
    with CheckpointManager(run.checkpoints, keep=config.checkpoint.keep) as checkpoints:
        checkpoints.save(state, {"config": config_digest(config)})
        checkpoints.wait()
    manifest = Manifest(
        status="imported",
        seed=config.seed,
        step=step,
        total_steps=step,
        config=to_dict(config),
        config_digest=config_digest(config),
        imported=Imported(step, files, digest(state)),
    )
    write_manifest(run.manifest, manifest)
    write_config(run, config)


def _check_numbers(contents: TorchContents, *, names: str) -> None:
    for name, array in contents.tensors.items():
        if not name.endswith(COUNTER) and array.dtype.kind != "f":
            raise UserError(
                f"--from={names}: expected weights in floating point, got {name} of type {array.dtype}."
                " Give the file that the training wrote."
            )
    with np.errstate(over="ignore"):
        not_finite = [name for name, array in contents.tensors.items() if not np.isfinite(array.astype(np.float32)).all()]
    if not_finite:
        raise UserError(
            f"--from={names}: expected finite numbers that fit a float32, got others in {', '.join(not_finite)}."
            " Give another checkpoint."
        )


def _check_counts(config: Config, contents: TorchContents, *, names: str) -> None:
    if len(contents.adam) == 1:
        raise UserError(
            f"--from={names}: expected Adam's state of both networks or of none, got only that of {next(iter(contents.adam))}."
            " Give the missing file, or the weights alone."
        )
    if contents.adam:
        gen, disc = contents.adam["gen"].count, contents.adam["dis"].count
        if gen != disc // config.train.n_critic:
            raise UserError(
                f"--from={names}: expected {disc // config.train.n_critic} updates of G after {disc} updates of D with"
                f" train.n_critic={config.train.n_critic}, got {gen}. Set train.n_critic as in the training that wrote the file."
            )


def _fitting_settings(config: Config, contents: TorchContents) -> str:
    """Return a sentence with the settings that fit the tensors, or with what else to do."""
    model = config.model
    for position, gen_norm, disc_norm in product(("post_activation", "pre_activation"), (True, False), (True, False)):
        gen = replace(model.gen, norm_position=position, spectral_norm=gen_norm)
        disc = replace(model.disc, norm_position=position, spectral_norm=disc_norm)
        other = replace(config, model=replace(model, gen=gen, disc=disc))
        gan = build_gan(other)
        abstract = jax.eval_shape(lambda gan=gan: init_state(gan, seed=0))
        if not mismatches(other, abstract, contents.tensors):
            ours = settings_of(config)
            flags = [f"--config.{key}={value}" for key, value in settings_of(other).items() if value != ours[key]]
            return f"Use {' '.join(flags)}, which fits."
    return "Use the configuration that the files belong to."


def _check_settings(adam: AdamConfig, theirs: dict[str, float], *, key: str, names: str) -> None:
    ours = {"b1": adam.b1, "b2": adam.b2, "eps": adam.eps}
    if adam.schedule == "constant" and adam.warmup_steps == 0:  # With a schedule, PyTorch stores the lr of the last update.
        ours = {"lr": adam.lr, **ours}
    # An lr stored as float32 counts as equal.
    differing = [name for name in ours if not math.isclose(ours[name], theirs[name], rel_tol=1e-6)]
    if differing:
        flags = " ".join(f"--config.{key}.{name}={theirs[name]!r}" for name in differing)
        found = ", ".join(f"{key}.{name}={theirs[name]!r} in place of {ours[name]!r}" for name in differing)
        raise UserError(
            f"--from={names}: expected Adam with this configuration's settings, got {found}. Use {flags} to continue it."
        )


def import_weights(files: str | Path | Sequence[str | Path], config: Config, workdir: str | Path) -> TrainState:
    """Make a run's folder in `workdir` from PyTorch `files` that belong to `config`, and return the state it starts from.

    Raise UserError if `workdir` is not new, if the tensors do not fit the networks of `config`, or if Adam ran with other
    settings.
    """
    paths = [Path(os.path.expanduser(file)) for file in ([files] if isinstance(files, str | Path) else files)]
    folder = RunFolder(Path(os.path.expanduser(workdir)))
    if folder.config.exists() or folder.checkpoints.exists():
        raise UserError(f"--workdir={workdir}: holds a run already. Give a new folder.")
    if folder.root.resolve() == Path.cwd():
        raise UserError(f"--workdir={workdir}: is the current folder. Give a new folder.")
    if folder.root.exists() and (not folder.root.is_dir() or any(folder.root.iterdir())):
        raise UserError(f"--workdir={workdir}: exists and is not an empty folder. Give a new folder.")
    state = import_state(config, paths)
    begin_run(folder, config, state, paths)
    return state
