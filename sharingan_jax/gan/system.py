"""What a configuration defines and training does not change: networks, optimizers and the game."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sharingan_jax.config.schema import Config
from sharingan_jax.gan.losses import LOSSES, AdversarialLoss
from sharingan_jax.gan.optim import build_optimizer
from sharingan_jax.gan.state import NetState, TrainState
from sharingan_jax.model.convolutions import convolutions, fastest_form
from sharingan_jax.model.dcgan import Discriminator, Generator
from sharingan_jax.model.functional import Net
from sharingan_jax.rng import Stream, seed_key, stream_key


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
    axis_name: str | None = None


def build_system(config: Config, *, axis_name: str | None = None) -> System:
    """Return the networks, optimizers and losses of a configuration.

    `axis_name` names the devices of the `shard_map` that the training step runs in; None if it runs on one device or under `jit`.
    """
    model, size, channels = config.model, config.data.size, config.data.channels
    form = fastest_form(jax.default_backend()) if model.convolution == "auto" else model.convolution
    shared: dict[str, Any] = {
        "size": size,
        "channels": channels,
        "order": model.batch_norm,
        "groups": model.batch_norm_groups,
        "axis_name": axis_name,
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
        axis_name=axis_name,
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
