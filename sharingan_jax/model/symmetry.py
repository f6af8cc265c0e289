"""Symmetries of G: whatever it draws, it makes the mirror image of as well, or all eight that mirrors and quarter turns give.

The signs of its first latents choose which. The rest of G sees only how large these latents are, and so has a half or an eighth
of the images to learn: the others come from moving pixels, exactly.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array


def upside_down(image: Array) -> Array:
    """Return images [B, H, W, C] with top and bottom exchanged."""
    return image[:, ::-1]


def left_to_right(image: Array) -> Array:
    """Return images [B, H, W, C] with left and right exchanged."""
    return image[:, :, ::-1]


def transposed(image: Array) -> Array:
    """Return square images [B, H, W, C] with rows and columns exchanged."""
    return image.swapaxes(1, 2)


SYMMETRIES: dict[str, tuple[Callable[[Array], Array], ...]] = {
    "none": (),
    "mirror": (left_to_right,),
    "square": (left_to_right, upside_down, transposed),
}
"""The choices of `model.symmetry`, and the changes that each is made of: one latent chooses whether a change is made."""


def fold(z: Array, symmetry: str) -> Array:
    """Return latents [B, nz] without the signs of the first ones, which choose the changes."""
    signs = len(SYMMETRIES[symmetry])
    return jnp.concatenate([jnp.abs(z[:, :signs]), z[:, signs:]], 1) if signs else z


def unfold(images: Array, z: Array, symmetry: str) -> Array:
    """Return images [B, H, W, C], each changed as the signs of its latents [B, nz] say: a positive one makes its change."""
    for number, change in enumerate(SYMMETRIES[symmetry]):
        images = jnp.where(z[:, number, None, None, None] > 0, change(images), images)
    return images
