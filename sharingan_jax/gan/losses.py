"""Adversarial losses on logits.

A new one is a pair of functions, a line in `LOSSES`, and its name among the choices of `LossConfig.name` (`config/schema.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array


@dataclass(frozen=True)
class AdversarialLoss:
    """A pair of losses: `disc(real_logits [B], fake_logits [B])` and `gen(fake_logits [B], real_logits)`, batch means, [].

    A relativistic loss sets `gen_needs_real`: `gen` then gets the updated D's logits of the real batch [B], which take another
    pass of D. Without it `gen` gets None.

    `unit` is the unit of both losses, empty without one. If `has_probabilities`, σ(logit) is D's probability that an image is
    real. With the other losses it is a number from 0 to 1 with no such meaning.
    """

    disc: Callable[[Array, Array], Array]
    gen: Callable[[Array, Array | None], Array]
    gen_needs_real: bool = False
    unit: str = ""
    has_probabilities: bool = False


def bce_disc(real_logits: Array, fake_logits: Array) -> Array:
    """Return mean[−log σ(real)] + mean[−log(1 − σ(fake))]. Paper: Goodfellow et al. 2014, equation 1.

    Torch: `BCELoss` on probabilities gives the same if the sigmoid is not close to 0 or 1. Close to them it loses digits, and
    finally the gradient: see `clamped_bce`. This function is exact everywhere.
    """
    return jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))


def bce_gen(fake_logits: Array, _: Array | None = None) -> Array:
    """Return mean[−log σ(fake)], the non-saturating loss of G. Paper: Goodfellow et al. 2014, end of section 3."""
    return jnp.mean(jax.nn.softplus(-fake_logits))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def clamped_bce(logits: Array, label: int) -> Array:
    """Return −log p if `label` is 1 and −log(1 − p) if it is 0, with p = σ(logits), as the original computes them: [B] to [B].

    Torch: `BCELoss` on probabilities. It clamps each log at −100, and divides the gradient with respect to p by
    max(p (1 − p), 1e-12). So the gradient with respect to the logits is right only if p (1 − p) is at least 1e-12. In float32
    p is 1 from a logit of 17 on: a D that is so sure that a fake image is real pays 100 and learns nothing from it. Below
    −27.6 G's gradient fades in the same way.
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
    """Return `bce_disc` as the original computes it: see `clamped_bce`."""
    return jnp.mean(clamped_bce(real_logits, 1)) + jnp.mean(clamped_bce(fake_logits, 0))


def clamped_bce_gen(fake_logits: Array, _: Array | None = None) -> Array:
    """Return `bce_gen` as the original computes it: see `clamped_bce`."""
    return jnp.mean(clamped_bce(fake_logits, 1))


def smoothed_bce_disc(real_logits: Array, fake_logits: Array, *, real_label: float) -> Array:
    """Return `bce_disc` with the target `real_label` for real images: −t log σ − (1 − t) log(1 − σ) with t the target.

    Only the target of real images moves (one-sided). Paper: Salimans et al. 2016, "Improved Techniques for Training GANs", 3.4.
    """
    right, wrong = jnp.mean(jax.nn.softplus(-real_logits)), jnp.mean(jax.nn.softplus(real_logits))
    return real_label * right + (1 - real_label) * wrong + jnp.mean(jax.nn.softplus(fake_logits))


def hinge_disc(real_logits: Array, fake_logits: Array) -> Array:
    """Return mean max(0, 1 − real) + mean max(0, 1 + fake). Paper: Lim & Ye 2017, "Geometric GAN"; Miyato et al. 2018, eq. 16."""
    return jnp.mean(jax.nn.relu(1 - real_logits)) + jnp.mean(jax.nn.relu(1 + fake_logits))


def wasserstein_disc(real_logits: Array, fake_logits: Array) -> Array:
    """Return mean fake − mean real. Paper: Arjovsky et al. 2017, "Wasserstein GAN", equation 3. D has to be Lipschitz:
    see `penalties.gradient_penalty`."""
    return jnp.mean(fake_logits) - jnp.mean(real_logits)


def critic_gen(fake_logits: Array, _: Array | None = None) -> Array:
    """Return −mean fake, G's loss with the hinge and with Wasserstein's loss. Paper: Miyato et al. 2018, equation 17."""
    return -jnp.mean(fake_logits)


def least_squares_disc(real_logits: Array, fake_logits: Array, *, real_label: float = 1.0) -> Array:
    """Return ½ mean(real − t)² + ½ mean fake², t the target of real images.

    Paper: Mao et al. 2017, "Least Squares Generative Adversarial Networks", equation 9.
    """
    return 0.5 * jnp.mean(jnp.square(real_logits - real_label)) + 0.5 * jnp.mean(jnp.square(fake_logits))


def least_squares_gen(fake_logits: Array, _: Array | None = None) -> Array:
    """Return ½ mean(fake − 1)². Paper: Mao et al. 2017, equation 9."""
    return 0.5 * jnp.mean(jnp.square(fake_logits - 1))


def relativistic_disc(real_logits: Array, fake_logits: Array) -> Array:
    """Return mean −log σ(real − fake) over pairs of a real and a fake image.

    Paper: Jolicoeur-Martineau 2019, "The relativistic discriminator", equation 3 of section 4.1; Huang et al. 2024, "The GAN is
    dead; long live the GAN! A Modern GAN Baseline", which adds `r1` and `r2`.
    """
    return jnp.mean(jax.nn.softplus(fake_logits - real_logits))


def relativistic_gen(fake_logits: Array, real_logits: Array | None) -> Array:
    """Return mean −log σ(fake − real) over pairs. Paper: Jolicoeur-Martineau 2019, section 4.1."""
    assert real_logits is not None
    return jnp.mean(jax.nn.softplus(real_logits - fake_logits))


def apart(loss: AdversarialLoss) -> AdversarialLoss:
    """Return the loss of logits [B, 2]: that of the images, the first column, plus that of their batch, the second one.

    Each has its own mean over the batch. So D learns what gives single images away even if it knows every batch by its second
    logit (`model.minibatch_logit`). In the sum of both logits the second would decide alone.
    """

    def gen(fake_logits: Array, real_logits: Array | None) -> Array:
        real = [None, None] if real_logits is None else real_logits.T
        return loss.gen(fake_logits[:, 0], real[0]) + loss.gen(fake_logits[:, 1], real[1])

    def disc(real_logits: Array, fake_logits: Array) -> Array:
        return loss.disc(real_logits[:, 0], fake_logits[:, 0]) + loss.disc(real_logits[:, 1], fake_logits[:, 1])

    return replace(loss, disc=disc, gen=gen)


def logits_of_images(logits: Array) -> Array:
    """Return the logits of single images [B], of D's logits [B] or, with one of their batch, [B, 2]."""
    return logits if logits.ndim == 1 else logits[:, 0]


LOSSES = {
    "bce": AdversarialLoss(disc=bce_disc, gen=bce_gen, unit="nats", has_probabilities=True),
    "bce_clamped": AdversarialLoss(disc=clamped_bce_disc, gen=clamped_bce_gen, unit="nats", has_probabilities=True),
    "hinge": AdversarialLoss(disc=hinge_disc, gen=critic_gen),
    "least_squares": AdversarialLoss(disc=least_squares_disc, gen=least_squares_gen),
    "wasserstein": AdversarialLoss(disc=wasserstein_disc, gen=critic_gen),
    "relativistic": AdversarialLoss(disc=relativistic_disc, gen=relativistic_gen, gen_needs_real=True, unit="nats"),
}
"""The choices of `loss.name`."""
SMOOTHED: dict[str, Callable[..., Array]] = {"bce": smoothed_bce_disc, "least_squares": least_squares_disc}
"""D's loss with a `real_label`, for the losses that have a target."""


def modified_d_term(fake: Array, real: Array, *, beta: float) -> Array:
    """Return β · mean over the batch of Σ over pixels (fake − real)², which the post adds to D's loss "to make gradients bigger".

    `fake` and `real` are [B, H, W, C] in [−1, 1]. Neither depends on D, so the term has no gradient with respect to D and
    changes no update. It only shifts the reported loss: by about 100 at the start, falling to about 45 when fake and real images
    have similar large features.
    """
    return beta * jnp.mean(jnp.sum(jnp.square(fake - real), (1, 2, 3)))
