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
TrainStep = Callable[[TrainState, Array, Array], tuple[TrainState, Metrics]]
"""A training step of one system: (state, real [B, H, W, C], z [B, nz]) -> (state, metrics [])."""

Tree = TypeVar("Tree")


def scale_images(images_u8: Array) -> Array:
    """Scale uint8 [..., H, W, C] to float32 in [−1, 1]: x / 127.5 − 1."""
    return images_u8.astype(jnp.float32) / 127.5 - 1.0


def scan_steps(step: TrainStep, state: TrainState, images_u8: Array, *, nz: int) -> tuple[TrainState, Metrics]:
    """Run K steps on uint8 [K, B, H, W, C], one after another; return (state, metrics [K]).

    Each step draws its latents for the whole batch at once from (the run's key, the step's number), so they are the same
    numbers on any number of devices. Every step is compiled inside a scan, even a single one: chunks of 4, 2 + 2 and
    1 + 1 + 1 + 1 steps then give the same bits on a CPU.
    """

    def body(state: TrainState, batch_u8: Array) -> tuple[TrainState, Metrics]:
        z = draw_latents(state.key, step=state.step + 1, count=batch_u8.shape[0], nz=nz)  # [B, nz]
        return step(state, scale_images(batch_u8), z)

    return lax.scan(body, state, images_u8)


def train_step(system: System, state: TrainState, real: Array, z: Array) -> tuple[TrainState, Metrics]:
    """Run the reference's step on images [B, H, W, C] in [−1, 1] and latents [B, nz]: D's update, then G's.

    D scores the real and the fake batch in two separate passes, so that their batch statistics are never mixed; both
    gradients are summed for one update. G is scored by the UPDATED D on the same fake images, from the one forward pass.
    G is updated at every n_critic-th step; at the other steps `loss_g`, `d_fake_after` and `grad_norm_g` are NaN ("not taken").

    If the system has an `axis_name`, this runs on each device of a `shard_map`: `real` and `z` are the device's equal part of
    the batch, the state is whole, and the result is the whole batch's and the same on every device. The devices exchange each
    layer's batch statistics in each pass (and their gradients), and once an update the gradients and metrics. Losses are means
    over the batch, so they are the means of the parts' losses. So are the gradients: what one device's part does to another's
    through the statistics has come back with their exchange.
    """
    step = state.step + 1

    def generate(params: Arrays) -> tuple[Array, Arrays]:
        return system.gen.apply(params, state.gen.buffers, z, mode="train")

    fake, pull_gen, gen_buffers = jax.vjp(generate, state.gen.params, has_aux=True)
    disc, disc_metrics = _update_disc(system, state.disc, real=real, fake=fake)
    gen = NetState(state.gen.params, gen_buffers, state.gen.opt)
    update_gen = partial(_update_gen, system, fake=fake, pull_gen=pull_gen)
    if system.n_critic == 1:
        gen, disc, gen_metrics = update_gen(gen, disc)
    else:
        gen, disc, gen_metrics = lax.cond(step % system.n_critic == 0, update_gen, _leave_gen, gen, disc)
    return TrainState(step, state.key, gen, disc), {**disc_metrics, **gen_metrics}


def _update_disc(system: System, disc: NetState, *, real: Array, fake: Array) -> tuple[NetState, Metrics]:
    def loss_of(params: Arrays) -> tuple[Array, tuple[Array, Array, Arrays]]:
        real_logits, buffers = system.disc.apply(params, disc.buffers, real, mode="train")  # [B]
        fake_logits, buffers = system.disc.apply(params, buffers, lax.stop_gradient(fake), mode="train")  # [B]
        return system.loss.disc(real_logits, fake_logits), (real_logits, fake_logits, buffers)

    (loss_d, (real_logits, fake_logits, buffers)), grads = jax.value_and_grad(loss_of, has_aux=True)(disc.params)
    if system.beta > 0:
        loss_d = loss_d + modified_d_term(fake, real, beta=system.beta)
    metrics = {
        "loss_d": loss_d,
        "d_real": jnp.mean(jax.nn.sigmoid(real_logits)),
        "d_fake_before": jnp.mean(jax.nn.sigmoid(fake_logits)),
    }
    grads, metrics = _mean_over_devices(system.axis_name, (grads, metrics))
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
) -> tuple[NetState, NetState, Metrics]:
    def loss_of(fake: Array) -> tuple[Array, tuple[Array, Arrays]]:
        # After disc's update, as in the reference: gen answers the new critic, and this pass, too, moves disc's u and statistics.
        fake_logits, buffers = system.disc.apply(disc.params, disc.buffers, fake, mode="train")  # [B]
        return system.loss.gen(fake_logits), (fake_logits, buffers)

    (loss_g, (fake_logits, disc_buffers)), grad_fake = jax.value_and_grad(loss_of, has_aux=True)(fake)
    (grads,) = pull_gen(grad_fake)
    metrics = {"loss_g": loss_g, "d_fake_after": jnp.mean(jax.nn.sigmoid(fake_logits))}
    grads, metrics = _mean_over_devices(system.axis_name, (grads, metrics))
    updates, opt = system.gen_optimizer.update(grads, gen.opt, gen.params)
    metrics["grad_norm_g"] = optax.tree.norm(grads)
    gen = NetState(optax.apply_updates(gen.params, updates), gen.buffers, opt)
    return gen, NetState(disc.params, disc_buffers, disc.opt), metrics


def _leave_gen(gen: NetState, disc: NetState) -> tuple[NetState, NetState, Metrics]:
    return gen, disc, dict.fromkeys(("loss_g", "d_fake_after", "grad_norm_g"), jnp.full((), jnp.nan))


def _mean_over_devices(axis_name: str | None, tree: Tree) -> Tree:
    """Return the mean of the devices' trees, by one exchange. Without an axis, return the tree."""
    if axis_name is None:
        return tree
    # As one array: XLA sends a tree's leaves in several exchanges, as they come to be ready.
    flat, unflatten = ravel_pytree(tree)
    mean: Tree = unflatten(lax.pmean(flat, axis_name))
    return mean


def sample_images(system: System, gen: NetState, z: Array, *, statistics: Literal["batch", "running"]) -> Array:
    """Pictures [B, H, W, C] in [−1, 1] for latents [B, nz], with the stored u and v and either kind of batch-norm statistics.

    Torch: the original draws its samples in training mode, which moves the running statistics and takes a power iteration,
    so that looking at a run changes it. Here nothing moves: the state that goes in is the state that trains on.
    """
    fake, _ = system.gen.apply(gen.params, gen.buffers, z, mode=statistics)
    return fake
