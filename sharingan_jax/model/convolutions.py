"""The three maps a DCGAN is built from, as exact matrix products: 4×4 kernels, stride 2 down or up, and the 4×4 ↔ 1×1 ends.

Images are [B, H, W, C], kernels [4, 4, in, out]. Transposed convolutions are written y[2i − 1 + k] += x[i] w[k], which is
PyTorch's with the kernel's axes moved and no flip.

Plain transposed convolutions are slow on a CPU (XLA convolves with the zeros between the pixels, and its kernel gradient is
worse). `"winograd"` writes stride 2 as stride 1 on 2×2 blocks of pixels (space to depth), where the kernel is 2×2, and applies
Winograd's F(2×2, 2×2) to it: nine matrix products for sixteen, with coefficients 0, +1 and −1 only. They are the same polynomial
in x and w: only the rounding differs. `"direct"` leaves the choice of algorithm to XLA, as is best on a TPU.

On a GPU cuDNN convolves in float32 at a fifth of the rate of a large product, and stacked seeds make grouped convolutions, whose
gradients are slower still. `"patches"` copies the 4×4 pixels that each output sees into a matrix
and leaves one large product to cuBLAS (im2col); stacked seeds make it a batched product. Its terms are summed as the definition
sums them, so it keeps the accuracy of `"direct"` in bfloat16 too, where Winograd's sums of rounded terms do not.

Paper: Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks"; in one dimension y0 = d0 g0 + d1 g1 and
y1 = d1 g0 + d2 g1 are m0 + m1 and m1 − m2 with m0 = (d0 − d1) g0, m1 = d1 (g0 + g1), m2 = (d1 − d2) g1.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from sharingan_jax.model.convolutions_3x3 import direct_same, patches_same, winograd_same
from sharingan_jax.model.linear_maps import linear_with_transpose

ConvImpl = Literal["winograd", "direct", "patches"]
Convolve = Callable[[Array, Array], Array]

_NUMBERS = ("NHWC", "HWIO", "NHWC")


class Convolutions(NamedTuple):
    """The maps of one implementation: `down` halves the sides, `up` doubles them, `same`, of 3×3 kernels, keeps them.

    `project_down` takes 4×4 to 1×1 and `project_up` 1×1 to 4×4: plain matrix products in every implementation.
    """

    down: Convolve
    up: Convolve
    same: Convolve
    project_down: Convolve
    project_up: Convolve


def convolutions(conv_impl: ConvImpl) -> Convolutions:
    """Return the maps of an implementation."""
    match conv_impl:
        case "winograd":
            return Convolutions(winograd_down, winograd_up, winograd_same, project_down, project_up)
        case "direct":
            return Convolutions(direct_down, direct_up, direct_same, project_down, project_up)
        case "patches":
            return Convolutions(patches_down, patches_up, patches_same, project_down, project_up)
    raise ValueError(f"no implementation {conv_impl!r} of convolutions")


def fastest_conv_impl(backend: str) -> ConvImpl:
    """Return the fastest implementation on a JAX backend: Winograd's on a CPU, patches on a GPU, XLA's own on a TPU.

    On an H100 patches won over XLA's own convolutions in every dtype and at every batch that was measured, and over Winograd's
    products at batch 25 (docs/performance.md). So the rule needs no layer and no batch.
    """
    fastest: dict[str, ConvImpl] = {"cpu": "winograd", "gpu": "patches"}
    return fastest.get(backend, "direct")


def project_down(x: Array, kernel: Array) -> Array:
    """Convolve [B, 4, 4, in] without padding, which leaves one position: [B, 1, 1, out]."""
    y = x.reshape(x.shape[0], -1) @ kernel.reshape(-1, kernel.shape[-1])  # [B, out]
    return y[:, None, None, :]


def project_up(x: Array, kernel: Array) -> Array:
    """Convolve [B, 1, 1, in], transposed and without padding: [B, 4, 4, out]."""
    kh, kw, c, out = kernel.shape
    matrix = kernel.transpose(2, 0, 1, 3).reshape(c, -1)  # [in, 4*4*out]
    return (x.reshape(x.shape[0], c) @ matrix).reshape(-1, kh, kw, out)


def direct_down(x: Array, kernel: Array) -> Array:
    """Convolve with stride 2 and padding 1: [B, H, W, in] -> [B, H/2, W/2, out]."""
    return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=_NUMBERS)


def direct_up(x: Array, kernel: Array) -> Array:
    """Convolve, transposed, with stride 2 and padding 1: [B, H, W, in] -> [B, 2H, 2W, out]."""
    flipped = kernel[::-1, ::-1]
    return lax.conv_general_dilated(x, flipped, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=_NUMBERS)


def winograd_down(x: Array, kernel: Array) -> Array:
    """Compute `direct_down` by nine products over tiles of 2×2 outputs; H and W are multiples of 4."""
    b, h, w, c = x.shape
    out = kernel.shape[-1]
    products = [
        (tile.reshape(-1, 4 * c) @ k.reshape(4 * c, out)).reshape(b, h // 4, w // 4, out)
        for tile, k in zip(data_transform(x), kernel_transform(kernel), strict=True)
    ]
    return output_transform(tuple(products))


def winograd_up(x: Array, kernel: Array) -> Array:
    """Compute `direct_up` by nine products over tiles of 2×2 inputs; H and W are even. It is the transpose of `winograd_down`."""
    b, h, w, c = x.shape
    out = kernel.shape[-1]
    products = [
        (part.reshape(-1, c) @ k.transpose(2, 0, 1, 3).reshape(c, 4 * out)).reshape(b, h // 2, w // 2, 2, 2, out)
        for part, k in zip(output_transform_transposed(x), kernel_transform(kernel), strict=True)
    ]
    return data_transform_transposed(tuple(products))


def patches_down(x: Array, kernel: Array) -> Array:
    """Compute `direct_down` by one product over patches of 4×4 pixels; H and W are even."""
    b, h, w, c = x.shape
    out = kernel.shape[-1]
    y = extract_patches(x).reshape(-1, 16 * c) @ kernel.reshape(16 * c, out)  # [B*H/2*W/2, 16*in] @ [16*in, out]
    return y.reshape(b, h // 2, w // 2, out)


def patches_up(x: Array, kernel: Array) -> Array:
    """Compute `direct_up` by one product that makes a patch of 4×4 pixels from each input; patches that overlap are added."""
    b, h, w, c = x.shape
    out = kernel.shape[-1]
    matrix = kernel.transpose(2, 0, 1, 3).reshape(c, 16 * out)  # [in, 16*out]
    return add_patches((x.reshape(-1, c) @ matrix).reshape(b, h, w, 4, 4, out))


def box_kernel(kernel: Array) -> Array:
    """Return the 4×4 kernel [4, 4, in, out] that convolves with a 3×3 kernel [3, 3, in, out] and with a 2×2 box of ones.

    `up` with it repeats each pixel twice along both axes and then convolves with the 3×3 kernel, padded by 1: the four taps that
    see the same pixel are one. `down` with a quarter of it convolves with the 3×3 kernel and then takes the mean of 2×2 pixels.
    Both cost what the 4×4 kernel costs. Unlike a free 4×4 kernel, these treat even and odd pixels of a flat area alike.
    Paper: Odena et al. 2016, "Deconvolution and Checkerboard Artifacts".
    """
    rows = jnp.pad(kernel, ((0, 1), (0, 0), (0, 0), (0, 0))) + jnp.pad(kernel, ((1, 0), (0, 0), (0, 0), (0, 0)))
    return jnp.pad(rows, ((0, 0), (0, 1), (0, 0), (0, 0))) + jnp.pad(rows, ((0, 0), (1, 0), (0, 0), (0, 0)))


def upsample_and_convolve(up: Convolve) -> Convolve:
    """Return `(x [B, H, W, in], kernel [3, 3, in, out]) -> [B, 2H, 2W, out]`: nearest-neighbour upsampling, then convolution.

    Torch: `conv2d(interpolate(x, scale_factor=2), weight, padding=1)` with the kernel's two spatial axes flipped.
    """
    return lambda x, kernel: up(x, box_kernel(kernel))


def convolve_and_pool(down: Convolve) -> Convolve:
    """Return `(x [B, H, W, in], kernel [3, 3, in, out]) -> [B, H/2, W/2, out]`: convolution, then the mean of 2×2 pixels.

    Torch: `avg_pool2d(conv2d(x, weight, padding=1), 2)`.
    """
    return lambda x, kernel: down(x, 0.25 * box_kernel(kernel))


def _pad_and_block(image: Array) -> Array:
    """Cut the image, padded by 1, into blocks of 2×2 pixels: [B, H, W, C] -> [B, H/2 + 1, W/2 + 1, 2, 2, C]."""
    b, h, w, c = image.shape
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return padded.reshape(b, h // 2 + 1, 2, w // 2 + 1, 2, c).transpose(0, 1, 3, 2, 4, 5)


def _unblock_and_crop(blocks: Array) -> Array:
    """Apply the transpose of `_pad_and_block`: [B, r, s, 2, 2, C] -> [B, 2r − 2, 2s − 2, C]."""
    b, rows, columns, _, _, c = blocks.shape
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * rows, 2 * columns, c)[:, 1:-1, 1:-1]


def _extract_patches(x: Array) -> Array:
    """Copy the pixels that each output of a stride-2 convolution sees: [B, H, W, C] -> [B, H/2, W/2, 4, 4, C]."""
    b, h, w, c = x.shape
    rows, columns = h // 2, w // 2
    blocks = _pad_and_block(x)
    four = [blocks[:, i : i + rows, j : j + columns] for i in (0, 1) for j in (0, 1)]  # [B, H/2, W/2, 2, 2, C] each
    patches = jnp.stack(four, 3).reshape(b, rows, columns, 2, 2, 2, 2, c)  # [.., block row, block column, row, column, C]
    return patches.transpose(0, 1, 2, 3, 5, 4, 6, 7).reshape(b, rows, columns, 4, 4, c)


def _add_patches(patches: Array) -> Array:
    """Apply the transpose of `_extract_patches`: each pixel is the sum of its places in up to four patches."""
    b, rows, columns, _, _, c = patches.shape
    parts = patches.reshape(b, rows, columns, 2, 2, 2, 2, c)  # [.., block row, row, block column, column, C]

    def place(i: int, j: int) -> Array:
        return jnp.pad(parts[:, :, :, i, :, j], ((0, 0), (i, 1 - i), (j, 1 - j), (0, 0), (0, 0), (0, 0)))

    return _unblock_and_crop(place(0, 0) + place(0, 1) + place(1, 0) + place(1, 1))


def _data_transform(x: Array) -> tuple[Array, ...]:
    """Apply Winograd's data transform to the image's blocks of 2×2 pixels: [B, H, W, C] -> nine [B, H/4, W/4, 2, 2, C]."""

    def along(x: Array, axis: int) -> tuple[Array, Array, Array]:
        size = x.shape[axis]
        d0, d1, d2 = (lax.slice_in_dim(x, start, start + size - 2, 2, axis) for start in (0, 1, 2))
        return d0 - d1, d1, d1 - d2

    return tuple(tile for row in along(_pad_and_block(x), 1) for tile in along(row, 2))


def _data_transform_transposed(tiles: tuple[Array, ...]) -> Array:
    """Apply the transpose of `_data_transform`: nine [B, t, s, 2, 2, C] -> [B, 4t, 4s, C]."""

    def along(m0: Array, m1: Array, m2: Array, *, axis: int) -> Array:
        before, after = [(0, 0)] * m0.ndim, [(0, 0)] * m0.ndim
        before[axis], after[axis] = (1, 0), (0, 1)
        even = jnp.pad(m0, after) - jnp.pad(m2, before)
        odd = jnp.pad(m1 + m2 - m0, after)
        x = jnp.stack([even, odd], axis + 1)
        x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
        return lax.slice_in_dim(x, 0, x.shape[axis] - 1, 1, axis)

    rows = [along(*tiles[3 * i : 3 * i + 3], axis=2) for i in range(3)]
    return _unblock_and_crop(along(*rows, axis=1))


def _kernel_transform(kernel: Array) -> tuple[Array, ...]:
    """Apply Winograd's kernel transform: [4, 4, in, out] -> nine [2, 2, in, out]."""
    blocks = kernel.reshape(2, 2, 2, 2, *kernel.shape[2:])  # [block row, row, block column, column, in, out]

    def along(g: Array) -> tuple[Array, Array, Array]:
        return g[0], g[0] + g[1], g[1]

    return tuple(k for row in along(blocks) for k in along(row.transpose(1, 0, 2, 3, 4)))


def _kernel_transform_transposed(g: tuple[Array, ...]) -> Array:
    """Apply the transpose of `_kernel_transform`: nine [2, 2, in, out] -> [4, 4, in, out]."""
    rows = [(g[3 * i] + g[3 * i + 1], g[3 * i + 1] + g[3 * i + 2]) for i in range(3)]
    # blocks[block row][block column] is [row, column, in, out]
    blocks = [[rows[i][j] + rows[i + 1][j] for j in (0, 1)] for i in (0, 1)]
    parts = [blocks[i][j][row] for i in (0, 1) for row in (0, 1) for j in (0, 1)]  # The sixteen taps in row-major order.
    return jnp.concatenate(parts).reshape(4, 4, *g[0].shape[2:])


def _output_transform(m: tuple[Array, ...]) -> Array:
    """Apply Winograd's output transform: nine [B, t, s, C] -> [B, 2t, 2s, C]."""
    rows = [(m[3 * i] + m[3 * i + 1], m[3 * i + 1] - m[3 * i + 2]) for i in range(3)]
    upper = jnp.stack([rows[0][j] + rows[1][j] for j in (0, 1)], 3)
    lower = jnp.stack([rows[1][j] - rows[2][j] for j in (0, 1)], 3)
    y = jnp.stack([upper, lower], 2)  # [B, t, 2, s, 2, C]
    b, t, _, s, _, c = y.shape
    return y.reshape(b, 2 * t, 2 * s, c)


def _output_transform_transposed(y: Array) -> tuple[Array, ...]:
    """Apply the transpose of `_output_transform`: [B, 2t, 2s, C] -> nine [B, t, s, C]."""
    b, h, w, c = y.shape
    y = y.reshape(b, h // 2, 2, w // 2, 2, c)

    def along(row: Array) -> tuple[Array, Array, Array]:
        y0, y1 = row[:, :, :, 0], row[:, :, :, 1]
        return y0, y0 + y1, -y1

    upper, lower = y[:, :, 0], y[:, :, 1]
    return along(upper) + along(upper + lower) + along(-lower)


extract_patches, add_patches = linear_with_transpose(_extract_patches, _add_patches)
data_transform, data_transform_transposed = linear_with_transpose(_data_transform, _data_transform_transposed)
kernel_transform, _ = linear_with_transpose(_kernel_transform, _kernel_transform_transposed)
output_transform, output_transform_transposed = linear_with_transpose(_output_transform, _output_transform_transposed)
