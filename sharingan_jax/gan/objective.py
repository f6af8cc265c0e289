"""The objective of the game: an adversarial loss, penalties on D, and an augmentation of the images that D sees."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from jax import Array

from sharingan_jax.config.schema import Config, LossConfig
from sharingan_jax.gan.augment import Augment, build_augment, identity
from sharingan_jax.gan.losses import LOSSES, SMOOTHED, AdversarialLoss, apart, modified_d_term
from sharingan_jax.gan.memory import AdaptiveProbability, Memory, init_memory
from sharingan_jax.gan.penalties import PENALTIES, Penalty, consistency

Term = Callable[[Array, Array], Array]
"""`term(fake, real)` is a mean over the batch, [], of images [B, H, W, C] in [−1, 1]."""


@dataclass(frozen=True)
class WeightedPenalty:
    """A penalty that is taken at every n-th step, n = `every`, with n times its `weight`.

    Paper: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN": lazy regularization.
    """

    penalty: Penalty
    weight: float
    every: int = 1


@dataclass(frozen=True)
class Objective:
    """The losses of the two networks. D minimises `adversarial.disc` plus all `penalties`, G minimises `adversarial.gen`.

    D sees images through `augment`, with a fixed `probability` or one that is `adaptive`, and under `noise` of this standard
    deviation, which falls to 0 over `noise_steps` steps (0: it stays). `flip` is the probability that D's loss takes a pair's
    real image for the fake one, and the other way round. `lecam` is the weight of `penalties.lecam`.

    The reported `loss_d` is `adversarial.disc` plus the terms of `reported`, without the penalties: a penalty that is not taken
    at each step would make it jump.
    """

    adversarial: AdversarialLoss
    penalties: tuple[WeightedPenalty, ...] = ()
    augment: Augment = identity
    reported: tuple[Term, ...] = ()
    probability: float = 1.0
    adaptive: AdaptiveProbability | None = None
    noise: float = 0.0
    noise_steps: int = 0
    flip: float = 0.0
    lecam: float = 0.0

    def init_memory(self) -> Memory | None:
        """Return what is remembered before step 1; None if nothing is."""
        return init_memory(adaptive=self.adaptive, lecam=self.lecam > 0)


def build_objective(config: Config) -> Objective:
    """Return the objective of a configuration."""
    loss, augmented = config.loss, config.augment
    change = build_augment(augmented)
    weights = {penalty: getattr(loss, name) for name, penalty in PENALTIES.items()}
    # Each image is changed once more, by every part of the augmentation, whatever its probability for what D sees.
    weights[partial(consistency, change=lambda images, keys: change(images, keys, 1.0))] = loss.consistency
    adaptive = AdaptiveProbability(augmented.probability, augmented.target, augmented.adapt_images) if augmented.target else None
    return Objective(
        adversarial=apart(_adversarial(loss)) if config.model.minibatch_logit else _adversarial(loss),
        penalties=tuple(WeightedPenalty(penalty, weight, loss.penalty_every) for penalty, weight in weights.items() if weight),
        augment=change if augmented.probability or adaptive else identity,
        reported=(partial(modified_d_term, beta=loss.beta),) if loss.beta else (),
        probability=augmented.probability,
        adaptive=adaptive,
        noise=augmented.noise,
        noise_steps=augmented.noise_steps,
        flip=loss.flip,
        lecam=loss.lecam,
    )


def _adversarial(loss: LossConfig) -> AdversarialLoss:
    named = LOSSES[loss.name]
    if loss.real_label == 1:
        return named
    return replace(named, disc=partial(SMOOTHED[loss.name], real_label=loss.real_label))
