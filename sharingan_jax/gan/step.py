"""One training step, several at once, and sampling: pure functions of a system, a state and data."""

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from sharingan_jax.gan.losses import modified_d_term
from sharingan_jax.gan.state import NetState, TrainState
from sharingan_jax.gan.system import System
from sharingan_jax.model.functional import Arrays
from sharingan_jax.rng import draw_latents

Metrics = dict[str, Array]
Update = Callable[[TrainState, Array, Array], tuple[TrainState, Metrics]]
"""`update_networks` of one system: (state, real, z) to (state, metrics)."""

Tree = TypeVar("Tree")


def scale_pictures(real_u8: Array) -> Array:
    """uint8 [..., H, W, C] to float32 in [−1, 1]: x / 127.5 − 1."""
    return real_u8.astype(jnp.float32) / 127.5 - 1.0


def train_step(system: System, state: TrainState, real: Array, *, update: Update | None = None) -> tuple[TrainState, Metrics]:
    """One step on `real` [B, H, W, C] in [−1, 1], with the step's own latents; returns (state, metrics []).

    `update` is `update_networks`, or what shares its work out over devices. The latents are drawn before, all of the batch's at
    once: they are the same numbers on any number of devices.
    """
    z = draw_latents(state.key, step=state.step + 1, count=real.shape[0], nz=system.nz)  # [B, nz]
    return (update or partial(update_networks, system))(state, real, z)


def update_networks(
    system: System, state: TrainState, real: Array, z: Array, *, axis: str | None = None
) -> tuple[TrainState, Metrics]:
    """The reference's step on pictures [B, H, W, C] in [−1, 1] and latents [B, nz]: D's update, then G's.

    D answers the real and the fake batch in two separate passes, so that their batch statistics are never mixed; both
    gradients are summed for one update. G answers the UPDATED D on the same fake pictures, from the one forward pass.
    G is updated at every n_critic-th step; at the others `loss_g`, `d_fake_after` and `grad_norm_g` are NaN, for not taken.

    On one of several devices of a `shard_map`, `axis` names them, `real` and `z` are its equal part of the batch and the state
    is whole. What comes back is of the whole batch, and the same on every device. They exchange each layer's batch statistics
    in each pass, and what backward passes ask of those; and at each update, once, the gradients and figures. Losses are means
    over the batch, and so the means of the parts' losses; so are the gradients, for what one device's part does to another's
    through the statistics has come back with their exchange.
    """
    step = state.step + 1

    def generate(params: Arrays) -> tuple[Array, Arrays]:
        return system.gen.apply(params, state.gen.buffers, z, mode="train", axis=axis)

    fake, pull_gen, gen_buffers = jax.vjp(generate, state.gen.params, has_aux=True)
    disc, disc_metrics = _update_disc(system, state.disc, real=real, fake=fake, axis=axis)
    gen = NetState(state.gen.params, gen_buffers, state.gen.opt)
    update_gen = partial(_update_gen, system, fake=fake, pull_gen=pull_gen, axis=axis)
    if system.n_critic == 1:
        gen, disc, gen_metrics = update_gen(gen, disc)
    else:
        gen, disc, gen_metrics = lax.cond(step % system.n_critic == 0, update_gen, _leave_gen, gen, disc)
    return TrainState(step, state.key, gen, disc), {**disc_metrics, **gen_metrics}


def _update_disc(
    system: System, disc: NetState, *, real: Array, fake: Array, axis: str | None = None
) -> tuple[NetState, Metrics]:
    def loss_of(params: Arrays) -> tuple[Array, tuple[Array, Array, Arrays]]:
        real_logits, buffers = system.disc.apply(params, disc.buffers, real, mode="train", axis=axis)  # [B]
        fake_logits, buffers = system.disc.apply(params, buffers, lax.stop_gradient(fake), mode="train", axis=axis)  # [B]
        return system.loss.disc(real_logits, fake_logits), (real_logits, fake_logits, buffers)

    (loss_d, (real_logits, fake_logits, buffers)), grads = jax.value_and_grad(loss_of, has_aux=True)(disc.params)
    if system.beta > 0:
        loss_d = loss_d + modified_d_term(fake, real, beta=system.beta)
    metrics = {
        "loss_d": loss_d,
        "d_real": jnp.mean(jax.nn.sigmoid(real_logits)),
        "d_fake_before": jnp.mean(jax.nn.sigmoid(fake_logits)),
    }
    grads, metrics = _mean_over(axis, (grads, metrics))
    updates, opt = system.disc_optimizer.update(grads, disc.opt, disc.params)
    metrics["grad_norm_d"] = optax.tree.norm(grads)
    return NetState(optax.apply_updates(disc.params, updates), buffers, opt), metrics


def _update_gen(
    system: System,
    gen: NetState,
    disc: NetState,
    *,
    fake: Array,
    pull_gen: Callable[[Array], tuple[Arrays]],
    axis: str | None,
) -> tuple[NetState, NetState, Metrics]:
    def loss_of(fake: Array) -> tuple[Array, tuple[Array, Arrays]]:
        # After disc's update, as in the reference: gen answers the new critic, and this pass, too, moves disc's u and statistics.
        fake_logits, buffers = system.disc.apply(disc.params, disc.buffers, fake, mode="train", axis=axis)  # [B]
        return system.loss.gen(fake_logits), (fake_logits, buffers)

    (loss_g, (fake_logits, disc_buffers)), grad_fake = jax.value_and_grad(loss_of, has_aux=True)(fake)
    (grads,) = pull_gen(grad_fake)
    metrics = {"loss_g": loss_g, "d_fake_after": jnp.mean(jax.nn.sigmoid(fake_logits))}
    grads, metrics = _mean_over(axis, (grads, metrics))
    updates, opt = system.gen_optimizer.update(grads, gen.opt, gen.params)
    metrics["grad_norm_g"] = optax.tree.norm(grads)
    gen = NetState(optax.apply_updates(gen.params, updates), gen.buffers, opt)
    return gen, NetState(disc.params, disc_buffers, disc.opt), metrics


def _leave_gen(gen: NetState, disc: NetState) -> tuple[NetState, NetState, Metrics]:
    return gen, disc, dict.fromkeys(("loss_g", "d_fake_after", "grad_norm_g"), jnp.full((), jnp.nan))


def _mean_over(axis: str | None, tree: Tree) -> Tree:
    """The mean of the devices' trees, by one exchange; without devices, the tree."""
    if axis is None:
        return tree
    # As one array: XLA sends a tree's leaves in several exchanges, as they come to be ready.
    flat, unflatten = ravel_pytree(tree)
    mean: Tree = unflatten(lax.pmean(flat, axis))
    return mean


def train_chunk(system: System, state: TrainState, real_u8: Array, *, update: Update | None = None) -> tuple[TrainState, Metrics]:
    """K steps on uint8 [K, B, H, W, C], one after another; returns (state, metrics [K]). `update` is `train_step`'s."""

    def body(state: TrainState, batch_u8: Array) -> tuple[TrainState, Metrics]:
        return train_step(system, state, scale_pictures(batch_u8), update=update)

    return lax.scan(body, state, real_u8)


def sample_images(system: System, gen: NetState, z: Array, *, statistics: Literal["batch", "running"]) -> Array:
    """Pictures [B, H, W, C] in [−1, 1] for latents [B, nz], with the stored u and v and either kind of batch-norm statistics.

    Torch: the original draws its samples in training mode, which moves the running statistics and takes a power iteration,
    so that looking at a run changes it. Here nothing moves: the state that goes in is the state that trains on.
    """
    fake, _ = system.gen.apply(gen.params, gen.buffers, z, mode=statistics)
    return fake
