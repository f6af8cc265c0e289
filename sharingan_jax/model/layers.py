"""Layers with PyTorch's semantics: convolutions under spectral normalisation, and batch normalisation."""

from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from sharingan_jax.model.convolutions import Convolve
from sharingan_jax.rng import Draws

Mode = Literal["train", "batch", "running"]
"""How a forward pass treats what is not a parameter.

`"train"` normalises with the batch's statistics, moves the running ones and takes a power iteration; `"batch"` normalises with
the batch's statistics and moves nothing (sampling as the original does, less its side effects); `"running"` normalises with
the running statistics and moves nothing.
"""

Dtype = Literal["float32", "bfloat16"]
"""What convolutions take and the activations between them are of. Parameters, buffers and statistics are float32 in both."""

KERNEL_SIZE = 4
INIT_STD = 0.02


class Buffer(nnx.Variable):
    """An array that training moves and no gradient reaches: u, v, running mean, running variance."""


def l2_normalise(x: Array, *, eps: float = 1e-12) -> Array:
    """x / max(‖x‖₂, eps), as PyTorch's `normalize`; x is a vector."""
    return x / jnp.maximum(jnp.sqrt(jnp.sum(x * x)), eps)


def power_iteration(matrix: Array, u: Array) -> tuple[Array, Array]:
    """One power iteration: v = normalise(Wᵀu), then u = normalise(Wv).

    `matrix` is Wᵀ [kh*kw*in, out] (a kernel as it lies), u [out]; returns (u [out], v [kh*kw*in]).
    Paper: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", algorithm 1.
    """
    v = l2_normalise(matrix @ u)
    u = l2_normalise(v @ matrix)
    return u, v


class SpectralConv(nnx.Module):
    """A bias-free 4×4 convolution or transposed convolution, `convolve(x, kernel)`, under spectral normalisation or not.

    The kernel [4, 4, in, out] is drawn from N(0, 0.02²). With `spectral_norm` the layer computes with kernel / sigma,
    sigma = uᵀWv, where W has one row for each OUTPUT channel, in transposed convolutions too; the gradient goes through W
    in sigma and not through u and v. In mode `"train"` u and v take one power iteration first; otherwise they stay.
    The stored kernel is always the raw one: the optimizer steps from it, and a second call normalises it afresh.

    With `dtype="bfloat16"` x and kernel / sigma are rounded to bfloat16, sigma and the division being float32's, and so is what
    comes out. Products are summed as the backend does it (a CPU: in float32).

    Torch: `torch.nn.utils.spectral_norm` with its defaults (n_power_iterations=1, eps=1e-12).
    """

    def __init__(
        self, c_in: int, c_out: int, *, convolve: Convolve, spectral_norm: bool, draws: Draws, dtype: Dtype = "float32"
    ) -> None:
        shape = (KERNEL_SIZE, KERNEL_SIZE, c_in, c_out)
        self.convolve = convolve
        self.spectral_norm = spectral_norm
        self.dtype = dtype
        self.kernel = nnx.Param(INIT_STD * draws.normal("kernel", shape))
        if spectral_norm:
            self.u = Buffer(l2_normalise(draws.normal("u", (c_out,))))
            self.v = Buffer(l2_normalise(draws.normal("v", (KERNEL_SIZE * KERNEL_SIZE * c_in,))))

    def __call__(self, x: Array, *, mode: Mode) -> Array:
        """[B, H, W, in] -> [B, H', W', out], of `dtype`."""
        kernel = self.kernel[...]
        if self.spectral_norm:
            kernel = kernel / self._sigma(kernel, mode=mode)
        match self.dtype:
            case "float32":
                return self.convolve(at_least_float32(x), kernel)
            case "bfloat16":
                return self.convolve(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
        raise ValueError(f"no dtype {self.dtype!r}")

    def _sigma(self, kernel: Array, *, mode: Mode) -> Array:
        matrix = kernel.reshape(-1, kernel.shape[-1])  # [4*4*in, out]
        if mode == "train":
            self.u[...], self.v[...] = power_iteration(lax.stop_gradient(matrix), self.u[...])
        return self.v[...] @ matrix @ self.u[...]  # []


def at_least_float32(x: Array) -> Array:
    """bfloat16 as float32; float32, and float64 in tests, as they are."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class BatchNorm(nnx.Module):
    """Batch normalisation over [B, H, W], eps 1e-5, scale drawn from N(1, 0.02²), bias 0.

    Normalises with the biased batch variance and keeps the unbiased one (n − 1), new = 0.9 · old + 0.1 · batch, as PyTorch
    does with momentum 0.1.

    If the batch is split over the devices of a `shard_map`, `axis_name` names them: the statistics are then the whole batch's,
    by one exchange in the forward and one in the backward pass. With None there is no exchange of ours; under `jit` XLA
    distributes the two means as it sees fit.

    With `groups` G > 1 a training pass takes them over each of G equal parts of the batch apart and keeps the first part's: what
    PyTorch's DataParallel does on G devices, on whatever number of them. B must divide by G.

    Statistics, scale and offset are float32 for bfloat16 pictures too, and what comes out is of the dtype of what goes in.
    """

    eps = 1e-5
    momentum = 0.1

    def __init__(self, channels: int, *, groups: int, axis_name: str | None = None, draws: Draws) -> None:
        assert axis_name is None or groups == 1, "the parts of a batch are not the devices' parts"
        self.groups, self.axis_name = groups, axis_name
        self.scale = nnx.Param(1.0 + INIT_STD * draws.normal("scale", (channels,)))
        self.bias = nnx.Param(jnp.zeros((channels,)))
        self.mean = Buffer(jnp.zeros((channels,)))
        self.var = Buffer(jnp.ones((channels,)))

    def __call__(self, x: Array, *, mode: Mode) -> Array:
        """[B, H, W, C] -> [B, H, W, C]; with an `axis_name`, B is this device's part of the batch."""
        return self._in_float32(at_least_float32(x), mode=mode).astype(x.dtype)

    def _in_float32(self, x: Array, *, mode: Mode) -> Array:
        if mode == "train" and self.groups > 1:
            return self._by_groups(x)
        if mode == "running":
            mean, var = self.mean[...], self.var[...]
        else:
            mean = jnp.mean(x, (0, 1, 2))  # [C]
            var = jnp.mean(jnp.square(x - mean[None, None, None]), (0, 1, 2))  # [C]
            if self.axis_name is not None:
                mean, var = self._over_devices(mean, var, axis_name=self.axis_name)
        if mode == "train":
            count = x.size // x.shape[-1] * (1 if self.axis_name is None else lax.axis_size(self.axis_name))
            self._move_running(lax.stop_gradient(mean), lax.stop_gradient(var), count=count)
        return self._normalise(x, mean, var)

    def _over_devices(self, mean: Array, var: Array, *, axis_name: str) -> tuple[Array, Array]:
        """The whole batch's mean and biased variance [C], from those of equal parts, by one exchange.

        With d the devices, r any number and E the mean over d: mean = E[mean_d] and var = E[var_d + (mean_d − r)²] − (mean − r)².
        r is the running mean, which is near: the two squares are then small beside the variance, and their difference loses
        no digits, as E[x²] − mean² would. It is the same on every device, and no gradient goes through it: r cancels.
        """
        near = lax.stop_gradient(self.mean[...])
        both = jnp.stack([mean, var + jnp.square(mean - near)])  # [2, C]
        mean, second = lax.pmean(both, axis_name)
        return mean, jnp.maximum(second - jnp.square(mean - near), 0.0)  # Rounding may leave less than nothing.

    def _by_groups(self, x: Array) -> Array:
        parts = x.reshape(self.groups, -1, *x.shape[1:])  # [G, B/G, H, W, C]
        mean = jnp.mean(parts, (1, 2, 3))  # [G, C]
        var = jnp.mean(jnp.square(parts - mean[:, None, None, None]), (1, 2, 3))  # [G, C]
        first_mean, first_var = lax.stop_gradient((mean[0], var[0]))
        self._move_running(first_mean, first_var, count=parts[0].size // x.shape[-1])
        return self._normalise(parts, mean, var).reshape(x.shape)

    def _normalise(self, x: Array, mean: Array, var: Array) -> Array:
        scale, bias = (jnp.broadcast_to(values[...], mean.shape) for values in (self.scale, self.bias))
        factor = scale / jnp.sqrt(var + self.eps)  # [C] or [G, C]
        offset = bias - mean * factor
        return x * factor[..., None, None, None, :] + offset[..., None, None, None, :]

    def _move_running(self, mean: Array, var: Array, *, count: int) -> None:
        unbiased = var * (count / (count - 1))
        self.mean[...] = (1 - self.momentum) * self.mean[...] + self.momentum * mean
        self.var[...] = (1 - self.momentum) * self.var[...] + self.momentum * unbiased


def leaky_relu(x: Array) -> Array:
    """x where positive, else 0.2 x.

    Torch: the gradient at exactly 0 is 0.2, where `jax.nn.leaky_relu` gives 1.
    """
    return jnp.where(x > 0, x, 0.2 * x)
