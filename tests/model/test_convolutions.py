"""Every implementation of a convolution is the same map, in value and in both gradients."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharingan_jax.model.convolutions import (
    convolutions,
    convolve_and_pool,
    direct_down,
    direct_up,
    fastest_conv_impl,
    patches_down,
    patches_up,
    project_down,
    project_up,
    upsample_and_convolve,
    winograd_down,
    winograd_up,
)

PAIRS = {"down": (winograd_down, direct_down, 4), "up": (winograd_up, direct_up, 2)}


def _arrays(seed: int, *shapes: tuple[int, ...]) -> list[jax.Array]:
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape)) for shape in shapes]


@partial(jax.jit, static_argnums=0)
def _value_and_gradients(
    convolve: Callable[..., jax.Array], x: jax.Array, kernel: jax.Array, g: jax.Array
) -> tuple[jax.Array, ...]:
    """Return the convolution and the gradients of both arguments, for the gradient `g` of its result."""
    y, pull = jax.vjp(convolve, x, kernel)
    return (y, *pull(g))


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=8, deadline=None)
@given(
    b=st.integers(1, 3),
    h=st.integers(1, 3),
    w=st.integers(1, 3),
    c=st.integers(1, 5),
    out=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_winograd_equals_direct_in_float64(name: str, b: int, h: int, w: int, c: int, out: int, seed: int) -> None:
    fast, direct, multiple = PAIRS[name]
    with jax.enable_x64(True):
        x, kernel = _arrays(seed, (b, multiple * h, multiple * w, c), (4, 4, c, out))
        (g,) = _arrays(seed + 1, jax.eval_shape(direct, x, kernel).shape)
        for ours, theirs in zip(*(_value_and_gradients(convolve, x, kernel, g) for convolve in (fast, direct)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("h_w", [(1, 3), (4, 2)])
@pytest.mark.parametrize("name", ["down", "up"])
def test_patches_equal_direct_in_float64(name: str, h_w: tuple[int, int]) -> None:
    ours, direct, multiple = {"down": (patches_down, direct_down, 2), "up": (patches_up, direct_up, 1)}[name]
    with jax.enable_x64(True):
        x, kernel = _arrays(0, (2, *(multiple * side for side in h_w), 3), (4, 4, 3, 5))
        (g,) = _arrays(1, jax.eval_shape(direct, x, kernel).shape)
        for found, expected in zip(*(_value_and_gradients(convolve, x, kernel, g) for convolve in (ours, direct)), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_patches_of_stacked_seeds_are_one_batched_product_and_no_convolution() -> None:
    x, kernel = jnp.zeros((3, 2, 8, 8, 4)), jnp.zeros((3, 4, 4, 4, 5))
    for convolve in (patches_down, patches_up):
        text = jax.jit(jax.vmap(convolve)).lower(x, kernel).as_text()
        assert text.count("dot_general") == 1
        assert "batching_dims = [0] x [0]" in text
        assert not [name for name in ("convolution", "scatter", "gather") if f"stablehlo.{name}" in text]


@pytest.mark.parametrize("name", PAIRS)
def test_winograd_equals_direct_to_float32_rounding_at_full_width(name: str) -> None:
    fast, direct, _ = PAIRS[name]
    x, kernel = (a.astype(jnp.float32) for a in _arrays(0, (2, 8, 8, 128), (4, 4, 128, 64)))
    # Sums of 2048 products of unit normals have a deviation of 45: a few units in the last place of that.
    np.testing.assert_allclose(fast(x, kernel), direct(x, kernel), atol=5e-4)


def test_direct_up_is_the_transpose_of_direct_down() -> None:
    with jax.enable_x64(True):
        x, kernel, y = _arrays(0, (2, 8, 4, 3), (4, 4, 3, 5), (2, 4, 2, 5))
        down = direct_down(x, kernel)
        up = direct_up(y, kernel.transpose(0, 1, 3, 2))
        np.testing.assert_allclose(jnp.sum(down * y), jnp.sum(x * up), rtol=1e-12)


def test_direct_up_follows_its_written_formula() -> None:
    with jax.enable_x64(True):
        x, kernel = (np.asarray(a) for a in _arrays(0, (1, 2, 3, 2), (4, 4, 2, 3)))
        expected = np.zeros((1, 4, 6, 3))
        for i, j, k, m in np.ndindex(2, 3, 4, 4):
            row, column = 2 * i - 1 + k, 2 * j - 1 + m
            if 0 <= row < 4 and 0 <= column < 6:
                expected[0, row, column] += x[0, i, j] @ kernel[k, m]
        np.testing.assert_allclose(direct_up(jnp.asarray(x), jnp.asarray(kernel)), expected, rtol=1e-12)


def test_the_projections_are_convolutions_of_one_position() -> None:
    with jax.enable_x64(True):
        x, kernel, z, opening = _arrays(0, (3, 4, 4, 6), (4, 4, 6, 2), (3, 1, 1, 5), (4, 4, 5, 2))
        np.testing.assert_allclose(project_down(x, kernel)[:, 0, 0], jnp.einsum("bhwc,hwco->bo", x, kernel), rtol=1e-12)
        np.testing.assert_allclose(project_up(z, opening), jnp.einsum("bc,hwco->bhwo", z[:, 0, 0], opening), rtol=1e-12)


def test_the_implementation_follows_the_backend() -> None:
    assert fastest_conv_impl("cpu") == "winograd"
    assert fastest_conv_impl("gpu") == "patches"
    assert fastest_conv_impl("tpu") == "direct"
    assert convolutions("winograd").down is winograd_down
    assert convolutions("patches").up is patches_up
    with pytest.raises(ValueError, match="fft"):
        convolutions("fft")  # type: ignore[arg-type]


@pytest.mark.parametrize("conv_impl", ["winograd", "direct", "patches"])
def test_three_by_three_kernels_upsample_and_pool_as_pytorch_does(conv_impl: str) -> None:
    x, kernel = (np.asarray(array, np.float32) for array in _arrays(0, (2, 8, 8, 3), (3, 3, 3, 5)))
    maps = convolutions(conv_impl)  # type: ignore[arg-type]
    images, weight = torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(kernel).permute(3, 2, 0, 1)
    conv = partial(torch.nn.functional.conv2d, padding=1)
    up = conv(torch.nn.functional.interpolate(images, scale_factor=2), weight.flip(2, 3))
    down = torch.nn.functional.avg_pool2d(conv(images, weight), 2)
    for ours, theirs in ((upsample_and_convolve(maps.up), up), (convolve_and_pool(maps.down), down)):
        np.testing.assert_allclose(ours(jnp.asarray(x), jnp.asarray(kernel)), theirs.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


def test_upsampling_makes_no_checkerboard_of_a_flat_image() -> None:
    flat, kernel = jnp.ones((1, 8, 8, 4)), _arrays(1, (3, 3, 4, 2))[0]
    inside = np.asarray(upsample_and_convolve(direct_up)(flat, kernel))[:, 2:-2, 2:-2]
    np.testing.assert_allclose(inside, np.broadcast_to(inside[:, :1, :1], inside.shape), rtol=1e-4, atol=1e-4)
