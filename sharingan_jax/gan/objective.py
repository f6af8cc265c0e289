"""The objective of the game: an adversarial loss, penalties on D, and an augmentation of the images that D sees."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from jax import Array

from sharingan_jax.config.schema import LossConfig
from sharingan_jax.gan.losses import LOSSES, AdversarialLoss, modified_d_term

Score = Callable[[Array], Array]
"""D as a function of images [B, H, W, C] alone, to logits [B]: D's buffers stay as they are."""

Penalty = Callable[[Score, Array, Array], Array]
"""A term of D's loss: `penalty(score, real, fake)` is a mean over the batch, [], of images [B, H, W, C] in [−1, 1]."""

Term = Callable[[Array, Array], Array]
"""`term(fake, real)` is a mean over the batch, [], of images [B, H, W, C] in [−1, 1]."""

Augment = Callable[[Array, Array], Array]
"""A change of all images that D sees: `augment(images [B, H, W, C], keys [B])`, with one key an image, the same for real and fake
images of a step. G's gradient goes through it."""


def identity(images: Array, _: Array) -> Array:
    """Return the images unchanged."""
    return images


@dataclass(frozen=True)
class Objective:
    """The losses of the two networks. D minimises `adversarial.disc` plus all `penalties`, G minimises `adversarial.gen`.

    The terms of `reported` are added to the reported `loss_d` after the gradient is taken, so they change no update.
    """

    adversarial: AdversarialLoss
    penalties: tuple[Penalty, ...] = ()
    augment: Augment = identity
    reported: tuple[Term, ...] = ()


def build_objective(config: LossConfig) -> Objective:
    """Return the objective of a configuration."""
    reported = (partial(modified_d_term, beta=config.beta),) if config.beta > 0 else ()
    return Objective(LOSSES[config.name], reported=reported)
