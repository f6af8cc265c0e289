"""Layers with PyTorch's semantics: convolutions with spectral normalisation, and batch normalisation."""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from sharingan_jax.model.convolutions import Convolve
from sharingan_jax.model.rng import NamedNormals

Mode = Literal["train", "batch", "running"]
"""How a forward pass uses and updates the buffers.

`"train"` normalises with the batch's statistics, updates the running statistics and takes a power iteration.
`"batch"` normalises with the batch's statistics and updates nothing: the original samples so, but with side effects.
`"running"` normalises with the running statistics and updates nothing.
"""

Dtype = Literal["float32", "bfloat16"]
"""The type of activations and convolution inputs. Parameters, buffers and statistics are float32 with either."""

KERNEL_SIZE = 4
INIT_STD = 0.02

Init = Literal["dcgan", "he"]
"""The standard deviation of a kernel's first values: 0.02, or √(2 / inputs of one output)."""


class Buffer(nnx.Variable):
    """An array that training updates without a gradient: u, v, running mean, running variance."""


def l2_normalise(x: Array, *, eps: float = 1e-12) -> Array:
    """Return x / max(‖x‖₂, eps) for a vector x. Torch: `normalize`."""
    return x / jnp.maximum(jnp.sqrt(jnp.sum(x * x)), eps)


def power_iteration(matrix: Array, u: Array) -> tuple[Array, Array]:
    """Take one power iteration, v = normalise(Wᵀu), then u = normalise(Wv), and return (u [out], v [kh*kw*in]).

    `matrix` is Wᵀ [kh*kw*in, out], which is the kernel reshaped; u is [out].
    Paper: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", algorithm 1.
    """
    v = l2_normalise(matrix @ u)
    u = l2_normalise(v @ matrix)
    return u, v


class SpectralConv(nnx.Module):
    """A 4×4 convolution or transposed convolution without bias, `convolve(x, kernel)`, with or without spectral normalisation.

    The kernel [4, 4, in, out], or of another `kernel_size` that `convolve` takes, is drawn from N(0, 0.02²), or with `init="he"`
    from N(0, 2 / fan_in): `fan_in` inputs make one output (Paper: He et al. 2015, "Delving Deep into Rectifiers", equation 10).
    A kernel that `starts_at_zero` does so only without spectral normalisation, which has no value at zero.
    With `spectral_norm` the layer computes with kernel / sigma, sigma = uᵀWv. W has one row per OUTPUT channel, in transposed
    convolutions too. The gradient goes through W in sigma, and not through u and v. In mode `"train"` u and v take one power
    iteration first; in other modes they stay.
    The stored kernel is always the raw one: the optimizer updates it, and every call normalises it again.

    With `dtype="bfloat16"` x and kernel / sigma are rounded to bfloat16, and so is the output. Sigma and the division are
    float32. The backend decides how products are summed (a CPU sums them in float32).

    Torch: `torch.nn.utils.spectral_norm` with its defaults (n_power_iterations=1, eps=1e-12).
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        convolve: Convolve,
        fan_in: int,
        spectral_norm: bool,
        normals: NamedNormals,
        init: Init = "dcgan",
        dtype: Dtype = "float32",
        kernel_size: int = KERNEL_SIZE,
        starts_at_zero: bool = False,
    ) -> None:
        shape = (kernel_size, kernel_size, c_in, c_out)
        self.convolve = convolve
        self.spectral_norm = spectral_norm
        self.dtype = dtype
        std = INIT_STD if init == "dcgan" else math.sqrt(2 / fan_in)
        starts_at_zero = starts_at_zero and not spectral_norm
        self.kernel = nnx.Param(jnp.zeros(shape) if starts_at_zero else std * normals.draw("kernel", shape))
        if spectral_norm:
            self.u = Buffer(l2_normalise(normals.draw("u", (c_out,))))
            self.v = Buffer(l2_normalise(normals.draw("v", (kernel_size * kernel_size * c_in,))))

    def __call__(self, x: Array, *, mode: Mode) -> Array:
        """Map [B, H, W, in] to [B, H', W', out] of `dtype`."""
        kernel = self.kernel[...]
        if self.spectral_norm:
            kernel = kernel / self._sigma(kernel, mode=mode)
        if self.dtype == "bfloat16":
            return self.convolve(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
        return self.convolve(at_least_float32(x), kernel)

    def _sigma(self, kernel: Array, *, mode: Mode) -> Array:
        matrix = kernel.reshape(-1, kernel.shape[-1])  # [4*4*in, out]
        if mode == "train":
            self.u[...], self.v[...] = power_iteration(lax.stop_gradient(matrix), self.u[...])
        return self.v[...] @ matrix @ self.u[...]  # []


def at_least_float32(x: Array) -> Array:
    """Convert bfloat16 to float32. Return float32, and float64 in tests, unchanged."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def logits_of_classes(scores: Array, condition: Array | None) -> Array:
    """Return D's logits [B] from its last layer's scores [B, 1 + classes] and the images' classes, one-hot [B, classes].

    The first score is for every image, ψ(φ(x)), and one of the others is for its class, yᵀV φ(x). Paper: Miyato and Koyama
    2018, "cGANs with Projection Discriminator", equation 3, with all positions of the last layer's input as φ(x). Without
    classes the first score is the logit.
    """
    logits = scores[:, 0]
    return logits if condition is None else logits + jnp.sum(condition * scores[:, 1:], axis=1)


def judge_apart(judge: Callable[[Array], Array], x: Array) -> Array:
    """Return the logits [B, 2] of images and of their batch, from D's last features x [B, H, W, C].

    The features end in the channel of `minibatch_deviation`. `judge` is what is left of D, to logits [B]. The first column is its
    logits of the images, without that channel. The second is what it makes of that channel alone, one number for all images.
    """
    features, deviation = x[..., :-1], x[..., -1:]
    images = judge(jnp.concatenate([features, jnp.zeros_like(deviation)], 3))
    batch = judge(jnp.concatenate([jnp.zeros_like(features), deviation], 3))
    return jnp.stack([images, batch], 1)


class BatchNorm(nnx.Module):
    """Batch normalisation over [B, H, W], eps 1e-5, scale drawn from N(1, 0.02²), bias 0.

    A pass normalises with the biased batch variance. The running variance is updated with the unbiased one (n − 1),
    new = 0.9 · old + 0.1 · batch, as PyTorch does with momentum 0.1.

    If the batch is split over the devices of a `shard_map`, `axis_name` names them. The statistics are then those of the whole
    batch, by one exchange in the forward pass and one in the backward pass. With None the layer exchanges nothing itself;
    under `jit` XLA distributes the two means.

    With G = `ghost_batches` > 1 a training pass computes the statistics of each of G equal parts of the batch separately, and
    updates the running statistics with the first part's. PyTorch's DataParallel does the same on G GPUs; here the number of
    devices does not matter. B must be a multiple of G.

    Statistics, scale and offset are float32 for bfloat16 input too. The output has the dtype of the input.
    """

    eps = 1e-5
    momentum = 0.1

    def __init__(self, channels: int, *, ghost_batches: int = 1, axis_name: str | None = None, normals: NamedNormals) -> None:
        assert axis_name is None or ghost_batches == 1, "ghost batches are not the devices' parts of the batch"
        self.ghost_batches, self.axis_name = ghost_batches, axis_name
        self.scale = nnx.Param(1.0 + INIT_STD * normals.draw("scale", (channels,)))
        self.bias = nnx.Param(jnp.zeros((channels,)))
        self.mean = Buffer(jnp.zeros((channels,)))
        self.var = Buffer(jnp.ones((channels,)))

    def __call__(self, x: Array, *, mode: Mode) -> Array:
        """Map [B, H, W, C] to [B, H, W, C]. With an `axis_name`, B is this device's part of the batch."""
        return self._normalise_float32(at_least_float32(x), mode=mode).astype(x.dtype)

    def _normalise_float32(self, x: Array, *, mode: Mode) -> Array:
        if mode == "train" and self.ghost_batches > 1:
            return self._normalise_ghost_batches(x)
        if mode == "running":
            mean, var = self.mean[...], self.var[...]
        else:
            mean = jnp.mean(x, (0, 1, 2))  # [C]
            var = jnp.mean(jnp.square(x - mean[None, None, None]), (0, 1, 2))  # [C]
            if self.axis_name is not None:
                mean, var = _join_statistics(mean, var, near=self.mean[...], axis_name=self.axis_name)
        if mode == "train":
            count = x.size // x.shape[-1] * (1 if self.axis_name is None else lax.axis_size(self.axis_name))
            self._update_running(lax.stop_gradient(mean), lax.stop_gradient(var), count=count)
        return self._normalise(x, mean, var)

    def _normalise_ghost_batches(self, x: Array) -> Array:
        parts = x.reshape(self.ghost_batches, -1, *x.shape[1:])  # [G, B/G, H, W, C]
        mean = jnp.mean(parts, (1, 2, 3))  # [G, C]
        var = jnp.mean(jnp.square(parts - mean[:, None, None, None]), (1, 2, 3))  # [G, C]
        first_mean, first_var = lax.stop_gradient((mean[0], var[0]))
        self._update_running(first_mean, first_var, count=parts[0].size // x.shape[-1])
        return self._normalise(parts, mean, var).reshape(x.shape)

    def _normalise(self, x: Array, mean: Array, var: Array) -> Array:
        scale, bias = (jnp.broadcast_to(values[...], mean.shape) for values in (self.scale, self.bias))
        factor = scale / jnp.sqrt(var + self.eps)  # [C] or [G, C]
        offset = bias - mean * factor
        return x * factor[..., None, None, None, :] + offset[..., None, None, None, :]

    def _update_running(self, mean: Array, var: Array, *, count: int) -> None:
        unbiased = var * (count / (count - 1))
        self.mean[...] = (1 - self.momentum) * self.mean[...] + self.momentum * mean
        self.var[...] = (1 - self.momentum) * self.var[...] + self.momentum * unbiased


def _join_statistics(mean: Array, var: Array, *, near: Array, axis_name: str) -> tuple[Array, Array]:
    """Return the whole batch's mean and biased variance [C] from those of the devices' equal parts, by one exchange.

    With d the devices, r any number and E the mean over d: mean = E[mean_d] and var = E[var_d + (mean_d − r)²] − (mean − r)².
    r is `near`, the running mean. It is close to the means, so the two squares are small compared with the variance, and their
    difference loses no digits, as E[x²] − mean² would. r is the same on every device, and it cancels: it gets no gradient.
    """
    near = lax.stop_gradient(near)
    both = jnp.stack([mean, var + jnp.square(mean - near)])  # [2, C]
    mean, second = lax.pmean(both, axis_name)
    return mean, jnp.maximum(second - jnp.square(mean - near), 0.0)  # Rounding may leave a negative number.


class Bias(nnx.Module):
    """No normalisation: a bias a channel, from 0, which batch normalisation would have had too."""

    def __init__(self, channels: int, *, normals: NamedNormals) -> None:
        del normals
        self.bias = nnx.Param(jnp.zeros((channels,)))

    def __call__(self, x: Array, *, mode: Mode) -> Array:
        """Map [B, H, W, C] to [B, H, W, C]."""
        return (at_least_float32(x) + self.bias[...][None, None, None]).astype(x.dtype)


class PixelNorm(Bias):
    """Divide each pixel's channels by the root of their mean square, then add a bias a channel.

    Paper: Karras et al. 2018, "Progressive Growing of GANs", section 4.2. The bias stands in for that of the convolution.
    """

    def __call__(self, x: Array, *, mode: Mode) -> Array:
        wide = at_least_float32(x)
        normalised = wide / jnp.sqrt(jnp.mean(jnp.square(wide), 3, keepdims=True) + 1e-8)
        return super().__call__(normalised.astype(x.dtype), mode=mode)


class GroupNorm(nnx.Module):
    """Normalise each image over groups of channels and all pixels, eps 1e-5; scale from 1 and bias from 0 a channel.

    There are 8 groups, or fewer if 8 does not divide the channels.
    Paper: Wu & He 2018, "Group Normalization". Torch: `GroupNorm`.
    """

    eps = 1e-5

    def __init__(self, channels: int, *, normals: NamedNormals) -> None:
        del normals
        self.groups = math.gcd(channels, 8)
        self.scale = nnx.Param(jnp.ones((channels,)))
        self.bias = nnx.Param(jnp.zeros((channels,)))

    def __call__(self, x: Array, *, mode: Mode) -> Array:
        """Map [B, H, W, C] to [B, H, W, C]."""
        grouped = at_least_float32(x).reshape(*x.shape[:3], self.groups, -1)
        mean = jnp.mean(grouped, (1, 2, 4), keepdims=True)
        var = jnp.mean(jnp.square(grouped - mean), (1, 2, 4), keepdims=True)
        normalised = ((grouped - mean) / jnp.sqrt(var + self.eps)).reshape(x.shape)
        scale, bias = self.scale[...][None, None, None], self.bias[...][None, None, None]
        return (normalised * scale + bias).astype(x.dtype)


def minibatch_deviation(x: Array, *, axis_name: str | None) -> Array:
    """Append a channel to [B, H, W, C], as float32: the standard deviation over the batch, in the mean over pixels and channels.

    One number, the same everywhere. It shows D how varied a batch is. The batch is that of all devices along `axis_name`.
    Paper: Karras et al. 2018, "Progressive Growing of GANs", section 3, with the whole batch as the group.
    """
    x = at_least_float32(x)
    mean = jnp.mean(x, 0, keepdims=True)
    mean = mean if axis_name is None else lax.pmean(mean, axis_name)
    var = jnp.mean(jnp.square(x - mean), 0)
    var = var if axis_name is None else lax.pmean(var, axis_name)
    deviation = jnp.mean(jnp.sqrt(var + 1e-8))  # []
    return jnp.concatenate([x, jnp.broadcast_to(deviation, (*x.shape[:3], 1))], 3)


def drop_channels(x: Array, z: Array, *, rate: float, side: int) -> Array:
    """Set a share `rate` of each image's channels to 0, and divide the others by 1 − rate: [B, H, W, C] to [B, H, W, C].

    Which ones follows from the image's latents z [B, nz] and the `side`, in training and in sampling alike: the network stays a
    function of its latents. Paper: Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", section
    3.2.1, which drops single values.
    """
    bits = lax.bitcast_convert_type(z.astype(jnp.float32), jnp.uint32)  # [B, nz]

    def draw(bits: Array) -> Array:
        key = jax.random.fold_in(jax.random.key(side, impl="threefry2x32"), bits[0])
        return jax.random.uniform(jax.random.fold_in(key, bits[-1]), (x.shape[-1],), "float32")

    kept = jax.vmap(draw)(bits) >= rate  # [B, C]
    return jnp.where(kept[:, None, None], x / jnp.asarray(1 - rate, x.dtype), jnp.zeros((), x.dtype))


Conv = Callable[..., SpectralConv]
"""`SpectralConv` with `spectral_norm`, `init` and `dtype` bound: `conv(c_in, c_out, convolve=..., fan_in=..., normals=...)`."""

Norm = Callable[..., nnx.Module]
"""A normalisation with its options bound: `norm(channels, normals=...)` is a module `(x [B, H, W, C], mode=...) -> x`."""

NORMS: dict[str, Any] = {"batch": BatchNorm, "none": Bias, "pixel": PixelNorm, "group": GroupNorm}
"""The choices of `model.gen.norm` and `model.disc.norm`."""


def leaky_relu(x: Array) -> Array:
    """Return x where it is positive, else 0.2 x.

    Torch: the gradient at exactly 0 is 0.2, where `jax.nn.leaky_relu` gives 1.
    """
    return jnp.where(x > 0, x, 0.2 * x)
