"""Symmetries of G: what it draws it also mirrors, turns by quarters, or both.

The signs of its first latents choose how. The rest of G sees only how large these latents are, and so has a half, a quarter or an
eighth of the images to learn: the others come from moving pixels, exactly.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from sharingan_jax.config.schema import Config, DataConfig


def left_to_right(images: Array) -> Array:
    """Return images [B, H, W, C] with left and right exchanged."""
    return images[:, :, ::-1]


def upside_down(images: Array) -> Array:
    """Return images [B, H, W, C] with top and bottom exchanged."""
    return images[:, ::-1]


def transposed(images: Array) -> Array:
    """Return square images [B, H, W, C] with rows and columns exchanged."""
    return images.swapaxes(1, 2)


def half_turn(images: Array) -> Array:
    """Return images [B, H, W, C] turned by 180 degrees."""
    return images[:, ::-1, ::-1]


def quarter_turn(images: Array) -> Array:
    """Return square images [B, H, W, C] turned by 90 degrees, anticlockwise."""
    return images.swapaxes(1, 2)[:, ::-1]


SYMMETRIES: dict[str, tuple[Callable[[Array], Array], ...]] = {
    "none": (),
    "mirror": (left_to_right,),
    "turn": (half_turn, quarter_turn),
    "square": (left_to_right, upside_down, transposed),
}
"""The changes that each symmetry is made of: one latent chooses whether a change is made. `turn` gives four images, `square` the
eight of a square's mirrors and turns."""


def symmetry_of(config: Config) -> str:
    """Return the key of `SYMMETRIES` that `model.symmetry` asks for. `auto` takes all that the training images have."""
    return symmetry_of_data(config.data) if config.model.symmetry == "auto" else config.model.symmetry


def signs_of(config: Config) -> int:
    """Return the number of first latents whose signs choose the changes."""
    return len(SYMMETRIES[symmetry_of(config)])


def symmetry_of_data(data: DataConfig) -> str:
    """Return the symmetry that `data.turns` and `data.mirrors` give any images."""
    if data.turns % 4 == 0:
        return "square" if data.mirrors else "turn"
    return "mirror" if data.mirrors else "none"


def fold(z: Array, symmetry: str) -> Array:
    """Return latents [B, nz] without the signs of the first ones, which choose the changes."""
    signs = len(SYMMETRIES[symmetry])
    return jnp.concatenate([jnp.abs(z[:, :signs]), z[:, signs:]], 1) if signs else z


def unfold(images: Array, z: Array, symmetry: str) -> Array:
    """Return images [B, H, W, C], each changed as the signs of its latents [B, nz] say: a positive one makes its change."""
    for number, change in enumerate(SYMMETRIES[symmetry]):
        images = jnp.where(z[:, number, None, None, None] > 0, change(images), images)
    return images
