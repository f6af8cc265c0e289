"""Rotated and mirrored copies of small images, distances that are minimised over them, and whether orientation is free.

A copy that is turned by any angle, or mirrored, must count as a copy if the data has no preferred orientation. All of this
works on 32×32 images, lightly blurred, so that the interpolation of a rotation does not count as a difference.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix

SIDE = 32
"""Pixels a side of the images that distances are taken on."""
ANGLES = 72
"""Rotations in steps of 5 degrees. Each is also mirrored, if mirrors are asked for."""
BLUR = 0.7
"""Standard deviation of the Gaussian blur, in pixels at `SIDE`."""
FREE_BELOW = 1.25
"""Between discs (0.96 and 1.13 on two sets) and images with an up and a down (6.8 on boxes in front of a gradient)."""
ROUNDING = 0.5
"""Grey levels. float32 puts two equal images up to 0.15 apart (seen on emblems), so smaller distances than this are 0."""
BLOCK_BYTES = 2**26  # of the turned copies that are held at once


@dataclass(frozen=True)
class Turns:
    """The transformations that a distance is minimised over: `angles` rotations, each also mirrored if `mirrors`."""

    angles: int = ANGLES
    mirrors: bool = True

    @property
    def count(self) -> int:
        """T, the number of transformations. The first one changes nothing."""
        return self.angles * (2 if self.mirrors else 1)


UNTURNED = Turns(angles=1, mirrors=False)


def shrink(images_u8: np.ndarray, *, side: int = SIDE) -> np.ndarray:
    """Return images uint8 [N, H, W, C] averaged down to float32 [N, side, side, C] in [0, 1].

    H = W. If H is a multiple of `side`, each pixel is the mean of a block; otherwise the image is first enlarged by repeating
    its pixels to the least common multiple, which is the same area average.
    """
    count, height, _, channels = images_u8.shape
    factor = np.lcm(height, side) // height
    if factor > 1:
        images_u8 = images_u8.repeat(factor, axis=1).repeat(factor, axis=2)
    block = images_u8.shape[1] // side
    blocks = images_u8.reshape(count, side, block, side, block, channels)
    return blocks.mean(axis=(2, 4), dtype=np.float32) / np.float32(255)


def soften(images_u8: np.ndarray) -> np.ndarray:
    """Return images uint8 [N, H, W, C] as float32 [N, SIDE, SIDE, C] in [0, 1], lightly blurred."""
    return gaussian_filter(shrink(images_u8), (0, BLUR, BLUR, 0), mode="nearest")


def turn(images: np.ndarray, index: int, turns: Turns) -> np.ndarray:
    """Return images float32 [N, S, S, C] under transformation `index` of `turns`, in the same form.

    Indices below `turns.angles` rotate by index · 360° / angles, counter-clockwise; those above mirror left to right first.
    Rotation is bilinear around the centre; outside of the image its edge continues.
    """
    mirror, step = divmod(index, turns.angles)
    count, side, _, channels = images.shape
    if mirror:
        images = images[:, :, ::-1]
    if step == 0:
        return np.ascontiguousarray(images)
    columns = images.transpose(1, 2, 0, 3).reshape(side * side, count * channels)
    turned = _rotation(side, step, turns.angles) @ columns
    return np.ascontiguousarray(turned.reshape(side, side, count, channels).transpose(2, 0, 1, 3))


@cache
def _rotation(side: int, step: int, angles: int) -> csr_matrix:
    """Return the rotation of flat images as a sparse matrix [S², S²] with four weights a row."""
    angle, centre = 2 * np.pi * step / angles, (side - 1) / 2
    y, x = np.meshgrid(np.arange(side) - centre, np.arange(side) - centre, indexing="ij")
    source_x = np.clip(np.cos(angle) * x - np.sin(angle) * y + centre, 0, side - 1).ravel()
    source_y = np.clip(np.sin(angle) * x + np.cos(angle) * y + centre, 0, side - 1).ravel()
    left, top = (np.minimum(source.astype(int), side - 2) for source in (source_x, source_y))
    across, down = source_x - left, source_y - top
    rows = np.tile(np.arange(side * side), 4)
    columns = np.concatenate([(top + i) * side + left + j for i in (0, 1) for j in (0, 1)])
    weights = np.concatenate([(down if i else 1 - down) * (across if j else 1 - across) for i in (0, 1) for j in (0, 1)])
    return csr_matrix((weights.astype(np.float32), (rows, columns)), shape=(side * side, side * side))


def distances(images: np.ndarray, others: np.ndarray, turns: Turns) -> np.ndarray:
    """Return the distance of each image [N, S, S, C] to each turned one of `others` [M, S, S, C], float32 [N, M].

    d(x, y) = min over turns t of the root mean square of x − t(y), in grey levels (0 to 255). Images are from `soften`.
    Below `ROUNDING` it is 0: the images are equal, or too alike to tell apart.
    """
    mean = others.mean((0, 1, 2), keepdims=True)  # [1, 1, 1, C]; a turn keeps it. Without it less is lost to rounding.
    flat, others = (images - mean).reshape(len(images), -1), others - mean
    squares = np.einsum("nd,nd->n", flat, flat)[:, None]
    nearest = np.full((len(images), len(others)), np.inf, np.float32)
    for rows, indices in _blocks(len(others), turns.count, flat.shape[1]):
        turned = np.concatenate([turn(others[rows], index, turns) for index in indices]).reshape(-1, flat.shape[1])  # [T·M, D]
        found = squares + np.einsum("md,md->m", turned, turned)[None] - 2 * (flat @ turned.T)
        found = found.reshape(len(images), len(indices), -1).min(1)  # [N, M]
        np.minimum(nearest[:, rows], found, out=nearest[:, rows])
    found = np.sqrt(np.maximum(nearest, 0) / flat.shape[1]) * np.float32(255)
    return np.where(found < ROUNDING, np.float32(0), found)


def _blocks(count: int, turns: int, dimensions: int) -> Iterator[tuple[slice, range]]:
    """Yield slices of `count` images, each with ranges of `turns`: together all of them, and each at most `BLOCK_BYTES`.

    A product for each turn would be small, and the threads of BLAS would wait for each other longer than they compute.
    """
    most = max(1, BLOCK_BYTES // (4 * dimensions))
    for start in range(0, count, most):
        rows = slice(start, min(start + most, count))
        step = most // (rows.stop - start)
        for first in range(0, turns, step):
            yield rows, range(first, min(first + step, turns))


def align(images: np.ndarray, template: np.ndarray, turns: Turns) -> np.ndarray:
    """Return each image [N, S, S, C] under the transformation that brings it nearest to `template` [S, S, C]."""
    best = best_turns(images, template, turns)
    aligned = np.empty_like(images)
    for index in np.unique(best):
        aligned[best == index] = turn(images[best == index], int(index), turns)
    return aligned


def best_turns(images: np.ndarray, template: np.ndarray, turns: Turns) -> np.ndarray:
    """Return the index of the transformation that brings each image [N, S, S, C] nearest to `template` [S, S, C]: int [N]."""
    # Turning the template back by each turn finds the best turn of every image with one product.
    inverse = [_inverse(index, turns) for index in range(turns.count)]
    turned = np.stack([turn(template[None], index, turns)[0].ravel() for index in inverse])
    flat = images.reshape(len(images), -1)
    return np.argmin(np.einsum("td,td->t", turned, turned)[None] - 2 * (flat @ turned.T), axis=1)


def _inverse(index: int, turns: Turns) -> int:
    """Return the transformation that undoes `index`: a mirrored rotation undoes itself."""
    mirror, step = divmod(index, turns.angles)
    return index if mirror else -step % turns.angles


def find_template(images: np.ndarray, turns: Turns, *, rounds: int = 5) -> np.ndarray:
    """Return the mean [S, S, C] of images [N, S, S, C] after each is turned towards it.

    It starts from the image nearest to the mean of all, and repeats `rounds` times: align all to the template, average.
    Source: generalised Procrustes analysis, Gower 1975, restricted to the given turns.
    """
    mean = images.mean(0)
    template = images[np.argmin(((images - mean) ** 2).sum((1, 2, 3)))]
    for _ in range(rounds):
        template = align(images, template, turns).mean(0)
    return template


@dataclass(frozen=True)
class Orientation:
    """`ratio` says how much farther a turned image is from its nearest other image than it is unturned; 1: no farther."""

    ratio: float
    mirror_ratio: float

    @property
    def is_free(self) -> bool:
        """Whether turned and mirrored images look as much like the data as the images themselves."""
        return self.ratio <= FREE_BELOW and self.mirror_ratio <= FREE_BELOW

    @property
    def turns(self) -> Turns:
        """The transformations to minimise distances over: all if orientation is free, mirrors alone, or none."""
        if self.is_free:
            return Turns()
        return Turns(angles=1, mirrors=self.mirror_ratio <= FREE_BELOW)


def measure_orientation(images: np.ndarray, *, angles: int = 24, most: int = 1000) -> Orientation:
    """Measure whether the images [N, S, S, C], from `soften`, have a preferred orientation. N ≥ 3.

    For each image: its distance to the nearest OTHER image, averaged over its turned copies, divided by the same distance of the
    image itself. The ratio is the median over images. At most the first `most` images are taken.
    """
    images = images[:most]

    def nearest(turned: np.ndarray) -> np.ndarray:
        found = distances(turned, images, UNTURNED)
        np.fill_diagonal(found, np.inf)
        return found.min(1)

    own = np.maximum(nearest(images), 1e-6)
    turned = np.mean([nearest(turn(images, index, Turns(angles))) for index in range(1, angles)], axis=0)
    mirrored = nearest(turn(images, 1, Turns(angles=1)))
    return Orientation(float(np.median(turned / own)), float(np.median(mirrored / own)))
