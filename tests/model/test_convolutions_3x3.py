"""3×3 convolutions by products are XLA's own, to the second derivative, and resampling is PyTorch's."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import Array

from sharingan_jax.model.convolutions_3x3 import direct_same, downsample, patches_same, upsample, winograd_same


def _arrays(*shapes: tuple[int, ...]) -> list[Array]:
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(shape)) for shape in shapes]


def _penalty_gradients(convolve: Callable[[Array, Array], Array], x: Array, kernel: Array) -> tuple[Array, ...]:
    """Return a convolution, its two gradients, and the two gradients of a penalty on the gradient with respect to `x`."""

    def total(x: Array, kernel: Array) -> Array:
        return jnp.sum(jnp.sin(convolve(x, kernel)))

    def penalty(x: Array, kernel: Array) -> Array:
        return jnp.sum(jnp.square(jax.grad(total)(x, kernel)))

    return (convolve(x, kernel), *jax.grad(total, (0, 1))(x, kernel), *jax.grad(penalty, (0, 1))(x, kernel))


@pytest.mark.parametrize("h_w", [(2, 2), (4, 6), (8, 4)])
@pytest.mark.parametrize("convolve", [winograd_same, patches_same])
def test_products_equal_xlas_convolution_to_the_second_derivative_in_float64(
    convolve: Callable[[Array, Array], Array], h_w: tuple[int, int]
) -> None:
    with jax.enable_x64(True):
        x, kernel = _arrays((2, *h_w, 3), (3, 3, 3, 5))
        both = [jax.jit(_penalty_gradients, static_argnums=0)(conv, x, kernel) for conv in (convolve, direct_same)]
        for ours, theirs in zip(*both, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


def test_winograd_equals_xlas_convolution_to_float32_rounding_at_full_width() -> None:
    x, kernel = (a.astype(jnp.float32) for a in _arrays((2, 8, 8, 128), (3, 3, 128, 64)))
    # Sums of 1152 products of unit normals have a deviation of 34: a few units in the last place of that.
    np.testing.assert_allclose(winograd_same(x, kernel), direct_same(x, kernel), atol=5e-4)


def test_the_program_of_products_has_no_convolution_to_the_second_derivative() -> None:
    x, kernel = jnp.zeros((2, 8, 8, 4)), jnp.zeros((3, 3, 4, 4))
    for convolve in (winograd_same, patches_same):
        text = jax.jit(_penalty_gradients, static_argnums=0).lower(convolve, x, kernel).as_text()
        assert not [name for name in ("convolution", "scatter", "gather") if f"stablehlo.{name}" in text]


def test_upsampling_is_pytorchs_bilinear_interpolation() -> None:
    (x,) = _arrays((2, 4, 6, 3))
    images = torch.tensor(np.asarray(x, np.float32)).permute(0, 3, 1, 2)
    theirs = torch.nn.functional.interpolate(images, scale_factor=2, mode="bilinear").permute(0, 2, 3, 1)
    np.testing.assert_allclose(upsample(x), theirs, rtol=1e-5, atol=1e-6)


def test_downsampling_is_a_quarter_of_the_transpose_of_upsampling() -> None:
    with jax.enable_x64(True):
        x, y = _arrays((2, 4, 6, 3), (2, 8, 12, 3))
        np.testing.assert_allclose(jnp.sum(upsample(x) * y) / 4, jnp.sum(x * downsample(y)), rtol=1e-12)


@pytest.mark.parametrize("resample", [upsample, downsample])
def test_resampling_leaves_flat_areas_flat_up_to_the_edges(resample: Callable[[Array], Array]) -> None:
    resampled = resample(jnp.full((1, 8, 4, 2), 0.7))
    np.testing.assert_allclose(resampled, 0.7, rtol=1e-6)
