"""Pictures decoded and fitted as the reference does it, one at a time and as a set."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Pictures:
    """`images` uint8 [N, S, S, C]; for each its name and the SHA-256 of its source; class labels int64 [N] where known.

    `skipped` names the files that were no pictures.
    """

    images: np.ndarray
    names: tuple[str, ...]
    digests: tuple[str, ...]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.images.shape[1:]

    def preview(self, num: int) -> np.ndarray:
        return self.images[:num]

    @property
    def digest(self) -> str:
        return self.fingerprint

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shape, names, source digests and the decoded bytes; the folder's own place does not enter."""
        total = hashlib.sha256(f"{self.images.shape}\n".encode())
        for name, digest in zip(self.names, self.digests, strict=True):
            total.update(f"{name}\0{digest}\n".encode())
        total.update(np.ascontiguousarray(self.images).tobytes())
        return total.hexdigest()


def array_digests(images: np.ndarray) -> tuple[str, ...]:
    """SHA-256 of each picture's decoded bytes, for sources that have no files."""
    return tuple(hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in images)


ImageDataset = Pictures
