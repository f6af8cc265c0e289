"""One training step, a chunk of steps, and sampling: pure functions of a `Gan`, a state and data."""

from collections.abc import Callable
from functools import partial
from typing import Literal, Protocol, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from sharingan_jax.gan.augment import add_noise, noise_std
from sharingan_jax.gan.ema import update_ema
from sharingan_jax.gan.gan import Gan
from sharingan_jax.gan.losses import logits_of_images
from sharingan_jax.gan.memory import Memory, signals_of, update_memory
from sharingan_jax.gan.metrics import ADAPTIVE, GEN_METRICS, METRIC_NAMES
from sharingan_jax.gan.penalties import lecam
from sharingan_jax.gan.state import NetState, TrainState
from sharingan_jax.model.functional import Arrays
from sharingan_jax.model.rng import Stream, draw_latents, stream_key

Metrics = dict[str, Array]
Tree = TypeVar("Tree")


class TrainStep(Protocol):
    """The training step of one `Gan`: (state, real [B, H, W, C], z [B, nz], labels int [B]) -> (state, metrics []).

    `labels` are for a game with classes.
    """

    def __call__(
        self, state: TrainState, real: Array, z: Array, labels: Array | None = None, /
    ) -> tuple[TrainState, Metrics]: ...


def scale_images(images_u8: Array) -> Array:
    """Scale uint8 [..., H, W, C] to float32 in [−1, 1]: x / 127.5 − 1."""
    return images_u8.astype(jnp.float32) / 127.5 - 1.0


def scan_steps(
    step: TrainStep, state: TrainState, batches: Array, images_u8: Array | None = None, labels: Array | None = None, *, nz: int
) -> tuple[TrainState, Metrics]:
    """Run K steps, one after another; return (state, metrics [K]).

    `batches` are the images, uint8 [K, B, H, W, C]. With `images_u8` [N, H, W, C] they are indices into it, int32 [K, B], and
    each step gathers its own batch. The bits are the same: XLA fuses the gathered batch with nothing, as one from the host.
    `labels` are the classes of the images of each batch, int32 [K, B], if the networks are conditional.

    Each step draws its latents for the whole batch at once from (the run's key, the step's number), so they are the same
    numbers on any number of devices. Every step is compiled inside a scan, even a single one: chunks of 4, 2 + 2 and
    1 + 1 + 1 + 1 steps then give the same bits on a CPU.
    """

    def body(state: TrainState, inputs: tuple[Array, Array | None]) -> tuple[TrainState, Metrics]:
        batch, labels = inputs
        batch_u8 = batch if images_u8 is None else lax.optimization_barrier(gather_images(images_u8, batch))  # [B, H, W, C]
        z = draw_latents(state.key, step=state.step + 1, count=batch_u8.shape[0], nz=nz)  # [B, nz]
        return step(state, scale_images(batch_u8), z, labels)

    return lax.scan(body, state, (batches, labels))


def gather_images(images_u8: Array, indices: Array) -> Array:
    """Return the images at `indices` [B] of uint8 [N, H, W, C], as uint8 [B, H, W, C]."""
    return images_u8.at[indices].get(mode="promise_in_bounds")


def train_step(gan: Gan, state: TrainState, real: Array, z: Array, labels: Array | None = None) -> tuple[TrainState, Metrics]:
    """Run the reference's step on images [B, H, W, C] in [−1, 1] and latents [B, nz]: D's update, then G's.

    D scores the real and the fake batch in two separate passes, so that their batch statistics are never mixed. Both gradients
    are summed for one update. G is scored by the UPDATED D on the same fake images, from the one forward pass. G is updated at
    every n_critic-th step (Arjovsky et al. 2017, "Wasserstein GAN", algorithm 1). At the other steps G's metrics are NaN, for
    "not taken". The averaged weights follow at every step.

    If the game has classes, `labels` int [B] are those of the real images. G is asked for the same classes, so each pair of a
    real and a fake image has one class, and the fake images have the classes in the data's shares.

    If the game has an `axis_name`, this runs on each device of a `shard_map`: `real` and `z` are the device's equal part of
    the batch, the state is whole, and the result is the whole batch's and the same on every device. The devices exchange each
    layer's batch statistics in each pass (and their gradients), and once an update the gradients and metrics. Losses are means
    over the batch, so they are the means of the parts' losses. So are the gradients: the exchange of the statistics has already
    returned the part of the gradient that one device's images cause on another.
    """
    step = state.step + 1
    images = len(real) * (1 if gan.axis_name is None else lax.axis_size(gan.axis_name))
    keys = _augment_keys(gan, state.key, step=step, images=images, own=len(real))

    objective, memory = gan.objective, state.memory
    probability = objective.probability if objective.adaptive is None or memory is None else memory["augment_probability"]

    def augment(images: Array) -> Array:
        images = objective.augment(images, keys, probability)
        if objective.noise:
            std = noise_std(step, start=objective.noise, steps=objective.noise_steps)
            images = add_noise(images, keys, std=std)
        return images

    condition = None if labels is None else jax.nn.one_hot(labels, gan.classes, dtype=z.dtype)  # [B, classes]
    latents = z if condition is None else jnp.concatenate([z, condition], axis=1)

    def generate(params: Arrays) -> tuple[Array, Arrays]:
        return gan.gen.apply(params, state.gen.buffers, latents, mode="train")

    fake, pull_gen, gen_buffers = jax.vjp(generate, state.gen.params, has_aux=True)
    real = augment(real)
    disc, disc_metrics, signals = _update_disc(
        gan, state.disc, real=real, fake=augment(fake), condition=condition, step=step, keys=keys, memory=memory
    )
    if memory is not None:
        memory = update_memory(memory, signals, adaptive=objective.adaptive, images=images)
    gen = NetState(state.gen.params, gen_buffers, state.gen.opt)
    update_gen = partial(_update_gen, gan, real=real, fake=fake, condition=condition, augment=augment, pull_gen=pull_gen)
    if gan.n_critic == 1:
        gen, disc, gen_metrics = update_gen(gen, disc)
    else:
        gen, disc, gen_metrics = lax.cond(step % gan.n_critic == 0, update_gen, _leave_gen, gen, disc)
    ema = update_ema(state.ema, gen.params, step=step, images=images, half_life=gan.ema_half_life, ramp_up=gan.ema_ramp_up)
    metrics = {**disc_metrics, **gen_metrics}
    assert set(metrics) == set(METRIC_NAMES), metrics
    if objective.adaptive is not None:
        metrics[ADAPTIVE.name] = jnp.asarray(probability)
    return TrainState(step, state.key, gen, disc, ema, memory), metrics


def _augment_keys(gan: Gan, key: Array, *, step: Array, images: int, own: int) -> Array:
    """Draw a key for each image of the whole batch, and return those of this device's `own` images."""
    keys = jax.random.split(stream_key(key, Stream.AUGMENT, step), images)
    return keys if gan.axis_name is None else lax.dynamic_slice_in_dim(keys, lax.axis_index(gan.axis_name) * own, own)


def _update_disc(
    gan: Gan,
    disc: NetState,
    *,
    real: Array,
    fake: Array,
    step: Array,
    keys: Array,
    condition: Array | None = None,
    memory: Memory | None = None,
) -> tuple[NetState, Metrics, Memory]:
    """Update D on images [B, H, W, C] as it sees them. Return its state, its metrics, and the signals that a memory needs."""
    objective = gan.objective
    judge = partial(gan.disc.apply, mode="train", condition=condition)
    exchanged = _flips(keys, probability=objective.flip) if objective.flip else None

    def loss_of(params: Arrays) -> tuple[Array, tuple[Array, Array, Array, Arrays]]:
        def score(images: Array) -> Array:
            return judge(params, disc.buffers, images)[0]

        real_logits, buffers = judge(params, disc.buffers, real)  # [B] or [B, 2], as everywhere below
        fake_logits, buffers = judge(params, buffers, lax.stop_gradient(fake))
        taken = (real_logits, fake_logits)
        if exchanged is not None:
            flips = exchanged.reshape(-1, *[1] * (real_logits.ndim - 1))
            taken = (jnp.where(flips, fake_logits, real_logits), jnp.where(flips, real_logits, fake_logits))
        loss = loss_d = objective.adversarial.disc(*taken)
        if objective.lecam and memory is not None:
            means = {name: memory[name] for name in ("real_mean", "fake_mean")}
            loss = loss + objective.lecam * lecam(logits_of_images(real_logits), logits_of_images(fake_logits), **means)
        for weighted in objective.penalties:
            penalty = partial(weighted.penalty, score, real, lax.stop_gradient(fake), keys)
            loss = loss + weighted.weight * _every(weighted.every, step, penalty)
        return loss, (loss_d, real_logits, fake_logits, buffers)

    (_, (loss_d, real_logits, fake_logits, buffers)), grads = jax.value_and_grad(loss_of, has_aux=True)(disc.params)
    for term in objective.reported:
        loss_d = loss_d + term(fake, real)
    metrics = {
        "loss_d": loss_d,
        "d_real": jnp.mean(jax.nn.sigmoid(logits_of_images(real_logits))),
        "d_fake_before": jnp.mean(jax.nn.sigmoid(logits_of_images(fake_logits))),
    }
    pairs = objective.adversarial.gen_needs_real
    of_images = map(logits_of_images, (real_logits, fake_logits))
    signals = {} if memory is None else signals_of(*of_images, pairs=pairs)
    grads, metrics, signals = _mean_over_devices(gan.axis_name, (grads, metrics, signals))
    updates, opt = gan.disc_optimizer.update(grads, disc.opt, disc.params)
    metrics["grad_norm_d"] = optax.tree.norm(grads)
    return NetState(optax.apply_updates(disc.params, updates), buffers, opt), metrics, signals


def _flips(keys: Array, *, probability: float) -> Array:
    """Draw which pairs of a real and a fake image are exchanged, bool [B], from keys [B].

    Source: Chintala et al. 2016, "How to Train a GAN? Tips and tricks to make GANs work": noisy labels.
    """
    return jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 4), (), "float32") < probability)(keys)


def _every(n: int, step: Array, term: Callable[[], Array]) -> Array:
    """Return n times the term at each n-th step, and 0 at the others, at which it is not computed."""
    return term() if n == 1 else lax.cond(step % n == 0, lambda: n * term(), lambda: jnp.zeros((), jax.eval_shape(term).dtype))


def _update_gen(
    gan: Gan,
    gen: NetState,
    disc: NetState,
    *,
    real: Array,
    fake: Array,
    condition: Array | None,
    augment: Callable[[Array], Array],
    pull_gen: Callable[[Array], tuple[Arrays]],
) -> tuple[NetState, NetState, Metrics]:
    """Update G by the updated D's scores of `fake` [B, H, W, C]. Return both states (D's buffers move too) and G's metrics."""
    adversarial = gan.objective.adversarial
    judge = partial(gan.disc.apply, mode="train", condition=condition)
    # D has been updated, as in the reference: G answers the new D, and these passes, too, move D's u and running statistics.
    real_logits, real_buffers = None, disc.buffers
    if adversarial.gen_needs_real:
        real_logits, real_buffers = judge(disc.params, disc.buffers, real)

    def loss_of(fake: Array) -> tuple[Array, tuple[Array, Arrays]]:
        fake_logits, buffers = judge(disc.params, real_buffers, augment(fake))
        return adversarial.gen(fake_logits, real_logits), (fake_logits, buffers)

    (loss_g, (fake_logits, disc_buffers)), grad_fake = jax.value_and_grad(loss_of, has_aux=True)(fake)
    (grads,) = pull_gen(grad_fake)
    metrics = {"loss_g": loss_g, "d_fake_after": jnp.mean(jax.nn.sigmoid(logits_of_images(fake_logits)))}
    grads, metrics = _mean_over_devices(gan.axis_name, (grads, metrics))
    updates, opt = gan.gen_optimizer.update(grads, gen.opt, gen.params)
    metrics["grad_norm_g"] = optax.tree.norm(grads)
    gen = NetState(optax.apply_updates(gen.params, updates), gen.buffers, opt)
    return gen, NetState(disc.params, disc_buffers, disc.opt), metrics


def _leave_gen(gen: NetState, disc: NetState) -> tuple[NetState, NetState, Metrics]:
    return gen, disc, dict.fromkeys(GEN_METRICS, jnp.full((), jnp.nan))


def _mean_over_devices(axis_name: str | None, tree: Tree) -> Tree:
    """Return the mean of the devices' trees, by one exchange. Without an axis, return the tree."""
    if axis_name is None:
        return tree
    # As one array: XLA sends the leaves of a tree in several exchanges, as they become ready.
    flat, unflatten = ravel_pytree(tree)
    mean: Tree = unflatten(lax.pmean(flat, axis_name))
    return mean


def sample_images(gan: Gan, gen: NetState, z: Array, *, statistics: Literal["batch", "running"]) -> Array:
    """Return images [B, H, W, C] in [−1, 1] for latents [B, nz], with the stored u and v and the chosen batch norm statistics.

    With classes the latents are [B, nz + classes] and end in each image's class, one-hot.

    `gen` is the generator as trained, `state.gen`, or with averaged weights, `generator_of(state, weights="averaged")`.

    Torch: the original samples in training mode, which moves the running statistics and takes a power iteration, so that looking
    at a run changes it. Here nothing moves: training continues from the same state.
    """
    fake, _ = gan.gen.apply(gen.params, gen.buffers, z, mode=statistics)
    return fake
