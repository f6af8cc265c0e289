"""A data set in which each image also appears turned and mirrored, made from images of twice the size."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.decode import empty_canvas


@dataclass(frozen=True, kw_only=True, eq=False)
class TurnedDataset(ImageDataset):
    """N images at `turns` angles over the circle, mirrored too if `mirrors`: images k·N to (k + 1)·N − 1 are the variant k.

    The variant 0 is `upright` [N, H, W, C] itself. The others come from `large` [N, 2H, 2W, C], the same images at twice the
    size: each is turned there (bicubic, `background` outside) and then reduced to H×W, so that it is as sharp as the upright one.
    Names and digests are those of the N images. So is `digest`, since turning adds nothing to them but the settings.
    """

    upright: ImageDataset
    large: ImageDataset
    turns: int
    mirrors: bool
    background: str = "white"

    @property
    def count(self) -> int:
        return self.upright.count * self.turns * (2 if self.mirrors else 1)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.upright.image_shape

    @property
    def digest(self) -> str:
        return self.upright.digest

    def gather(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        return self._images[np.asarray(indices, np.int64)]

    def gather_labels(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        return self.upright.gather_labels(np.asarray(indices, np.int64) % self.upright.count)

    @cached_property
    def _images(self) -> np.ndarray:
        upright, large = (each.preview(each.count) for each in (self.upright, self.large))
        angles = [360 * k / self.turns for k in range(self.turns)]
        variants = [(angle, mirrored) for mirrored in ([False, True] if self.mirrors else [False]) for angle in angles]
        with ThreadPoolExecutor() as pool:  # Pillow works without Python's lock.
            made = [
                pool.map(lambda image, way=way: turned(image, *way, background=self.background), large) for way in variants[1:]
            ]
            return np.concatenate([upright, *(np.stack(list(images)) for images in made)])


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
