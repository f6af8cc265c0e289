"""What a data set's images are like, before anything is trained: sizes, the ground they lie on, which ones to show."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sharingan_jax.data.dataset import Original, evenly

PLAIN_WITHIN = 16
"""Grey levels in each channel by which a pixel may differ from the ground and still belong to it. Chosen, not measured."""
PLAIN_SHARE = 0.8
"""A ground is plain if this share of the pixels at the images' borders belongs to it."""
ENLARGED = 1.5
"""An image that is enlarged more than this looks blurred. Chosen, not measured."""
CUT_SHARE = 0.25
"""A centre crop cuts much of an image if it removes at least this share of its longer side."""


@dataclass(frozen=True)
class Range:
    """The smallest, the middle and the largest of some values."""

    least: float
    median: float
    most: float


@dataclass(frozen=True)
class Sizes:
    """Sides before resizing, in pixels, and aspects, longer side / shorter side.

    `enlarged` images have to be enlarged more than `ENLARGED` times. A centre crop would cut `CUT_SHARE` or more of `cut` images.
    """

    width: Range
    height: Range
    aspect: Range
    enlarged: int
    cut: int
    formats: dict[str, int]


@dataclass(frozen=True)
class Ground:
    """What the images lie on, from their border pixels: `colour` is the median of each channel, 0 to 255.

    `share` of the pixels have this colour, within `PLAIN_WITHIN`. `white_share` of them are as near to white.
    """

    colour: tuple[int, ...]
    share: float
    white_share: float

    @property
    def is_plain(self) -> bool:
        """Whether nearly all images lie on one colour, so that they can be turned and shifted without visible edges."""
        return self.share >= PLAIN_SHARE


@dataclass(frozen=True)
class NearDuplicate:
    """Two images that look alike: their names, and the share of differing bits of their hashes, up to `split.NEAR`."""

    first: str
    second: str
    distance: float


@dataclass(frozen=True)
class Colours:
    """Mean and standard deviation of each channel, in grey levels 0 to 255, the mean saturation, 0 to 1, and the ground."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    saturation: float
    ground: Ground


@dataclass(frozen=True)
class Directions:
    """How much farther an image is from its nearest other image if it is turned, or mirrored; 1: no farther.

    Turns count as free if the ratio says so, and so do mirror images: then such images look as much like the data as before.
    """

    turned_ratio: float
    mirrored_ratio: float
    turns_are_free: bool
    mirrors_are_free: bool


@dataclass(frozen=True)
class DataReport:
    """What `inspect_images` finds. Skipped and bad files have their reasons; `copies` map a name to the first one's name.

    Colours, near duplicates (without copies) and directions are those of `measured` images, spread evenly over all of them.
    `sizes` is None if the source does not know them, and `directions` if there are fewer than 3 different images. `costs` and
    `advice` are lines.
    """

    place: str
    kind: str
    count: int
    image_shape: tuple[int, int, int]
    digest: str
    skipped: dict[str, str]
    bad: dict[str, str]
    remarks: tuple[str, ...]
    classes: dict[str, int]
    sizes: Sizes | None
    copies: dict[str, str]
    measured: int
    near_duplicates: tuple[NearDuplicate, ...]
    colours: Colours
    directions: Directions | None
    costs: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    format: int = 1


def measure_sizes(originals: Sequence[Original], *, size: int) -> Sizes | None:
    """Return the sizes of images that become `size` pixels a side; None if the source does not know them."""
    if not originals:
        return None
    sides = np.array([(each.width, each.height) for each in originals], np.int64)  # [N, 2]
    short, long = sides.min(1), sides.max(1)
    formats = Counter(each.format for each in originals if each.format)
    return Sizes(
        width=_range(sides[:, 0]),
        height=_range(sides[:, 1]),
        aspect=_range(long / short),
        enlarged=int((short * ENLARGED < size).sum()),
        cut=int((1 - short / long >= CUT_SHARE).sum()),
        formats=dict(sorted(formats.items(), key=lambda item: (-item[1], item[0]))),
    )


def _range(values: np.ndarray) -> Range:
    return Range(float(values.min()), float(np.median(values)), float(values.max()))


def measure_ground(images_u8: np.ndarray) -> Ground:
    """Return the ground of images uint8 [N, H, W, 1 or 3], from their outermost pixels: the first and last row and column."""
    rows = images_u8[:, [0, -1]].reshape(-1, images_u8.shape[-1])
    columns = images_u8[:, 1:-1, [0, -1]].reshape(-1, images_u8.shape[-1])
    border = np.concatenate([rows, columns]).astype(np.int64)  # [P, C]
    colour = np.floor(np.median(border, axis=0) + 0.5).astype(np.int64)  # [C]
    share = (np.abs(border - colour[None]) <= PLAIN_WITHIN).all(1).mean()
    white = (border >= 255 - PLAIN_WITHIN).all(1).mean()
    return Ground(tuple(colour.tolist()), float(share), float(white))


def choose_shown(labels: np.ndarray | None, *, count: int, most: int) -> list[tuple[int, np.ndarray]]:
    """Return (class, indices) for each group of a contact sheet of about `most` images; the class is −1 without labels.

    With labels each class has the same number of images, at least one, or all of its own if they are fewer.
    """
    if labels is None:
        return [(-1, evenly(count, most))]
    present = np.unique(labels)
    each = max(1, most // len(present))
    members = [np.flatnonzero(labels == label) for label in present]
    return [(int(label), own[evenly(len(own), each)]) for label, own in zip(present, members, strict=True)]
