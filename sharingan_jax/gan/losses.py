"""Adversarial losses on logits. A new one is a pair of functions and a line in `LOSSES`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array


@dataclass(frozen=True)
class AdversarialLoss:
    """A game: `disc(real_logits [B], fake_logits [B])` and `gen(fake_logits [B])`, both means over the batch, []."""

    disc: Callable[[Array, Array], Array]
    gen: Callable[[Array], Array]


def bce_disc(real_logits: Array, fake_logits: Array) -> Array:
    """mean[−log σ(real)] + mean[−log(1 − σ(fake))], D's side of the game. Paper: Goodfellow et al. 2014, equation 1.

    Torch: `BCELoss` on probabilities is the same where the sigmoid is well inside of 0 and 1, and else loses digits, then the
    gradient: see `clamped_bce`. This is exact everywhere.
    """
    return jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))


def bce_gen(fake_logits: Array) -> Array:
    """mean[−log σ(fake)], the non-saturating loss of G. Paper: Goodfellow et al. 2014, end of section 3."""
    return jnp.mean(jax.nn.softplus(-fake_logits))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def clamped_bce(logits: Array, label: int) -> Array:
    """−log p where `label` is 1 and −log(1 − p) where it is 0, with p = σ(logits), as the original computes them: [B] to [B].

    Torch: `BCELoss` on probabilities. Each log is clamped at −100, and the gradient with respect to p is divided by
    max(p (1 − p), 1e-12), so that the gradient with respect to the logits is right only while p is no nearer to 0 or 1 than
    that. In float32 p is 1 from a logit of 17 on: a D that is sure of a fake picture to that degree pays 100 and learns nothing
    from it. Below −27.6 G's gradient fades in the same way.
    """
    p = jax.nn.sigmoid(logits)
    return jnp.abs(jnp.maximum(jnp.log(p) if label else jnp.log1p(-p), -100.0))  # abs: -log 1 would be -0.0


def _clamped_bce_forward(logits: Array, label: int) -> tuple[Array, Array]:
    return clamped_bce(logits, label), jax.nn.sigmoid(logits)


def _clamped_bce_backward(label: int, p: Array, grad: Array) -> tuple[Array]:
    slope = p * (1 - p)
    return (grad * (p - label) / jnp.maximum(slope, 1e-12) * slope,)


clamped_bce.defvjp(_clamped_bce_forward, _clamped_bce_backward)


def clamped_bce_disc(real_logits: Array, fake_logits: Array) -> Array:
    """`bce_disc` as the original computes it: see `clamped_bce`."""
    return jnp.mean(clamped_bce(real_logits, 1)) + jnp.mean(clamped_bce(fake_logits, 0))


def clamped_bce_gen(fake_logits: Array) -> Array:
    """`bce_gen` as the original computes it: see `clamped_bce`."""
    return jnp.mean(clamped_bce(fake_logits, 1))


LOSSES = {
    "bce": AdversarialLoss(disc=bce_disc, gen=bce_gen),
    "bce_clamped": AdversarialLoss(disc=clamped_bce_disc, gen=clamped_bce_gen),
}


def modified_d_term(fake: Array, real: Array, *, beta: float) -> Array:
    """β · mean over the batch of Σ over pixels (fake − real)²: what the post adds to D's loss "to make gradients bigger".

    `fake` and `real` are [B, H, W, C] in [−1, 1]. Neither depends on D, so the term has no gradient with respect to D and
    changes no update: it only shifts the reported loss (by about 100 at the start, toward 45 as the pictures come to look
    alike in their large features).
    """
    return beta * jnp.mean(jnp.sum(jnp.square(fake - real), (1, 2, 3)))
