"""The objective of the game: an adversarial loss, penalties on D, and an augmentation of the images that D sees."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from jax import Array

from sharingan_jax.config.schema import Config, LossConfig
from sharingan_jax.gan.augment import Augment, build_augment, identity
from sharingan_jax.gan.losses import LOSSES, SMOOTHED, AdversarialLoss, modified_d_term
from sharingan_jax.gan.penalties import PENALTIES, Penalty

Term = Callable[[Array, Array], Array]
"""`term(fake, real)` is a mean over the batch, [], of images [B, H, W, C] in [−1, 1]."""


@dataclass(frozen=True)
class WeightedPenalty:
    """A penalty that is taken at every n-th step, n = `every`, with n times its `weight`."""

    penalty: Penalty
    weight: float
    every: int = 1


@dataclass(frozen=True)
class Objective:
    """The losses of the two networks. D minimises `adversarial.disc` plus all `penalties`, G minimises `adversarial.gen`.

    The reported `loss_d` is `adversarial.disc` plus the terms of `reported`, without the penalties: a penalty that is not taken
    at each step would make it jump.
    """

    adversarial: AdversarialLoss
    penalties: tuple[WeightedPenalty, ...] = ()
    augment: Augment = identity
    reported: tuple[Term, ...] = ()


def build_objective(config: Config) -> Objective:
    """Return the objective of a configuration."""
    loss = config.loss
    penalties = [
        WeightedPenalty(penalty, weight=getattr(loss, name), every=loss.penalty_every)
        for name, penalty in PENALTIES.items()
        if getattr(loss, name) > 0
    ]
    reported = (partial(modified_d_term, beta=loss.beta),) if loss.beta > 0 else ()
    return Objective(_adversarial(loss), tuple(penalties), build_augment(config.augment), reported)


def _adversarial(loss: LossConfig) -> AdversarialLoss:
    named = LOSSES[loss.name]
    if loss.real_label == 1:
        return named
    return replace(named, disc=partial(SMOOTHED[loss.name], real_label=loss.real_label))
