"""A small classifier of images, trained on labelled ones, that says which class a sample shows."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from sharingan_jax.evaluation.turns import Turns, shrink, turn

WIDTHS = (24, 48, 96)
BATCH = 100
STEPS = 1500
LEARNING_RATE = 2e-3
NOISE = 0.05
"""Standard deviation of the noise added to training images in [0, 1], so that a sample's speckle does not decide."""

Weights = dict[str, jax.Array]


@dataclass(frozen=True)
class Classifier:
    """A trained classifier of K classes. `accuracy` is its share of right answers on labelled images it was not trained on."""

    weights: Weights
    accuracy: float

    def probabilities(self, images_u8: np.ndarray) -> np.ndarray:
        """Return the probability of each class for images uint8 [N, H, W, C], float32 [N, K]."""
        x = shrink(images_u8)
        parts = []
        for start in range(0, len(x), BATCH):
            part = x[start : start + BATCH]
            padded = np.concatenate([part, np.zeros((BATCH - len(part), *part.shape[1:]), np.float32)])
            parts.append(np.asarray(jax.nn.softmax(_logits(self.weights, padded)))[: len(part)])
        return np.concatenate(parts)


def train_classifier(
    images_u8: np.ndarray, labels: np.ndarray, *, classes: int, test_u8: np.ndarray, test_labels: np.ndarray, turns: Turns
) -> Classifier:
    """Train a classifier on images uint8 [N, H, W, C] with labels int [N], and take its accuracy on the test images.

    Three 3×3 convolutions with stride 2, batch-free, on 32×32 pixels, then the mean over positions and one product. Adam with a
    cosine schedule, 1,500 batches of 100, each under one random turn of `turns` and with light noise; everything from seed 0.
    """
    rng = np.random.default_rng(0)
    images = shrink(images_u8)
    weights = _init(rng, channels=images.shape[-1], classes=classes)
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, STEPS))
    state = optimizer.init(weights)
    step = jax.jit(partial(_update, optimizer))
    coarse = Turns(angles=24 if turns.angles > 1 else 1, mirrors=turns.mirrors)
    for _ in range(STEPS):
        chosen = rng.integers(0, len(images), BATCH)
        batch = turn(images[chosen], int(rng.integers(coarse.count)), coarse)
        batch = batch + rng.standard_normal(batch.shape, np.float32) * np.float32(NOISE)
        weights, state = step(weights, state, batch, labels[chosen])
    trained = Classifier(weights, accuracy=0.0)
    right = trained.probabilities(test_u8).argmax(1) == test_labels
    return Classifier(weights, accuracy=float(right.mean()))


def _init(rng: np.random.Generator, *, channels: int, classes: int) -> Weights:
    weights: Weights = {}
    inputs = channels
    for i, width in enumerate(WIDTHS):
        kernel = rng.standard_normal((3, 3, inputs, width)) * np.sqrt(2 / (9 * inputs))
        weights |= {f"kernel_{i}": jnp.asarray(kernel, jnp.float32), f"bias_{i}": jnp.zeros(width)}
        inputs = width
    return weights | {"kernel_out": jnp.zeros((inputs, classes)), "bias_out": jnp.zeros(classes)}


@jax.jit
def _logits(weights: Weights, images: jax.Array) -> jax.Array:
    x = images * 2 - 1  # [B, 32, 32, C]
    for i in range(len(WIDTHS)):
        x = lax.conv_general_dilated(x, weights[f"kernel_{i}"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + weights[f"bias_{i}"][None, None, None])
    return x.mean((1, 2)) @ weights["kernel_out"] + weights["bias_out"][None]


def _update(
    optimizer: optax.GradientTransformation, weights: Weights, state: optax.OptState, images: jax.Array, labels: jax.Array
) -> tuple[Weights, optax.OptState]:
    def loss(weights: Weights) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(_logits(weights, images), labels).mean()

    updates, state = optimizer.update(jax.grad(loss)(weights), state)
    return {name: weights[name] + updates[name] for name in weights}, state
