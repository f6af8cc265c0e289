"""Start a new run from a checkpoint of another one, with other settings or images."""

from dataclasses import replace
from pathlib import Path

import jax
import optax

from sharingan_jax.config.load import ConfigSource, load_config, with_absolute_paths
from sharingan_jax.config.schema import Config, settings_of
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.sources.load import load_dataset_from_config
from sharingan_jax.devices.environment import pin_environment
from sharingan_jax.errors import UserError
from sharingan_jax.files import user_path
from sharingan_jax.gan.ema import init_ema
from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.state import NetState, TrainState, digest
from sharingan_jax.model.rng import seed_key
from sharingan_jax.run.continuation import read_existing
from sharingan_jax.run.first_state import check_new_folder, write_first_state
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.load import Run
from sharingan_jax.run.lock import lock_folder
from sharingan_jax.run.manifest import Branch, Manifest, Origin, read_manifest, write_manifest
from sharingan_jax.training.schedule import fit_batch_size
from sharingan_jax.training.setup import setup_run

SHAPES = ("model.nz", "model.classes", "model.gen.", "model.disc.", "data.size", "data.channels")
"""The settings that decide the networks' shapes, or begin their names."""


def split_source(source: str | Path) -> tuple[Path, int | None]:
    """Return the folder and the step of `DIR@STEP`; None, for the last checkpoint, if no step is given."""
    whole = user_path(source, name="source")
    folder, at, step = str(source).rpartition("@")
    if at and step.isdecimal() and not whole.exists():
        return user_path(folder, name="source"), int(step)
    return whole, None


def branch(source: str | Path, workdir: str | Path, config: ConfigSource, *, dry_run: bool = False) -> list[str]:
    """Make a run in the new folder `workdir` from a checkpoint of the run in `source` (`DIR` or `DIR@STEP`).

    It takes over weights, buffers, Adam's moments, averaged weights and the step, and continues with `config` when it is
    trained. `config` is what `load_config` takes.

    Both manifests record the branch. Return the changed settings as `key: then | now`. A `workdir` that already is
    this branch stays as it is. With `dry_run` everything is checked and nothing is written. Raise UserError if `workdir` holds
    anything else, if there is no such checkpoint, or if `config` has networks of other shapes.
    """
    config = load_config(config)
    root, step = split_source(source)
    run, target = Run(root), user_path(workdir, name="workdir")
    old, new = settings_of(run.config), settings_of(config)
    changes = [f"{key}: {old[key]} | {new[key]}" for key in old if old[key] != new[key] and key != "train.host_threads"]
    if config.train.seeds != 1:
        raise UserError(f"train.seeds={config.train.seeds}: expected 1 with --branch-from. Branch into one folder for each seed.")
    origin = read_existing(RunFolder(target)).origin
    if origin and origin.run == str(root.resolve()) and step in (None, origin.step):
        return changes
    config = with_absolute_paths(pin_environment(config, recorded=0))
    check_new_folder(target)
    state = _carry_over(run.state(step), config, changes)
    last = int(state.step)
    dataset = load_dataset_from_config(config.data, fetch=not dry_run, say=print)
    setup = setup_run(fit_batch_size(config, dataset.count), dataset, read_existing(RunFolder(target)))
    total = setup.schedule.total_steps
    if total <= last:
        raise UserError(f"train.steps={total}: expected more than {last}, the step that the branch starts after.")
    first = Origin(last, digest(state), {}, str(root.resolve()), tuple(changes), _images_seen(run.config, run.manifest, last))
    if dry_run:
        return changes
    with lock_folder(run.folder):
        write_first_state(target, config, state, first, status="branched")
        parent = read_manifest(run.folder.manifest)
        here = Branch(str(target.resolve()), last, tuple(changes))
        write_manifest(run.folder.manifest, replace(parent, branches=(*parent.branches, here)))
    return changes


def _images_seen(config: Config, manifest: Manifest, step: int) -> int | None:
    """Return how many images a run had seen after `step`; None if it has not trained yet."""
    if manifest.data is None:
        return manifest.origin.images_seen if manifest.origin else None
    plan = BatchPlan(manifest.data.count, batch_size=config.train.batch_size, seed=config.seed, last_batch=config.data.last_batch)
    return manifest.images_seen_after(step, plan)


def _carry_over(state: TrainState, config: Config, changes: list[str]) -> TrainState:
    """Return `state` as one of the game of `config`. Raise UserError, with the changes, if its arrays have other shapes."""
    gan = build_gan(config)
    like = jax.eval_shape(lambda: init_state(gan, seed=config.seed))
    for own, other in ((state.gen, like.gen), (state.disc, like.disc)):
        theirs = jax.tree.map(lambda leaf: leaf.shape, (other.params, other.buffers))
        if jax.tree.map(lambda leaf: leaf.shape, (own.params, own.buffers)) != theirs:
            of_networks = [line for line in changes if line.startswith(SHAPES)]
            raise UserError(f"--branch-from: expected networks of the same shapes, got {'; '.join(of_networks)}. Leave them out.")
    gen = NetState(state.gen.params, state.gen.buffers, _carry_optimizer(gan.gen_optimizer, state.gen))
    disc = NetState(state.disc.params, state.disc.buffers, _carry_optimizer(gan.disc_optimizer, state.disc))
    ema = init_ema(gen.params, half_life=gan.ema_half_life)
    ema = state.ema if ema is not None and state.ema is not None else ema
    fresh = gan.objective.init_memory()
    memory = None if fresh is None else {name: (state.memory or fresh).get(name, value) for name, value in fresh.items()}
    return TrainState(state.step, seed_key(config.seed), gen, disc, ema, memory)


def _carry_optimizer(optimizer: optax.GradientTransformation, net: NetState) -> optax.OptState:
    """Return the optimizer's state with Adam's moments and count of `net`; a schedule starts at that count too.

    An optimizer of another kind starts with the state of its own.
    """
    fresh = optimizer.init(net.params)
    carried = {name: optax.tree.get(net.opt, name, None) for name in ("mu", "nu", "count", "trace")}
    return optax.tree.set(fresh, **{name: part for name, part in carried.items() if part is not None and _has(fresh, name)})


def _has(state: optax.OptState, name: str) -> bool:
    return bool(list(optax.tree.get_all_with_path(state, name)))
