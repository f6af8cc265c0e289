"""3×3 convolutions with stride 1 and padding 1 as exact matrix products, and resampling by two.

Images are [B, H, W, C], kernels [3, 3, in, out]; H and W are even. `winograd_same` applies Winograd's F(2×2, 3×3): sixteen matrix
products for thirty-six, whose gradients of any order, as a penalty on D's gradient takes them, are such products again.
`patches_same` copies the nine pixels that each output sees, and leaves one product. `direct_same` leaves the choice to XLA.

Paper: Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1; in one dimension
y0 = d0 g0 + d1 g1 + d2 g2 and y1 = d1 g0 + d2 g1 + d3 g2 are m0 + m1 + m2 and m1 − m2 − m3 with m0 = (d0 − d2) g0,
m1 = (d1 + d2)(g0 + g1 + g2)/2, m2 = (d2 − d1)(g0 − g1 + g2)/2, m3 = (d1 − d3) g2.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from sharingan_jax.model.linear_maps import linear_with_transpose


def direct_same(x: Array, kernel: Array) -> Array:
    """Convolve by XLA's own algorithm: [B, H, W, in] -> [B, H, W, out]."""
    return lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"))


def winograd_same(x: Array, kernel: Array) -> Array:
    """Compute `direct_same` by sixteen products over tiles of 2×2 outputs."""
    b, h, w, c = x.shape
    products = [
        (tile.reshape(-1, c) @ k).reshape(b, h // 2, w // 2, -1)
        for tile, k in zip(data_transform(x), kernel_transform(kernel), strict=True)
    ]
    return output_transform(tuple(products))


def patches_same(x: Array, kernel: Array) -> Array:
    """Compute `direct_same` by one product over patches of 3×3 pixels."""
    b, h, w, c = x.shape
    y = extract_patches(x).reshape(-1, 9 * c) @ kernel.reshape(9 * c, -1)  # [B*H*W, 9*in] @ [9*in, out]
    return y.reshape(b, h, w, -1)


def pointwise(x: Array, kernel: Array) -> Array:
    """Convolve with a 1×1 kernel [1, 1, in, out]: one product."""
    return x @ kernel[0, 0]


def upsample(x: Array) -> Array:
    """Double the sides by linear interpolation: [B, H, W, C] -> [B, 2H, 2W, C]. Flat areas stay flat, up to the edges.

    Torch: `interpolate(scale_factor=2, mode="bilinear", align_corners=False)`.
    """
    rows, columns = (jnp.asarray(interpolation(side), x.dtype) for side in x.shape[1:3])
    return jnp.einsum("ih,bhwc->biwc", rows, jnp.einsum("jw,bhwc->bhjc", columns, x))


def downsample(x: Array) -> Array:
    """Halve the sides by weighted means, [1, 3, 3, 1]/8 along each axis: [B, H, W, C] -> [B, H/2, W/2, C].

    It is a quarter of the transpose of `upsample`, so that flat areas stay flat up to the edges here too.
    """
    rows, columns = (jnp.asarray(interpolation(side // 2) / 2, x.dtype) for side in x.shape[1:3])
    return jnp.einsum("jw,bhjc->bhwc", columns, jnp.einsum("ih,biwc->bhwc", rows, x))


def interpolation(side: int) -> np.ndarray:
    """Return the weights of linear interpolation along one axis, float64 [2 side, side]: row i makes pixel i.

    >>> interpolation(2)
    array([[1.  , 0.  ],
           [0.75, 0.25],
           [0.25, 0.75],
           [0.  , 1.  ]])
    """
    centres = np.clip((np.arange(2 * side) - 0.5) / 2, 0, side - 1)  # in pixels of the input
    return np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(side)))


def _data_transform(x: Array) -> tuple[Array, ...]:
    """Apply Winograd's data transform: [B, H, W, C] -> sixteen [B, H/2, W/2, C]."""

    def along(x: Array, axis: int) -> tuple[Array, ...]:
        last = x.shape[axis] - 3
        d0, d1, d2, d3 = (lax.slice_in_dim(x, start, start + last, 2, axis) for start in range(4))
        return d0 - d2, d1 + d2, d2 - d1, d1 - d3

    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return tuple(tile for row in along(padded, 1) for tile in along(row, 2))


def _data_transform_transposed(tiles: tuple[Array, ...]) -> Array:
    """Apply the transpose of `_data_transform`."""

    def along(m0: Array, m1: Array, m2: Array, m3: Array, *, axis: int) -> Array:
        before, after = [(0, 0)] * m0.ndim, [(0, 0)] * m0.ndim
        before[axis], after[axis] = (1, 0), (0, 1)
        even = jnp.pad(m0, after) + jnp.pad(m1 + m2 - m0, before)
        odd = jnp.pad(m1 - m2 + m3, after) - jnp.pad(m3, before)
        x = jnp.stack([even, odd], axis + 1)
        return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

    rows = [along(*tiles[4 * i : 4 * i + 4], axis=2) for i in range(4)]
    return along(*rows, axis=1)[:, 1:-1, 1:-1]


def _kernel_transform(kernel: Array) -> tuple[Array, ...]:
    """Apply Winograd's kernel transform: [3, 3, in, out] -> sixteen [in, out]."""

    def along(g: Array) -> tuple[Array, ...]:
        half, middle = 0.5 * (g[0] + g[2]), 0.5 * g[1]
        return g[0], half + middle, half - middle, g[2]

    return tuple(k for row in along(kernel) for k in along(row))


def _kernel_transform_transposed(parts: tuple[Array, ...]) -> Array:
    """Apply the transpose of `_kernel_transform`."""

    def along(k0: Array, k1: Array, k2: Array, k3: Array) -> Array:
        half = 0.5 * (k1 + k2)
        return jnp.stack([k0 + half, 0.5 * (k1 - k2), half + k3])

    return along(*(along(*parts[4 * i : 4 * i + 4]) for i in range(4)))


def _output_transform(m: tuple[Array, ...]) -> Array:
    """Apply Winograd's output transform: sixteen [B, t, s, C] -> [B, 2t, 2s, C]."""

    def along(m0: Array, m1: Array, m2: Array, m3: Array, *, axis: int) -> Array:
        y = jnp.stack([m0 + m1 + m2, m1 - m2 - m3], axis + 1)
        return y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :])

    return along(*(along(*m[4 * i : 4 * i + 4], axis=2) for i in range(4)), axis=1)


def _output_transform_transposed(y: Array) -> tuple[Array, ...]:
    """Apply the transpose of `_output_transform`."""

    def along(y: Array, axis: int) -> tuple[Array, ...]:
        y0, y1 = (lax.slice_in_dim(y, start, None, 2, axis) for start in (0, 1))
        return y0, y0 + y1, y0 - y1, -y1

    return tuple(m for row in along(y, 1) for m in along(row, 2))


def _extract_patches(x: Array) -> Array:
    """Copy the pixels that each output sees: [B, H, W, C] -> [B, H, W, 9, C]."""
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.stack([padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], 3)


def _add_patches(patches: Array) -> Array:
    """Apply the transpose of `_extract_patches`: each pixel is the sum of its places in up to nine patches."""

    def place(i: int, j: int) -> Array:
        return jnp.pad(patches[:, :, :, 3 * i + j], ((0, 0), (i, 2 - i), (j, 2 - j), (0, 0)))

    rows = [place(i, 0) + place(i, 1) + place(i, 2) for i in range(3)]
    return (rows[0] + rows[1] + rows[2])[:, 1:-1, 1:-1]


data_transform, _ = linear_with_transpose(_data_transform, _data_transform_transposed)
kernel_transform, _ = linear_with_transpose(_kernel_transform, _kernel_transform_transposed)
output_transform, _ = linear_with_transpose(_output_transform, _output_transform_transposed)
extract_patches, _ = linear_with_transpose(_extract_patches, _add_patches)
