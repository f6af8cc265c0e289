"""The game that a configuration defines: networks, objective and optimizers, none of which training changes."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jax import Array

from sharingan_jax.config.schema import Config
from sharingan_jax.gan.ema import init_ema
from sharingan_jax.gan.objective import Objective, build_objective
from sharingan_jax.gan.optim import build_optimizer
from sharingan_jax.gan.state import NetState, TrainState
from sharingan_jax.model.architectures import build_networks
from sharingan_jax.model.convolutions import convolutions, fastest_conv_impl
from sharingan_jax.model.functional import Net
from sharingan_jax.model.rng import Stream, seed_key, stream_key


@dataclass(frozen=True)
class Gan:
    """The game of a configuration.

    `conv_impl` is the implementation in use, which `model.conv_impl=auto` may have chosen. `ema_half_life` is in images; 0 keeps
    no averaged weights. `ema_ramp_up` limits it to this share of the images seen; 0 does not. `axis_name` names the devices of
    the `shard_map` that the training step runs in, if any.

    With `classes` > 0 both networks are conditional: the class of each image, one-hot, follows the `nz` normal numbers of its
    latent, and D judges the image as one of its class.
    """

    gen: Net
    disc: Net
    objective: Objective
    gen_optimizer: optax.GradientTransformation
    disc_optimizer: optax.GradientTransformation
    n_critic: int
    nz: int
    conv_impl: str
    classes: int = 0
    ema_half_life: float = 0.0
    ema_ramp_up: float = 0.0
    axis_name: str | None = None


def build_gan(config: Config, *, axis_name: str | None = None) -> Gan:
    """Return the game of a configuration. `axis_name` is None if the step runs on one device or under `jit`."""
    model = config.model
    conv_impl = fastest_conv_impl(jax.default_backend()) if model.conv_impl == "auto" else model.conv_impl
    gen, disc = build_networks(config, convolutions=convolutions(conv_impl), axis_name=axis_name)  # type: ignore[arg-type]
    return Gan(
        gen=gen,
        disc=disc,
        objective=build_objective(config),
        gen_optimizer=build_optimizer(config.optim.gen),
        disc_optimizer=build_optimizer(config.optim.disc),
        n_critic=config.train.n_critic,
        nz=model.nz,
        conv_impl=conv_impl,
        classes=model.classes,
        ema_half_life=config.train.ema_half_life,
        ema_ramp_up=config.train.ema_ramp_up,
        axis_name=axis_name,
    )


def init_state(gan: Gan, *, seed: int) -> TrainState:
    """Return the state before step 1: a pure function of the game and the seed."""
    return init_state_from_key(gan, seed_key(seed))


def init_state_from_key(gan: Gan, key: Array) -> TrainState:
    """Return the state before step 1 of a run with this key, from `seed_key`. One compiled program serves all seeds."""
    gen_params, gen_buffers = gan.gen.init(stream_key(key, Stream.GEN_INIT))
    disc_params, disc_buffers = gan.disc.init(stream_key(key, Stream.DISC_INIT))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        gen=NetState(gen_params, gen_buffers, gan.gen_optimizer.init(gen_params)),
        disc=NetState(disc_params, disc_buffers, gan.disc_optimizer.init(disc_params)),
        ema=init_ema(gen_params, half_life=gan.ema_half_life),
        memory=gan.objective.init_memory(),
    )
