"""The DCGAN generator and discriminator. Submodules are named by the side of the image they make: `to8` makes 8×8, `bn8`
normalises it.

Paper: Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks", with
batch normalisation moved behind the activation, as SharinGAN does.

The architecture `dcgan_up` has the same stages with 3×3 kernels: G upsamples and convolves, D convolves and pools. `dcgan_full`
has one more convolution in each network, 3×3 at the image's own side: the last of G, and the first of D.

With `dtype="bfloat16"` the activations are bfloat16 from the first convolution on; images and logits are float32.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from sharingan_jax.model.convolutions import Convolutions, convolve_and_pool, upsample_and_convolve
from sharingan_jax.model.layers import (
    Bias,
    Conv,
    Mode,
    Norm,
    at_least_float32,
    drop_channels,
    judge_apart,
    leaky_relu,
    logits_of_classes,
)
from sharingan_jax.model.rng import NamedNormals
from sharingan_jax.model.symmetry import fold, unfold

NormPosition = Literal["post_activation", "pre_activation"]
"""The place of batch normalisation: after the activation (SharinGAN) or before it (DCGAN)."""

FIRST_SIDE = 4


def stage_sides(size: int) -> list[int]:
    """Return the sides that an image passes through, smallest first.

    >>> stage_sides(64)
    [4, 8, 16, 32, 64]
    """
    sides = [FIRST_SIDE]
    while sides[-1] < size:
        sides.append(2 * sides[-1])
    return sides


def _stage(net: Any, side: int, x: Array, *, activation: Callable[[Array], Array], mode: Mode) -> Array:
    """Convolve to the given side, then normalise and activate in the order of `net.norm_position`."""
    x = getattr(net, f"to{side}")(x, mode=mode)
    bn = partial(getattr(net, f"bn{side}"), mode=mode)
    return bn(activation(x)) if net.norm_position == "post_activation" else activation(bn(x))


def _doubling(conv: Conv, convolutions: Convolutions, *, c_in: int, kernel_size: int) -> Conv:
    """Return `conv` with the map that doubles the sides. With 4×4 kernels 2×2 inputs meet in an output."""
    if kernel_size == 3:
        return partial(conv, convolve=upsample_and_convolve(convolutions.up), fan_in=9 * c_in, kernel_size=3)
    return partial(conv, convolve=convolutions.up, fan_in=4 * c_in)


def _halving(conv: Conv, convolutions: Convolutions, *, c_in: int, kernel_size: int) -> Conv:
    """Return `conv` with the map that halves the sides."""
    if kernel_size == 3:
        return partial(conv, convolve=convolve_and_pool(convolutions.down), fan_in=9 * c_in, kernel_size=3)
    return partial(conv, convolve=convolutions.down, fan_in=16 * c_in)


class Generator(nnx.Module):
    """A network from latents [B, nz] to images [B, size, size, channels] in [−1, 1].

    It starts at 4×4 with width·size/8 channels (8·width at 64 pixels) and halves the channels at each doubling of the side.
    ReLU and batch norm follow every transposed convolution but the last, which ends in tanh. A `dropout` above 0 is the share of
    channels that are set to 0 at the sides from 8 to half the image's. With `full_side` the image's side has width / 2 channels
    first, and a 3×3 convolution makes the image of them. `symmetry` is a key of `symmetry.SYMMETRIES`.
    """

    def __init__(
        self,
        *,
        nz: int,
        width: int,
        size: int,
        channels: int,
        conv: Conv,
        norm: Norm,
        norm_position: NormPosition,
        convolutions: Convolutions,
        normals: NamedNormals,
        kernel_size: int = 4,
        dropout: float = 0.0,
        symmetry: str = "none",
        full_side: bool = False,
    ) -> None:
        self.size, self.norm_position, self.dropout, self.full_side = size, norm_position, dropout, full_side
        self.symmetry = symmetry
        project = partial(conv, convolve=convolutions.project_up, fan_in=nz)
        c_in, c_out = nz, width * size // 8
        for side in stage_sides(size):
            is_last = side == size and not full_side
            convolve = project if side == FIRST_SIDE else _doubling(conv, convolutions, c_in=c_in, kernel_size=kernel_size)
            made = channels if is_last else c_out
            setattr(self, f"to{side}", convolve(c_in, made, normals=normals.inside(f"to{side}")))
            if not is_last:
                setattr(self, f"bn{side}", norm(c_out, normals=normals.inside(f"bn{side}")))
            c_in, c_out = c_out, max(1, c_out // 2)
        if full_side:
            same = partial(conv, convolve=convolutions.same, fan_in=9 * c_in, kernel_size=3)
            self.to_image = same(c_in, channels, normals=normals.inside("to_image"))

    def __call__(self, z: Array, *, mode: Mode) -> Array:
        folded = fold(z, self.symmetry)
        x = folded[:, None, None, :]  # [B, 1, 1, nz]
        *sides, last = stage_sides(self.size)
        for side in sides:
            x = _stage(self, side, x, activation=jax.nn.relu, mode=mode)
            if self.dropout and side > FIRST_SIDE:
                x = drop_channels(x, folded, rate=self.dropout, side=side)
        if self.full_side:
            x = self.to_image(_stage(self, last, x, activation=jax.nn.relu, mode=mode), mode=mode)
        else:
            x = getattr(self, f"to{last}")(x, mode=mode)
        return unfold(jnp.tanh(at_least_float32(x)), z, self.symmetry)


class Discriminator(nnx.Module):
    """A network from images [B, size, size, channels] in [−1, 1] to logits [B].

    It starts with `width` channels at half the side, doubles them at each halving down to 4×4, and ends in one logit.
    LeakyReLU 0.2 follows every convolution but the last, and batch norm follows all of those but the first. The last convolution
    has no spectral norm, as in the original. The loss applies the sigmoid. A `batch_statistic` appends a channel to what the last
    convolution sees. With a `batch_logit` the logits are [B, 2], those of `layers.judge_apart`. With `full_side` a 3×3
    convolution to width / 2 channels comes first, with a bias, and batch norm follows all others.
    """

    def __init__(
        self,
        *,
        width: int,
        size: int,
        channels: int,
        conv: Conv,
        norm: Norm,
        norm_position: NormPosition,
        convolutions: Convolutions,
        normals: NamedNormals,
        kernel_size: int = 4,
        batch_statistic: Callable[[Array], Array] | None = None,
        batch_logit: bool = False,
        classes: int = 0,
        full_side: bool = False,
    ) -> None:
        self.size, self.norm_position, self.full_side = size, norm_position, full_side
        self.batch_statistic, self.batch_logit = batch_statistic, batch_logit
        c_in, c_out = channels, width
        if full_side:
            same = partial(conv, convolve=convolutions.same, fan_in=9 * channels, kernel_size=3)
            c_in = max(1, width // 2)
            self.from_image = same(channels, c_in, normals=normals.inside("from_image"))
            self.from_image_bias = Bias(c_in, normals=normals.inside("from_image_bias"))
        for side in stage_sides(size)[-2::-1]:
            down = _halving(conv, convolutions, c_in=c_in, kernel_size=kernel_size)
            setattr(self, f"to{side}", down(c_in, c_out, normals=normals.inside(f"to{side}")))
            if side != size // 2 or full_side:
                setattr(self, f"bn{side}", norm(c_out, normals=normals.inside(f"bn{side}")))
            c_in, c_out = c_out, 2 * c_out
        # Always float32: this is one number an image, and a bfloat16 logit would have two decimal digits.
        c_in += batch_statistic is not None
        project = partial(conv, convolve=convolutions.project_down, fan_in=16 * c_in)
        self.to1 = project(c_in, 1 + classes, spectral_norm=False, dtype="float32", normals=normals.inside("to1"))

    def __call__(self, x: Array, *, mode: Mode, condition: Array | None = None) -> Array:
        sides = stage_sides(self.size)[-2::-1]
        if self.full_side:
            x = self.from_image_bias(self.from_image(x, mode=mode), mode=mode)
        else:
            x = getattr(self, f"to{sides.pop(0)}")(x, mode=mode)
        x = leaky_relu(x)
        for side in sides:
            x = _stage(self, side, x, activation=leaky_relu, mode=mode)
        if self.batch_statistic is not None:
            x = self.batch_statistic(x)

        def judge(x: Array) -> Array:
            return logits_of_classes(self.to1(x, mode=mode)[:, 0, 0, :], condition)

        return judge_apart(judge, x) if self.batch_logit else judge(x)
