"""A residual generator and discriminator: one block a side, linear resampling, 3×3 kernels.

Submodules are named by the side of the image they work at: `block8` works at 8×8. Unlike the kernels of a DCGAN none of these
makes even and odd pixels differently, so flat areas can come out flat.

Paper: He et al. 2016, "Identity Mappings in Deep Residual Networks"; Zhang et al. 2019, "Fixup Initialization", for blocks that
start as the identity; Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline", for such a pair.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from sharingan_jax.model.convolutions import Convolutions
from sharingan_jax.model.convolutions_3x3 import downsample, pointwise, upsample
from sharingan_jax.model.dcgan import NormPosition, stage_sides
from sharingan_jax.model.layers import (
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

Activation = Callable[[Array], Array]


class Activated(nnx.Module):
    """A normalisation and an activation, in the order of `norm_position`."""

    def __init__(
        self, channels: int, *, norm: Norm, norm_position: NormPosition, activation: Activation, normals: NamedNormals
    ) -> None:
        self.norm = norm(channels, normals=normals)
        self.norm_position, self.activation = norm_position, activation

    def __call__(self, x: Array, *, mode: Mode) -> Array:
        if self.norm_position == "post_activation":
            return self.norm(self.activation(x), mode=mode)
        return self.activation(self.norm(x, mode=mode))


class ResidualBlock(nnx.Module):
    """x [B, H, W, in] plus two 3×3 convolutions of it, each behind an activation: [B, H, W, out].

    The second convolution starts at zero, so that a new block passes its input on; x itself passes a 1×1 convolution if the
    channels change. With spectral norm, which divides by a kernel's norm, the second kernel starts as others do.
    """

    def __init__(self, c_in: int, c_out: int, *, conv: Conv, activated: Callable[..., Activated], normals: NamedNormals) -> None:
        self.before1 = activated(c_in, normals=normals.inside("before1"))
        self.conv1 = conv(c_in, c_out, fan_in=9 * c_in, normals=normals.inside("conv1"))
        self.before2 = activated(c_out, normals=normals.inside("before2"))
        self.conv2 = conv(c_out, c_out, fan_in=9 * c_out, starts_at_zero=True, normals=normals.inside("conv2"))
        self.changes_channels = c_in != c_out
        if self.changes_channels:
            narrow = partial(conv, convolve=pointwise, kernel_size=1)
            self.skip = narrow(c_in, c_out, fan_in=c_in, normals=normals.inside("skip"))

    def __call__(self, x: Array, *, mode: Mode) -> Array:
        y = self.conv1(self.before1(x, mode=mode), mode=mode)
        y = self.conv2(self.before2(y, mode=mode), mode=mode)
        return (self.skip(x, mode=mode) if self.changes_channels else x) + y


class Generator(nnx.Module):
    """A network from latents [B, nz] to images [B, size, size, channels] in [−1, 1].

    It starts at 4×4 with width·size/8 channels and halves the channels at each doubling of the side, so that at half the image's
    side there are `width`. The last convolution ends in tanh. `dropout` and `symmetry` are as in `dcgan`.
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
        dropout: float = 0.0,
        symmetry: str = "none",
    ) -> None:
        self.size, self.dropout, self.symmetry = size, dropout, symmetry
        activated = partial(Activated, norm=norm, norm_position=norm_position, activation=jax.nn.relu)
        conv3 = partial(conv, convolve=convolutions.same, kernel_size=3)
        c_in = c_out = width * size // 8
        project = partial(conv, convolve=convolutions.project_up)
        self.project = project(nz, c_out, fan_in=nz, normals=normals.inside("project"))
        for side in stage_sides(size):
            block = ResidualBlock(c_in, c_out, conv=conv3, activated=activated, normals=normals.inside(f"block{side}"))
            setattr(self, f"block{side}", block)
            c_in, c_out = c_out, max(1, c_out // 2)
        self.activated = activated(c_in, normals=normals.inside("activated"))
        self.to_image = conv3(c_in, channels, fan_in=9 * c_in, normals=normals.inside("to_image"))

    def __call__(self, z: Array, *, mode: Mode) -> Array:
        folded = fold(z, self.symmetry)
        x = self.project(folded[:, None, None, :], mode=mode)  # [B, 4, 4, C]
        first, *sides = stage_sides(self.size)
        x = getattr(self, f"block{first}")(x, mode=mode)
        for side in sides:
            x = getattr(self, f"block{side}")(upsample(x), mode=mode)
            if self.dropout and side < self.size:
                x = drop_channels(x, folded, rate=self.dropout, side=side)
        image = jnp.tanh(at_least_float32(self.to_image(self.activated(x, mode=mode), mode=mode)))
        return unfold(image, z, self.symmetry)


class Discriminator(nnx.Module):
    """A network from images [B, size, size, channels] in [−1, 1] to logits [B].

    It starts with width / 2 channels at the image's side and doubles them at each halving, so that at half the side there are
    `width`. LeakyReLU 0.2 is its activation. The last convolution has no spectral norm, as in `dcgan`. A `batch_statistic`
    appends a channel to what the last convolution sees. A `batch_logit` is as in `dcgan`.
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
        batch_statistic: Callable[[Array], Array] | None = None,
        batch_logit: bool = False,
        classes: int = 0,
    ) -> None:
        self.size, self.batch_statistic, self.batch_logit = size, batch_statistic, batch_logit
        activated = partial(Activated, norm=norm, norm_position=norm_position, activation=leaky_relu)
        conv3 = partial(conv, convolve=convolutions.same, kernel_size=3)
        c_in = c_out = max(1, width // 2)
        self.from_image = conv3(channels, c_in, fan_in=9 * channels, normals=normals.inside("from_image"))
        for side in stage_sides(size)[::-1]:
            block = ResidualBlock(c_in, c_out, conv=conv3, activated=activated, normals=normals.inside(f"block{side}"))
            setattr(self, f"block{side}", block)
            c_in, c_out = c_out, 2 * c_out
        self.activated = activated(c_in, normals=normals.inside("activated"))
        c_in += batch_statistic is not None
        project = partial(conv, convolve=convolutions.project_down, fan_in=16 * c_in)
        self.to_logit = project(c_in, 1 + classes, spectral_norm=False, dtype="float32", normals=normals.inside("to_logit"))

    def __call__(self, x: Array, *, mode: Mode, condition: Array | None = None) -> Array:
        x = self.from_image(x, mode=mode)
        *sides, last = stage_sides(self.size)[::-1]
        for side in sides:
            x = downsample(getattr(self, f"block{side}")(x, mode=mode))
        x = self.activated(getattr(self, f"block{last}")(x, mode=mode), mode=mode)
        if self.batch_statistic is not None:
            x = self.batch_statistic(x)

        def judge(x: Array) -> Array:
            return logits_of_classes(self.to_logit(x, mode=mode)[:, 0, 0, :], condition)

        return judge_apart(judge, x) if self.batch_logit else judge(x)
