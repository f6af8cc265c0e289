"""The DCGAN pair. Submodules are named by the side of the picture they make: `to8` makes 8×8, `bn8` normalises it.

Paper: Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks", with
batch normalisation moved behind the activation, as SharinGAN does.

With `dtype="bfloat16"` activations flow in it from the first convolution on; pictures and logits are float32.
`axis_name` names the devices of a `shard_map` over which the batch is split, for the batch norms; None means no such split.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from sharingan_jax.model.convolutions import Convolutions
from sharingan_jax.model.layers import BatchNorm, Dtype, Mode, SpectralConv, at_least_float32, leaky_relu
from sharingan_jax.rng import Draws

Order = Literal["after", "before"]
"""Where batch normalisation stands: after the activation (SharinGAN) or before it (DCGAN)."""

FIRST_SIDE = 4


def stage_sides(size: int) -> list[int]:
    """The sides a picture passes through, smallest first.

    >>> stage_sides(64)
    [4, 8, 16, 32, 64]
    """
    sides = [FIRST_SIDE]
    while sides[-1] < size:
        sides.append(2 * sides[-1])
    return sides


def _normalise_and_activate(
    x: Array, *, bn: Callable[[Array], Array], activation: Callable[[Array], Array], order: Order
) -> Array:
    match order:
        case "after":
            return bn(activation(x))
        case "before":
            return activation(bn(x))
    raise ValueError(f"no batch norm order {order!r}")


class Generator(nnx.Module):
    """Latents [B, nz] to pictures [B, size, size, channels] in [−1, 1].

    4×4 with ngf·size/8 channels (8·ngf at 64), then half the channels at each doubling; ReLU and batch norm behind every
    transposed convolution but the last, which ends in tanh. `spectral_norm` is on every convolution or on none.
    """

    def __init__(
        self,
        *,
        nz: int,
        ngf: int,
        size: int,
        channels: int,
        spectral_norm: bool,
        order: Order,
        groups: int,
        axis_name: str | None,
        forms: Convolutions,
        dtype: Dtype,
        draws: Draws,
    ) -> None:
        self.size, self.order = size, order
        c_in, c_out = nz, ngf * size // 8
        for side in stage_sides(size):
            convolve = forms.open if side == FIRST_SIDE else forms.up
            is_last = side == size
            conv = SpectralConv(
                c_in,
                channels if is_last else c_out,
                convolve=convolve,
                spectral_norm=spectral_norm,
                draws=draws.inside(f"to{side}"),
                dtype=dtype,
            )
            setattr(self, f"to{side}", conv)
            if not is_last:
                setattr(self, f"bn{side}", BatchNorm(c_out, groups=groups, axis_name=axis_name, draws=draws.inside(f"bn{side}")))
            c_in, c_out = c_out, c_out // 2

    def __call__(self, z: Array, *, mode: Mode) -> Array:
        x = z[:, None, None, :]  # [B, 1, 1, nz]
        *sides, last = stage_sides(self.size)
        for side in sides:
            x = getattr(self, f"to{side}")(x, mode=mode)
            bn = partial(getattr(self, f"bn{side}"), mode=mode)
            x = _normalise_and_activate(x, bn=bn, activation=jax.nn.relu, order=self.order)
        return jnp.tanh(at_least_float32(getattr(self, f"to{last}")(x, mode=mode)))


class Discriminator(nnx.Module):
    """Pictures [B, size, size, channels] in [−1, 1] to logits [B].

    ndf channels at half the side, then twice the channels at each halving down to 4×4, then one logit; LeakyReLU 0.2 behind
    every convolution but the last and batch norm behind all of those but the first. `spectral_norm` is on every
    convolution but the last, which the original leaves unnormalised. The sigmoid is the loss's.
    """

    def __init__(
        self,
        *,
        ndf: int,
        size: int,
        channels: int,
        spectral_norm: bool,
        order: Order,
        groups: int,
        axis_name: str | None,
        forms: Convolutions,
        dtype: Dtype,
        draws: Draws,
    ) -> None:
        self.size, self.order = size, order
        c_in, c_out = channels, ndf
        for side in stage_sides(size)[-2::-1]:
            conv = SpectralConv(
                c_in,
                c_out,
                convolve=forms.down,
                spectral_norm=spectral_norm,
                draws=draws.inside(f"to{side}"),
                dtype=dtype,
            )
            setattr(self, f"to{side}", conv)
            if side != size // 2:
                setattr(self, f"bn{side}", BatchNorm(c_out, groups=groups, axis_name=axis_name, draws=draws.inside(f"bn{side}")))
            c_in, c_out = c_out, 2 * c_out
        # In float32 whatever the rest is: a logit of bfloat16 would have two decimal digits, and this is one number a picture.
        self.to1 = SpectralConv(c_in, 1, convolve=forms.close, spectral_norm=False, draws=draws.inside("to1"))

    def __call__(self, x: Array, *, mode: Mode) -> Array:
        first, *sides = stage_sides(self.size)[-2::-1]
        x = leaky_relu(getattr(self, f"to{first}")(x, mode=mode))
        for side in sides:
            x = getattr(self, f"to{side}")(x, mode=mode)
            bn = partial(getattr(self, f"bn{side}"), mode=mode)
            x = _normalise_and_activate(x, bn=bn, activation=leaky_relu, order=self.order)
        return self.to1(x, mode=mode)[:, 0, 0, 0]
