"""Start or continue a run from PyTorch files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import product
from pathlib import Path

import jax
import numpy as np

from sharingan_jax.config.load import ConfigSource, load_config, with_absolute_paths
from sharingan_jax.config.schema import Config, settings_of
from sharingan_jax.devices.environment import pin_jax
from sharingan_jax.errors import UserError, listed
from sharingan_jax.files import user_path
from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.state import TrainState, digest
from sharingan_jax.interop.state_dict import COUNTER, AdamState, Tensors, expected_shapes, from_tensors, mismatches, to_tensors
from sharingan_jax.interop.tensor_table import disc_table, gen_table
from sharingan_jax.interop.torch_files import read_torch_files
from sharingan_jax.run.first_state import check_new_folder, write_first_state
from sharingan_jax.run.manifest import Origin


def import_weights(files: str | Path | Sequence[str | Path], config: ConfigSource, workdir: str | Path) -> TrainState:
    """Make a run's folder in `workdir` from PyTorch `files` that belong to `config`, and return the state it starts from.

    `config` is what `load_config` takes.

    Of a generator alone the run can be sampled; its D has the initial weights of the run's seed, and the manifest says so.
    Raise UserError if `workdir` is not new, if the tensors do not fit the networks of `config`, or if Adam ran with other
    settings.
    """
    pin_jax()
    config = with_absolute_paths(load_config(config))
    paths = [user_path(file, name="files") for file in ([files] if isinstance(files, str | Path) else files)]
    root = user_path(workdir, name="workdir")
    check_new_folder(root)
    state, missing = _read_state(config, paths)
    digests = {str(path): sha256(path.read_bytes()).hexdigest() for path in paths}
    write_first_state(root, config, state, Origin(int(state.step), digest(state), digests, missing=missing), status="imported")
    return state


def _read_state(config: Config, paths: Sequence[Path]) -> tuple[TrainState, tuple[str, ...]]:
    """Return the state of both networks, and of Adam if the files have it, from all files in `paths` together.

    Also returns the networks that the files lack: D, if there is a generator alone. It starts from the seed.
    """
    shapes = expected_shapes(config)
    tables = {"gen": gen_table(config), "dis": disc_table(config)}
    parameters = {net: [shapes[row.name] for row in table if not row.is_buffer] for net, table in tables.items()}
    tensors, adam = read_torch_files(paths, shapes=shapes, parameters=parameters)
    gan, missing = build_gan(config), tuple[str, ...]()
    if tensors and all(name.startswith("gen.") for name in tensors):
        initial = to_tensors(config, jax.device_get(jax.jit(lambda: init_state(gan, seed=config.seed))()))
        tensors |= {name: array for name, array in initial.items() if name.startswith("dis.")}
        missing = ("disc",)
    try:
        _check_tensors(config, shapes, tensors)
        if adam:
            _check_adam(config, adam)
    except UserError as error:
        raise UserError(f"files={', '.join(map(str, paths))}: expected {error}") from None
    state = from_tensors(config, gan, tensors, gen_adam=adam.get("gen"), disc_adam=adam.get("dis"))
    return state, missing


def _check_tensors(config: Config, shapes: Mapping[str, tuple[int, ...]], tensors: Tensors) -> None:
    if found := mismatches(shapes, tensors):
        raise UserError(f"the tensors of this configuration, got others ({found}). {_fitting_settings(config, tensors)}")
    for name, array in tensors.items():
        if not name.endswith(COUNTER) and array.dtype.kind != "f":
            raise UserError(
                f"weights in floating point, got {name} of type {array.dtype}. Give the file that the training wrote."
            )
    with np.errstate(over="ignore"):
        not_finite = [name for name, array in tensors.items() if not np.isfinite(array.astype(np.float32)).all()]
    if not_finite:
        raise UserError(f"finite numbers that fit a float32, got others in {listed(not_finite)}. Give another checkpoint.")


def _fitting_settings(config: Config, tensors: Tensors) -> str:
    """Return a sentence with the settings that fit the tensors, or with what else to do."""
    model = config.model
    post, pre = "post_activation", "pre_activation"  # With a file of G alone, D is this configuration's own.
    for (first, second), gen_norm, disc_norm in product(
        ((post, post), (pre, pre), (post, pre), (pre, post)), (True, False), (True, False)
    ):
        gen = replace(model.gen, norm_position=first, spectral_norm=gen_norm)
        disc = replace(model.disc, norm_position=second, spectral_norm=disc_norm)
        other = replace(config, model=replace(model, gen=gen, disc=disc))
        if not mismatches(expected_shapes(other), tensors):
            ours = settings_of(config)
            flags = [f"--config.{key}={value}" for key, value in settings_of(other).items() if value != ours[key]]
            return f"Use {' '.join(flags)}, which fits."
    return "Use the configuration that the files belong to."


def _check_adam(config: Config, adam: Mapping[str, AdamState]) -> None:
    if len(adam) == 1:
        raise UserError(
            f"Adam's state of both networks or of none, got only that of {next(iter(adam))}."
            " Give the missing file, or the weights alone."
        )
    gen, disc, n_critic = adam["gen"].count, adam["dis"].count, config.train.n_critic
    if gen != disc // n_critic:
        raise UserError(
            f"{disc // n_critic} updates of G after {disc} updates of D with train.n_critic={n_critic}, got {gen}."
            " Set train.n_critic as in the training that wrote the file."
        )
    for key, ours, theirs in (("gen", config.optim.gen, adam["gen"]), ("disc", config.optim.disc, adam["dis"])):
        names = ["b1", "b2", "eps"]
        if ours.schedule == "constant" and ours.warmup_steps == 0:  # With a schedule, PyTorch stores the lr of the last update.
            names.insert(0, "lr")
        pairs = {f"optim.{key}.{name}": (theirs.settings[name], getattr(ours, name)) for name in names}
        # An lr stored as float32 counts as equal.
        differing = {name: pair for name, pair in pairs.items() if not math.isclose(*pair, rel_tol=1e-6)}
        if differing:
            found = ", ".join(f"{name}={their!r} in place of {our!r}" for name, (their, our) in differing.items())
            flags = " ".join(f"--config.{name}={their!r}" for name, (their, _) in differing.items())
            raise UserError(f"Adam with this configuration's settings, got {found}. Use {flags} to continue it.")
