"""A data set in which each image also appears turned and mirrored, made from images of twice the size."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from PIL import Image

from sharingan_jax.data.dataset import BLOCK, ImageDataset
from sharingan_jax.data.decode import Decoding, empty_canvas
from sharingan_jax.data.sources.files import Member, ReadFile
from sharingan_jax.data.storage import IN_MEMORY, Source, Storage, key_of


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TurnedDataset(ImageDataset):
    """N images at `turns` angles over the circle, mirrored too if `mirrors`: images k·N to (k + 1)·N − 1 are the variant k.

    The variant 0 is `upright` [N, H, W, C] itself. The others come from `large` [N, 2H, 2W, C], the same images at twice the
    size: each is turned there (bicubic, `background` outside) and then reduced to H×W, so that it is as sharp as the upright one.
    Names and digests are those of the N images. So is `digest`, since turning adds nothing to them but the settings. Where the
    variants are held, `storage` decides.
    """

    upright: ImageDataset
    large: ImageDataset
    turns: int
    mirrors: bool
    background: str = "white"
    storage: Storage = IN_MEMORY

    @property
    def count(self) -> int:
        return self.upright.count * len(self._ways)

    @property
    def _ways(self) -> list[tuple[float, bool]]:
        """The angle of each variant, and whether it is mirrored."""
        angles = [360 * k / self.turns for k in range(self.turns)]
        return [(angle, mirrored) for mirrored in ([False, True] if self.mirrors else [False]) for angle in angles]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.upright.image_shape

    @property
    def decoded_in(self) -> str:
        return self.upright.decoded_in  # The variants are made when the first batch is drawn.

    @property
    def digest(self) -> str:
        return self.upright.digest

    def gather(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        return self._images[self.positions(indices)]

    def gather_labels(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        return self.upright.gather_labels(self.positions(indices) % self.upright.count)

    @cached_property
    def _images(self) -> np.ndarray:
        if not self.storage.fits(self.count, image_shape=self.image_shape):
            return self._in_a_file()
        upright, large = (each.preview(each.count) for each in (self.upright, self.large))
        with ThreadPoolExecutor() as pool:  # Pillow works without Python's lock.
            made = [
                pool.map(lambda image, way=way: turned(image, *way, background=self.background), large) for way in self._ways[1:]
            ]
            return np.concatenate([upright, *(np.stack(list(images)) for images in made)])

    def _in_a_file(self) -> np.ndarray:
        size, _, channels = self.image_shape
        settings = f"{self.turns} {self.mirrors} {self.upright.digest} {self.large.digest}".encode()
        decoding = Decoding(size, channels, background=self.background)
        source = Source(
            members=self._members,
            read=partial(_read_variant, self._ways, self.background),
            count=self.count,
            size=self.large.count * len(self._ways) * 4 * size * size * channels,
            key=lambda: key_of("turned images", decoding, [settings]),
        )
        mapped = self.storage.read(source, image_shape=self.image_shape).mapped
        assert mapped is not None
        return mapped

    def _members(self) -> Iterator[Member]:
        """Yield each image of each variant as it is before it is turned. The number of the variant is the label."""
        for variant in range(len(self._ways)):
            images = self.large if variant else self.upright
            for first in range(0, images.count, BLOCK):
                for image in images.gather(range(first, min(first + BLOCK, images.count))):
                    yield Member("", image, variant)


def _read_variant(ways: Sequence[tuple[float, bool]], background: str, member: Member) -> ReadFile:
    assert isinstance(member.content, np.ndarray)
    assert member.label is not None
    is_upright = member.label == 0
    return ReadFile(pixels=member.content if is_upright else turned(member.content, *ways[member.label], background=background))


def turned(large: np.ndarray, angle: float, mirrored: bool, *, background: str = "white") -> np.ndarray:
    """Mirror an image [2H, 2W, C] if asked, turn it by `angle` degrees anticlockwise, and reduce it to [H, W, C]. All uint8.

    The corners get the `background`, a colour's name; with 4 channels they are transparent.
    """
    height, width, channels = large.shape
    image = Image.fromarray(large[..., 0] if channels == 1 else large)
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    fill = empty_canvas((1, 1), background=background, channels=channels).getpixel((0, 0))
    image = image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=fill).reduce(2)
    return np.asarray(image, np.uint8).reshape(height // 2, width // 2, channels)
