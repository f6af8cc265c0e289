"""Spectral and batch normalisation against numpy, and which buffers each mode changes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from sharingan_jax.model.convolutions import project_down
from sharingan_jax.model.functional import Net
from sharingan_jax.model.layers import (
    BatchNorm,
    Bias,
    Buffer,
    GroupNorm,
    PixelNorm,
    SpectralConv,
    drop_channels,
    judge_apart,
    leaky_relu,
    minibatch_deviation,
    power_iteration,
)
from sharingan_jax.model.rng import NamedNormals

RNG = np.random.default_rng(0)


def _normals(seed: int = 0) -> NamedNormals:
    rng = np.random.default_rng(seed)
    return NamedNormals(lambda _, shape: jnp.asarray(rng.standard_normal(shape), jnp.float32))


def _conv(*, spectral_norm: bool = True) -> SpectralConv:
    return SpectralConv(3, 5, convolve=project_down, fan_in=48, spectral_norm=spectral_norm, normals=_normals())


def _images(*shape: int) -> Any:
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


def test_a_power_iteration_follows_its_formula() -> None:
    matrix, u = RNG.standard_normal((48, 5)), RNG.standard_normal(5)
    v_expected = matrix @ u / np.linalg.norm(matrix @ u)
    u_expected = v_expected @ matrix / np.linalg.norm(v_expected @ matrix)
    u_next, v_next = power_iteration(jnp.asarray(matrix, jnp.float32), jnp.asarray(u, jnp.float32))
    np.testing.assert_allclose(v_next, v_expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(u_next, u_expected, rtol=1e-5, atol=1e-6)


def test_many_training_passes_bring_the_largest_singular_value_to_one() -> None:
    conv = _conv()
    for _ in range(200):
        conv(_images(1, 4, 4, 3), mode="train")
    matrix = np.asarray(conv.kernel[...]).reshape(-1, 5)
    sigma = conv._sigma(conv.kernel[...], mode="running")
    np.testing.assert_allclose(sigma, np.linalg.svd(matrix)[1][0], rtol=1e-5)


def test_a_second_pass_uses_the_raw_kernel() -> None:
    conv = _conv()
    before = np.asarray(conv.kernel[...])
    x = _images(2, 4, 4, 3)
    first = conv(x, mode="running")
    np.testing.assert_array_equal(conv.kernel[...], before)
    np.testing.assert_array_equal(conv(x, mode="running"), first)


@pytest.mark.parametrize("mode", ["batch", "running"])
def test_u_and_v_change_in_training_only(mode: Any) -> None:
    conv = _conv()
    u, v = np.asarray(conv.u[...]), np.asarray(conv.v[...])
    conv(_images(2, 4, 4, 3), mode=mode)
    np.testing.assert_array_equal(conv.u[...], u)
    np.testing.assert_array_equal(conv.v[...], v)
    conv(_images(2, 4, 4, 3), mode="train")
    assert not np.array_equal(conv.u[...], u)
    assert not np.array_equal(conv.v[...], v)


def test_an_unnormalised_layer_has_no_buffers() -> None:
    assert not nnx.to_flat_state(nnx.state(_conv(spectral_norm=False), Buffer))


def test_batch_norm_normalises_with_the_biased_variance_and_keeps_the_unbiased() -> None:
    bn = BatchNorm(5, normals=_normals())
    x = np.asarray(_images(3, 4, 2, 5), np.float64) * 3 + 1
    y = bn(jnp.asarray(x, jnp.float32), mode="train")
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    expected = (x - mean) / np.sqrt(var + 1e-5) * np.asarray(bn.scale[...])
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(bn.mean[...], 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bn.var[...], 0.9 + 0.1 * x.var((0, 1, 2), ddof=1), rtol=1e-4)


def test_statistics_joined_over_devices_are_the_whole_batchs_and_lose_no_digits_to_a_mean_far_from_zero() -> None:
    net, net_on_devices = (
        Net(lambda normals, axis_name=axis_name: BatchNorm(5, axis_name=axis_name, normals=normals))
        for axis_name in (None, "devices")
    )
    params = {"scale": jnp.ones(5), "bias": jnp.zeros(5)}
    x = np.asarray(_images(6, 4, 2, 5)) * 3 + 1000  # E[x²] − mean² of these has an error of a tenth in float32.
    weight = _images(*x.shape)
    buffers = {"mean": jnp.full(5, 999.0), "var": jnp.ones(5)}

    def shared(x: Any) -> Any:
        """Three devices with two images each."""
        parts = x.reshape(3, 2, *x.shape[1:])
        each = jax.vmap(lambda part: net_on_devices.apply(params, buffers, part, mode="train"), axis_name="devices")
        y, after = each(parts)
        return y.reshape(x.shape), after

    y, pull, after = jax.vjp(shared, jnp.asarray(x), has_aux=True)
    y_whole, pull_whole, _ = jax.vjp(lambda x: net.apply(params, buffers, x, mode="train"), jnp.asarray(x), has_aux=True)
    np.testing.assert_allclose(y, y_whole, atol=1e-3)  # Either rounds x · factor − mean · factor, two numbers near 333.
    np.testing.assert_allclose(pull(weight)[0], pull_whole(weight)[0], atol=1e-4)
    exact = x.astype(np.float64)
    for device in range(3):
        np.testing.assert_allclose(after["mean"][device], 0.9 * 999 + 0.1 * exact.mean((0, 1, 2)), rtol=1e-6)
        np.testing.assert_allclose(after["var"][device], 0.9 + 0.1 * exact.var((0, 1, 2), ddof=1), rtol=1e-4)


def test_running_mode_uses_the_running_statistics_and_does_not_change_them() -> None:
    bn = BatchNorm(5, normals=_normals())
    for _ in range(3):
        bn(_images(3, 4, 2, 5), mode="train")
    mean, var = np.asarray(bn.mean[...]), np.asarray(bn.var[...])
    x = _images(3, 4, 2, 5)
    expected = (np.asarray(x) - mean) / np.sqrt(var + 1e-5) * np.asarray(bn.scale[...])
    np.testing.assert_allclose(bn(x, mode="running"), expected, rtol=1e-4, atol=1e-5)
    bn(x, mode="batch")
    np.testing.assert_array_equal(bn.mean[...], mean)
    np.testing.assert_array_equal(bn.var[...], var)


def test_leaky_relu_is_a_fifth_below_zero() -> None:
    np.testing.assert_allclose(leaky_relu(jnp.array([-2.0, 0.0, 3.0])), [-0.4, 0.0, 3.0], rtol=1e-6)


@pytest.mark.parametrize(("init", "std"), [("dcgan", 0.02), ("he", (2 / 48) ** 0.5)])
def test_a_kernel_has_the_standard_deviation_of_its_init(init: Any, std: float) -> None:
    conv = SpectralConv(3, 200, convolve=project_down, fan_in=48, spectral_norm=False, init=init, normals=_normals())
    np.testing.assert_allclose(np.std(np.asarray(conv.kernel[...])), std, rtol=0.05)


def test_without_a_norm_there_is_a_bias_a_channel() -> None:
    x, layer = _images(2, 4, 4, 3), Bias(3, normals=_normals())
    np.testing.assert_array_equal(layer(x, mode="train"), x)
    layer.bias[...] = jnp.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(layer(x, mode="running"), np.asarray(x) + np.array([1, 2, 3]), rtol=1e-6)


def test_pixel_norm_makes_the_mean_square_of_each_pixel_one() -> None:
    x = _images(2, 4, 4, 6)
    normalised = np.asarray(PixelNorm(6, normals=_normals())(x, mode="train"))
    np.testing.assert_allclose((normalised**2).mean(3), 1, rtol=1e-4)
    np.testing.assert_allclose(normalised, np.asarray(x) / np.sqrt((np.asarray(x) ** 2).mean(3, keepdims=True) + 1e-8), rtol=1e-5)


@pytest.mark.parametrize(("channels", "groups"), [(16, 8), (12, 4), (3, 1)])
def test_group_norm_is_pytorchs(channels: int, groups: int) -> None:
    x, layer = _images(2, 4, 4, channels), GroupNorm(channels, normals=_normals())
    scale, bias = RNG.standard_normal((2, channels)).astype(np.float32)
    layer.scale[...], layer.bias[...] = jnp.asarray(scale), jnp.asarray(bias)
    theirs = torch.nn.GroupNorm(groups, channels)
    theirs.load_state_dict({"weight": torch.tensor(scale), "bias": torch.tensor(bias)})
    expected = theirs(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach()
    np.testing.assert_allclose(layer(x, mode="train"), expected, rtol=1e-4, atol=1e-5)


def test_images_and_their_batch_are_judged_apart() -> None:
    x = minibatch_deviation(_images(5, 4, 4, 3), axis_name=None)
    kernel = np.random.default_rng(3).standard_normal((4, 4, 4))

    def judge(x: jax.Array) -> jax.Array:
        return jnp.einsum("bhwc,hwc->b", x, kernel)

    logits = np.asarray(judge_apart(judge, x))
    np.testing.assert_allclose(logits.sum(1), judge(x), rtol=1e-5)
    np.testing.assert_allclose(logits[:, 1], np.asarray(x)[0, 0, 0, 3] * kernel[..., 3].sum(), rtol=1e-5)
    other = minibatch_deviation(2 * x[..., :3], axis_name=None)
    np.testing.assert_allclose(judge_apart(judge, other), 2 * logits, rtol=1e-4)


def test_the_deviation_of_a_minibatch_is_one_number_in_a_channel_of_its_own() -> None:
    x = _images(5, 4, 4, 3)
    y = np.asarray(minibatch_deviation(x, axis_name=None))
    np.testing.assert_array_equal(y[..., :3], x)
    np.testing.assert_allclose(y[..., 3], np.asarray(x).std(0).mean(), rtol=1e-5)
    np.testing.assert_allclose(minibatch_deviation(x[:1], axis_name=None)[..., 3], 1e-4, rtol=1e-3)  # The root of 1e-8.


def test_dropped_channels_follow_from_the_latents_and_keep_the_mean() -> None:
    z = jax.random.normal(jax.random.key(0), (64, 8))
    x = jnp.ones((64, 2, 2, 50))
    dropped = np.asarray(drop_channels(x, z, rate=0.2, side=8))
    assert set(np.unique(dropped)) == {0.0, np.float32(1.25)}
    assert (dropped == dropped[:, :1, :1]).all()  # Whole channels.
    np.testing.assert_allclose((dropped == 0).mean(), 0.2, atol=0.03)  # Four standard deviations of 3200 draws.
    np.testing.assert_array_equal(drop_channels(x[3:5], z[3:5], rate=0.2, side=8), dropped[3:5])
    assert (np.asarray(drop_channels(x, z, rate=0.2, side=16)) != dropped).any()
