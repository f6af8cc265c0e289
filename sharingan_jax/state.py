"""A run's whole state as one pytree, how it begins, and its digest."""

import hashlib
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from sharingan_jax.config import Config
from sharingan_jax.convolutions import convolutions, fastest_form
from sharingan_jax.functional import Arrays, Net
from sharingan_jax.losses import LOSSES, AdversarialLoss
from sharingan_jax.networks import Discriminator, Generator
from sharingan_jax.optim import build_optimizer
from sharingan_jax.streams import Stream, seed_key, stream_key


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NetState:
    """One network: its parameters, its buffers (u, v, running statistics) and its optimizer's state."""

    params: Arrays
    buffers: Arrays
    opt: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that training changes: `step` int32 [] steps done, `key` uint32 [2] the run's key, and the two networks."""

    step: Array
    key: Array
    gen: NetState
    disc: NetState


@dataclass(frozen=True)
class System:
    """What a configuration defines and training does not change: two networks, two optimizers, a game."""

    gen: Net
    disc: Net
    gen_optimizer: optax.GradientTransformation
    disc_optimizer: optax.GradientTransformation
    loss: AdversarialLoss
    beta: float
    n_critic: int
    nz: int
    batch_norm_groups: int
    form: str


def build_system(config: Config) -> System:
    """The networks, optimizers and losses of a configuration."""
    model, size, channels = config.model, config.data.size, config.data.channels
    form = fastest_form(jax.default_backend()) if model.convolution == "auto" else model.convolution
    shared: dict[str, Any] = {
        "size": size,
        "channels": channels,
        "order": model.batch_norm,
        "groups": model.batch_norm_groups,
        "forms": convolutions(form),  # type: ignore[arg-type]
        "dtype": model.dtype,
    }
    return System(
        gen=Net(
            lambda draws: Generator(nz=model.nz, ngf=model.ngf, spectral_norm=model.gen_spectral_norm, draws=draws, **shared)
        ),
        disc=Net(lambda draws: Discriminator(ndf=model.ndf, spectral_norm=model.disc_spectral_norm, draws=draws, **shared)),
        gen_optimizer=build_optimizer(config.optim.gen),
        disc_optimizer=build_optimizer(config.optim.disc),
        loss=LOSSES[config.loss.name],
        beta=config.loss.beta,
        n_critic=config.train.n_critic,
        nz=model.nz,
        batch_norm_groups=model.batch_norm_groups,
        form=form,
    )


def init_state(system: System, *, seed: int) -> TrainState:
    """The state before step 1: a pure function of the system and the seed."""
    key = seed_key(seed)
    gen_params, gen_buffers = system.gen.init(stream_key(key, Stream.GEN_INIT))
    disc_params, disc_buffers = system.disc.init(stream_key(key, Stream.DISC_INIT))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        gen=NetState(gen_params, gen_buffers, system.gen_optimizer.init(gen_params)),
        disc=NetState(disc_params, disc_buffers, system.disc_optimizer.init(disc_params)),
    )


def named_arrays(state: TrainState) -> dict[str, Any]:
    """The arrays of a state under names such as `gen.params.to4.kernel`, in its order."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def first_non_finite(state: TrainState) -> str | None:
    """The name of the first array, parameters before buffers before moments, G's before D's, that holds a NaN or an infinity."""
    return next((name for name, leaf in named_arrays(jax.device_get(state)).items() if not np.isfinite(leaf).all()), None)


def pack(state: TrainState) -> bytes:
    """The bytes of all arrays, one after another."""
    return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state))


def unpack(packed: bytes, *, like: TrainState) -> TrainState:
    """The state whose `pack` is `packed`, as numpy arrays of the shapes and dtypes of `like`."""
    leaves, tree = jax.tree.flatten(like)
    arrays, first = [], 0
    for leaf in leaves:
        dtype, size = np.dtype(leaf.dtype), int(np.prod(leaf.shape))
        arrays.append(np.frombuffer(packed, dtype, size, first).reshape(leaf.shape))
        first += size * dtype.itemsize
    state: TrainState = jax.tree.unflatten(tree, arrays)
    return state


def digest(state: TrainState) -> str:
    """SHA-256, in hex, over each array's name, dtype, shape and bytes, in the order of names."""
    leaves = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
    total = hashlib.sha256()
    for name in sorted(leaves):
        array = np.ascontiguousarray(leaves[name])
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        total.update(f"{name} {array.dtype.name} {leaves[name].shape}\n".encode())
        total.update(little_endian.tobytes())
    return total.hexdigest()
