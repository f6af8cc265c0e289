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

Augment = Callable[[Array, Array], Array]
"""A change of all images that D sees: `augment(images [B, H, W, C], keys [B])`, with one key an image, the same for real and fake
images of a step. G's gradient goes through it."""


def identity(images: Array, keys: Array) -> Array:
    """Return the images unchanged."""
    del keys
    return images


@dataclass(frozen=True)
class Objective:
    """What the two networks minimise. D's loss is `adversarial.disc` plus all `penalties`, G's is `adversarial.gen`."""

    adversarial: AdversarialLoss
    penalties: tuple[Penalty, ...] = ()
    augment: Augment = identity


def build_objective(config: LossConfig) -> Objective:
    """Return the objective of a configuration."""
    penalties = (partial(modified_d_penalty, beta=config.beta),) if config.beta > 0 else ()
    return Objective(LOSSES[config.name], penalties)


def modified_d_penalty(score: Score, real: Array, fake: Array, *, beta: float) -> Array:
    """Return `modified_d_term` as a penalty. Its gradient with respect to D is zero, so it changes the reported loss only."""
    del score
    return modified_d_term(fake, real, beta=beta)
