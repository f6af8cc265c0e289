"""What the objective remembers from step to step, as a part of the training state: scalars by name, or None if nothing.

Two parts of an objective need a memory: a probability of augmentation that adapts, and LeCam's means of D's logits.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

Memory = dict[str, Array]
"""`augment_probability` [], `real_mean` [] and `fake_mean` [], as far as they are in use."""

DECAY = 0.99  # of LeCam's means, as in the paper's experiments.


@dataclass(frozen=True)
class AdaptiveProbability:
    """A probability of augmentation that rises while D is too sure of real images, and falls while it is not.

    D is too sure if the mean sign of its logits of real images is above `target`. The probability moves by one in at least
    `images` images. A loss that compares pairs has no zero of its own: there the sign is that of real − fake.

    Paper: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", section 3.1, with r_t.
    """

    start: float
    target: float
    images: float

    def update(self, probability: Array, sign: Array, *, images: int) -> Array:
        """Return the probability after a step on `images` images with the mean sign `sign`, from −1 to 1."""
        return jnp.clip(probability + jnp.sign(sign - self.target) * (images / self.images), 0.0, 1.0)


def init_memory(*, adaptive: AdaptiveProbability | None, lecam: bool) -> Memory | None:
    """Return the memory before step 1; None, which has no leaves, if nothing is remembered."""
    memory = {}
    if adaptive is not None:
        memory["augment_probability"] = jnp.asarray(adaptive.start, "float32")
    if lecam:
        memory |= {"real_mean": jnp.zeros((), "float32"), "fake_mean": jnp.zeros((), "float32")}
    return memory or None


def signals_of(real_logits: Array, fake_logits: Array, *, pairs: bool) -> Memory:
    """Return what a memory is updated with, means over the batch: the sign of real logits, or of their distance to the fake ones
    if the loss compares `pairs`, and both mean logits."""
    sure = real_logits - fake_logits if pairs else real_logits
    return {"sign": jnp.mean(jnp.sign(sure)), "real_mean": jnp.mean(real_logits), "fake_mean": jnp.mean(fake_logits)}


def update_memory(memory: Memory, signals: Memory, *, adaptive: AdaptiveProbability | None, images: int) -> Memory:
    """Return the memory after a step on `images` images."""
    means = [name for name in ("real_mean", "fake_mean") if name in memory]
    new: Memory = {name: DECAY * memory[name] + (1 - DECAY) * signals[name] for name in means}
    if adaptive is not None:
        probability = adaptive.update(memory["augment_probability"], signals["sign"], images=images)
        new["augment_probability"] = probability.astype(memory["augment_probability"].dtype)
    return new
