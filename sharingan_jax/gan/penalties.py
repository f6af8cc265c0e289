"""Penalties on D: on its gradient with respect to its images, on what a change of an image does to its logits, and on the logits.

A new penalty on the gradient is a function and a line in `PENALTIES`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from sharingan_jax.gan.losses import logits_of_images

Score = Callable[[Array], Array]
"""D as a function of images [B, H, W, C] alone, to logits [B], or [B, 2] with one of the batch: D's buffers stay as they are."""

Change = Callable[[Array, Array], Array]
"""A random change of images [B, H, W, C] with keys [B]."""

Penalty = Callable[[Score, Array, Array, Array], Array]
"""A term of D's loss: `penalty(score, real, fake, keys)` is a mean over the batch, [], of images [B, H, W, C] in [−1, 1].

`keys` [B] has a key for each pair of a real and a fake image.
"""


def r1(score: Score, real: Array, fake: Array, keys: Array) -> Array:
    """Return ½ mean‖∇D(real)‖². Paper: Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?", eq. 9."""
    return 0.5 * jnp.mean(_squared_norms(score, real))


def r2(score: Score, real: Array, fake: Array, keys: Array) -> Array:
    """Return ½ mean‖∇D(fake)‖². Paper: Mescheder et al. 2018, equation 10."""
    return 0.5 * jnp.mean(_squared_norms(score, fake))


def gradient_penalty(score: Score, real: Array, fake: Array, keys: Array) -> Array:
    """Return mean (‖∇D(x)‖ − 1)², with x = fake + ε (real − fake) and ε from U(0, 1) for each pair.

    Paper: Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", equation 3. At a gradient of exactly zero the norm has
    no derivative, so 1e-12 is added below the root.
    """
    # The keys themselves have drawn the augmentation.
    share = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1), (), "float32"))(keys).astype(real.dtype)
    between = fake + share[:, None, None, None] * (real - fake)
    return jnp.mean(jnp.square(jnp.sqrt(_squared_norms(score, between) + 1e-12) - 1))


def consistency(score: Score, real: Array, fake: Array, keys: Array, *, change: Change) -> Array:
    """Return mean (D(x) − D(T(x)))² over real images plus the same over fake ones, with T the random `change`.

    Paper: Zhang et al. 2020, "Consistency Regularization for Generative Adversarial Networks"; with fake images too, Zhao et al.
    2021, "Improved Consistency Regularization for GANs", algorithm 1.
    """
    own = jax.vmap(lambda key: jax.random.fold_in(key, 3))(keys)  # Other draws than those of the augmentation that D sees.

    def moved(x: Array) -> Array:
        return logits_of_images(score(x)) - logits_of_images(score(change(x, own)))

    return sum((jnp.mean(jnp.square(moved(x))) for x in (real, fake)), jnp.zeros(()))


def lecam(real_logits: Array, fake_logits: Array, *, real_mean: Array, fake_mean: Array) -> Array:
    """Return mean (real − α_F)² + mean (fake − α_R)², with α_R and α_F the moving means of D's logits of real and fake images.

    Paper: Tseng et al. 2021, "Regularizing Generative Adversarial Networks under Limited Data", R_LC.
    """
    return jnp.mean(jnp.square(real_logits - fake_mean)) + jnp.mean(jnp.square(fake_logits - real_mean))


def _squared_norms(score: Score, images: Array) -> Array:
    """Return ‖∇D(x)‖² of each image, [B]. D scores images one by one, or with statistics of the batch; the sum covers both, and
    the logit of the batch if it has one."""
    grads = jax.grad(lambda x: jnp.sum(score(x)))(images)
    return jnp.sum(jnp.square(grads), (1, 2, 3))


PENALTIES: dict[str, Penalty] = {"r1": r1, "r2": r2, "gradient_penalty": gradient_penalty}
"""The settings of `loss` that give a penalty its weight."""
