"""Draw the embedded images: a hundred emblems in the style of the original's, from the shapes in `motifs.py`.

An emblem is a pure function of its index and size, with the same bytes on every machine: a hash makes every choice, every shape
is a polygon filled in integer arithmetic on a canvas eight times as large, and Pillow averages it down in integers too.
"""

import hashlib
from functools import cache

import numpy as np
from PIL import Image

from sharingan_jax.data.emblems.motifs import MOTIFS, Canvas, Colour, Knobs

CLASSES: tuple[str, ...] = tuple(MOTIFS)
"""Names of the motifs; emblem i shows CLASSES[i % len(CLASSES)]."""

OVERSAMPLING = 8
WHITE: Colour = (255, 255, 255)
REDS: tuple[Colour, ...] = ((226, 22, 30), (206, 24, 30), (238, 40, 40), (186, 20, 26), (214, 34, 22))


def draw_emblems(count: int = 100, *, size: int = 64, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return N = `count` emblems from emblem `first` on, uint8 [N, size, size, 3], and their classes, int64 [N], in CLASSES."""
    labels = np.arange(first, first + count, dtype=np.int64) % len(CLASSES)
    return np.stack([draw_emblem(i, size=size) for i in range(first, first + count)]), labels


@cache
def draw_emblem(index: int, *, size: int = 64) -> np.ndarray:
    """Draw emblem `index` (from 0), uint8 [size, size, 3], read-only."""
    choose = _knobs(index)
    canvas = _RasterCanvas(size * OVERSAMPLING, radius=choose("radius", 0.84, 0.95), turn=choose("turn", 0.0, 360.0))
    _draw_iris(canvas, choose)
    MOTIFS[CLASSES[index % len(CLASSES)]](canvas, choose)
    image = np.asarray(canvas.image.reduce(OVERSAMPLING))
    image.setflags(write=False)
    return image


def _knobs(index: int) -> Knobs:
    """Return `choose(name, low, high)`: a number in [low, high), uniform over emblems, from (index, name) alone."""

    def choose(name: str, low: float, high: float) -> float:
        word = hashlib.blake2b(f"emblem {index} {name}".encode(), digest_size=8).digest()
        return low + (high - low) * (int.from_bytes(word, "big") / 2**64)

    return choose


def _draw_iris(canvas: Canvas, choose: Knobs) -> None:
    """Draw a black rim and a red iris, either flat or darker towards the rim."""
    red = REDS[int(choose("red", 0, len(REDS)))]
    rim = choose("rim", 0.05, 0.09)
    canvas.red = red
    canvas.disc(0, 0, 1.0, canvas.black)
    shading = max(0.0, choose("shading", -0.5, 0.5))  # Half of the irises are flat.
    rings = 24 if shading else 1
    for ring in range(rings):
        t = ring / 23  # 0 at the rim, 1 at the centre
        light = 1 - shading * (1 - t)
        canvas.disc(0, 0, (1 - rim) * (1 - 0.75 * t), (int(red[0] * light), int(red[1] * light), int(red[2] * light)))


class _RasterCanvas(Canvas):
    """The unit disc, rotated, on an array of pixels; a pixel holds an index into the list of colours used."""

    def __init__(self, side: int, *, radius: float, turn: float) -> None:
        self._pixels = np.zeros((side, side), np.uint8)
        self._colours = [WHITE]
        self._radius = radius
        angle = np.deg2rad(turn)
        self._rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        places = (points @ self._rotation.T * self._radius + 1) * (len(self._pixels) / 2)
        corners = np.floor(places + 0.5).astype(np.int64)
        left, top = corners.min(0)
        inside = fill_polygon(corners - [left, top])
        window = self._pixels[top : top + inside.shape[0], left : left + inside.shape[1]]
        if colour not in self._colours:
            self._colours.append(colour)
        np.copyto(window, np.uint8(self._colours.index(colour)), where=inside)

    @property
    def image(self) -> Image.Image:
        image = Image.fromarray(self._pixels)
        image.putpalette(np.array(self._colours, np.uint8).tobytes())
        return image.convert("RGB")


def fill_polygon(corners: np.ndarray) -> np.ndarray:
    """Return the pixels whose centres lie inside a polygon [P, 2] of integers (x, y) from 0, by the even–odd rule: bool [H, W].

    All arithmetic is in integers. Pillow's own polygons differ between its releases (11.1 and 11.2 draw different edges), and
    floating-point division may round differently on another processor.
    """
    width, height = corners.max(0)
    ends = np.roll(corners, -1, axis=0)
    downward = (corners[:, 1] < ends[:, 1])[:, None]
    (x0, y0), (x1, y1) = np.where(downward, corners, ends).T, np.where(downward, ends, corners).T
    drop = y1 - y0
    edge = np.repeat(np.arange(len(corners)), drop)  # Each edge, once for every row it crosses.
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(drop) - drop, drop) + y0[edge]
    # Row y has its centre at y + 1/2, column x at x + 1/2; multiplying by twice the edge's drop keeps everything an integer.
    crossing = 2 * (x0 * drop)[edge] + (2 * (rows - y0[edge]) + 1) * (x1 - x0)[edge]
    first_right = -((drop[edge] - crossing) // (2 * drop[edge]))  # First column whose centre is not left of the crossing.
    flips = np.zeros((height, width + 1), np.uint8)
    np.add.at(flips, (rows, np.clip(first_right, 0, width)), 1)
    return np.bitwise_xor.accumulate(flips & 1, axis=1)[:, :width].astype(bool)
