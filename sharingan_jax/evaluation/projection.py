"""Gradient descent on latents, so that a generator's images come near to given ones: pure functions, no file."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from sharingan_jax.evaluation.features import random_kernels, random_maps

Generate = Callable[[Array], Array]
"""Latents float32 [B, nz] -> images float32 [B, H, W, C] in [−1, 1], each a function of its own latent alone."""

RATE = 0.05
"""Adam's rate at the first step. It falls to 0 along half a cosine."""
PRIOR = 0.1
"""Weight of the prior term in the loss."""


class Distance(NamedTuple):
    """How far images are from others, each float32 [...]: by `pixels` and by `features`. Their sum is what projection lowers."""

    pixels: Array
    features: Array

    @property
    def total(self) -> Array:
        """The sum of both."""
        return self.pixels + self.features


def describe(images: Array) -> list[Array]:
    """Return what `distance` compares of images float32 [B, H, W, C] in [−1, 1]: colour pixels, and the random network's layers.

    Grey images get three equal channels, and transparent ones are laid on white.
    """
    colour = _as_colour(images)
    return [colour, *random_maps(colour, [jnp.asarray(kernel) for kernel in random_kernels()])]


def distance(described: list[Array], others: list[Array]) -> Distance:
    """Return the distance of images to others of the same number, [B], both from `describe`.

    pixels = mean (x − y)², features = mean over the network's layers of mean (φ(x) − φ(y))². The means are over positions and
    channels, in units of [−1, 1]: 0 for equal images, 4 for black and white pixels. Paper: Johnson et al. 2016, "Perceptual
    Losses", equation 2, for the features, with a random network for a trained one; Abdal et al. 2019, "Image2StyleGAN",
    section 4, for the sum.
    """
    pixels, *layers = (jnp.mean((x - y) ** 2, axis=(1, 2, 3)) for x, y in zip(described, others, strict=True))
    return Distance(pixels, jnp.stack(layers).mean(0))


def prior(z: Array) -> Array:
    """Return (‖z‖² / nz − 1)², float32 [B], for latents [B, nz]: 0 at the usual length of a normal latent.

    ‖z‖² / nz has the mean 1 and the variance 2 / nz, so almost all latents that G was trained on have about this length.
    """
    return (jnp.mean(z**2, axis=-1) - 1) ** 2


def loss(generate: Generate, z: Array, targets: list[Array], *, classes: int = 0) -> Array:
    """Return distance(G(z), target) + PRIOR · prior(z), float32 [B], for latents [B, nz] and `describe`d targets.

    The last `classes` numbers of a latent are its class, which is no part of the prior.
    """
    return distance(describe(generate(z)), targets).total + PRIOR * prior(z[:, : z.shape[1] - classes])


def descend(generate: Generate, z: Array, targets: Array, *, steps: int, classes: int = 0, signs: int = 0) -> tuple[Array, Array]:
    """Lower the `loss` of each latent by `steps` steps of Adam: latents [B, nz] for images [B, H, W, C] -> (latents, losses [B]).

    The latents have nothing to do with each other: the gradient of a sum holds each one's own. A latent whose loss did not fall
    is returned as it was. So is the class of each, its last `classes` numbers. Its first `signs` numbers keep their signs, which
    choose how an image is mirrored and turned (`model.symmetry`): a step over 0 comes back on their own side.
    """
    chooses = jnp.arange(z.shape[1]) < signs
    free = jnp.arange(z.shape[1]) < z.shape[1] - classes
    wanted = describe(targets)
    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, steps))

    def step(carry: tuple[Array, optax.OptState], _: None) -> tuple[tuple[Array, optax.OptState], None]:
        z, opt = carry
        grads = jax.grad(lambda z: jnp.sum(loss(generate, z, wanted, classes=classes)))(z)
        updates, opt = optimizer.update(grads, opt, z)
        moved = z + updates
        return (jnp.where(chooses, jnp.copysign(moved, z), jnp.where(free, moved, z)), opt), None

    (found, _), _ = lax.scan(step, (z, optimizer.init(z)), length=steps)
    before, after = (loss(generate, latents, wanted, classes=classes) for latents in (z, found))
    better = after < before
    return jnp.where(better[:, None], found, z), jnp.where(better, after, before)


def descend_from_all(
    generate: Generate, starts: Array, targets: Array, *, steps: int, classes: int = 0, signs: int = 0
) -> tuple[Array, Distance]:
    """Descend from every start in one program, and return the best latent [T, nz] of each target with its distance [T].

    `starts` are latents [T, R, nz], R for each of the targets [T, H, W, C]. Best is the lowest loss.
    """
    count, restarts, nz = starts.shape
    each = jnp.repeat(targets, restarts, axis=0)
    z, losses = descend(generate, starts.reshape(-1, nz), each, steps=steps, classes=classes, signs=signs)
    best = jnp.argmin(losses.reshape(count, restarts), axis=1)  # [T]
    chosen = z.reshape(count, restarts, nz)[jnp.arange(count), best]
    return chosen, distance(describe(generate(chosen)), describe(targets))


def distances_to_samples(generate: Generate, z: Array, targets: Array) -> Distance:
    """Return the distance of each target [T, H, W, C] to the image of each latent [K, nz]: [T, K]."""
    samples = describe(generate(z))

    def to_all(target: list[Array]) -> Distance:
        return distance(samples, [jnp.broadcast_to(part[None], all_.shape) for part, all_ in zip(target, samples, strict=True)])

    return lax.map(to_all, describe(targets))  # One target at a time, so that memory does not grow with their number.


def _as_colour(images: Array) -> Array:
    """Return images [B, H, W, C] in [−1, 1] with three channels."""
    channels = images.shape[-1]
    if channels == 4:
        alpha = (images[..., 3:] + 1) / 2
        return images[..., :3] * alpha + (1 - alpha)  # White is 1.
    return jnp.repeat(images, 3, axis=-1) if channels == 1 else images


def nearest_starts(distances: np.ndarray, z: np.ndarray, *, count: int) -> np.ndarray:
    """Return the latents [T, count, nz] of the `count` samples nearest to each target, nearest first; distances are [T, N]."""
    return z[np.argsort(distances, axis=1, kind="stable")[:, :count]]
