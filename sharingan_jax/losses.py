"""Adversarial losses on logits. A new one is a pair of functions and a line in `LOSSES`."""

from collections.abc import Callable
from dataclasses import dataclass

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

    Torch: `BCELoss` on probabilities clamps each log at −100; this is exact, and equal wherever the sigmoid is not saturated.
    """
    return jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))


def bce_gen(fake_logits: Array) -> Array:
    """mean[−log σ(fake)], the non-saturating loss of G. Paper: Goodfellow et al. 2014, end of section 3."""
    return jnp.mean(jax.nn.softplus(-fake_logits))


LOSSES = {"bce": AdversarialLoss(disc=bce_disc, gen=bce_gen)}


def modified_d_term(fake: Array, real: Array, *, beta: float) -> Array:
    """β · mean over the batch of Σ over pixels (fake − real)²: what the post adds to D's loss "to make gradients bigger".

    `fake` and `real` are [B, H, W, C] in [−1, 1]. Neither depends on D, so the term has no gradient with respect to D and
    changes no update: it only shifts the reported loss (by about 100 at the start, toward 45 as the pictures come to look
    alike in their large features).
    """
    return beta * jnp.mean(jnp.sum(jnp.square(fake - real), (1, 2, 3)))
