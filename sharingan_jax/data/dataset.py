"""What every source of images provides: `ImageDataset`, with images in memory, in a mapped file, or in another data set."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from sharingan_jax.errors import UserError, counted

BLOCK = 1024
"""Images that `ImageDataset.digest` gathers at a time."""


class Original(NamedTuple):
    """What an image was before it was resized: pixels, upright, and the format by Pillow's name, "" for an array."""

    width: int
    height: int
    format: str


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ImageDataset(ABC):
    """N images of one shape, each with its name and the SHA-256 of its source; class labels int64 [N] if the source has them.

    Code outside this package reads images only through these members. So a new place for images (an archive, a cache, a device)
    is a new subclass that implements `image_shape` and `gather`. Override `tensorflow_gather` too if TensorFlow itself can
    gather the images. If these are the training images of a split, `held_out_digests` has the name and SHA-256 of each image
    that was held out. `skipped` maps the files that are not images to the reason, and `bad` the images that cannot be read.
    `kind` says where the images were ("a folder", "a .zip archive"), and `remarks` has lines for the user on all of them.
    `originals` has the sides and the format of each image before it was resized, or is empty if the source does not know.
    """

    names: tuple[str, ...]
    digests: tuple[str, ...]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    bad: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    remarks: tuple[str, ...] = ()
    originals: tuple[Original, ...] = ()
    held_out_digests: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        shape, source = "×".join(map(str, self.image_shape)), f" from {self.kind}" if self.kind else ""
        return f"<{type(self).__name__}: {counted(self.count, 'image')} of {shape}{source}, digest {self.digest[:12]}>"

    @property
    def count(self) -> int:
        """N, the number of images."""
        return len(self.names)

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of each image."""

    @property
    def decoded_in(self) -> str:
        """The path of the file that holds the decoded images, or "" if they are in memory."""
        return ""

    @abstractmethod
    def gather(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """Return the images at `indices` [...], whole numbers from 0 to N − 1: uint8 [..., H, W, C].

        Raise UserError, as `positions` does, if there is no such image.
        """

    def positions(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """Return `indices` [...] as int64 [...]. Raise UserError if one is no whole number from 0 to N − 1."""
        found = np.asarray(indices)
        if not found.size:
            return found.astype(np.int64)
        wrong = found if found.dtype.kind not in "iu" else found[(found < 0) | (found >= self.count)]
        if wrong.size:
            raise UserError(f"indices: expected whole numbers from 0 to {self.count - 1}, got {wrong.flat[0]}.")
        return found.astype(np.int64)

    def gather_labels(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """Return the classes of the images at `indices` [...], int64 [...]. The images must have classes."""
        assert self.labels is not None
        return self.labels[self.positions(indices)]

    def tensorflow_gather(self, tf: Any) -> Callable[[Any], Any]:
        """Return `gather` as a function of TensorFlow tensors, int64 [K, B] to uint8 [K, B, H, W, C], for `pipeline.batches`."""

        def gather(indices: Any) -> Any:
            images = tf.numpy_function(self.gather, [indices], tf.uint8)
            return tf.ensure_shape(images, (*indices.shape, *self.image_shape))

        return gather

    def subset(self, indices: Sequence[int]) -> "ImageDataset":
        """Return the images at `indices`, in this order, with their names, digests and labels."""
        chosen = self.positions(indices)
        return Subset(source=self, indices=chosen, **self._described(chosen))

    def at_most(self, n: int) -> "ImageDataset":
        """Return this data set if it has at most n images, else n of them that are spread evenly over it."""
        return self if self.count <= n else self.subset(evenly(self.count, n).tolist())

    def _described(self, indices: np.ndarray) -> dict[str, Any]:
        return {
            "names": tuple(self.names[i] for i in indices),
            "digests": tuple(self.digests[i] for i in indices),
            "labels": None if self.labels is None else self.labels[indices],
            "classes": self.classes,
            "skipped": self.skipped,
            "bad": self.bad,
            "kind": self.kind,
            "remarks": self.remarks,
            "originals": tuple(self.originals[i] for i in indices) if self.originals else (),
        }

    def preview(self, n: int) -> np.ndarray:
        """Return the first n images, uint8 [min(n, N), H, W, C]."""
        return self.gather(range(min(n, self.count)))

    def examples(self, n: int) -> np.ndarray:
        """Return min(n, N) images that show what there is, uint8 [., H, W, C].

        With labels they are of the classes 0, 1, 2 and so on in turn, as far as each has more; else they are evenly spread.
        """
        if self.labels is None:
            return self.gather(evenly(len(self.names), n))
        order = np.argsort(self.labels, kind="stable")
        first = np.searchsorted(self.labels[order], self.labels[order])
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order)) - first  # The place of each image within its class.
        return self.gather(np.lexsort((self.labels, ranks))[:n])

    @property
    def copies(self) -> dict[str, str]:
        """The images whose source has the same bytes as an earlier one's: name -> the first one's name."""
        first: dict[str, str] = {}
        found = {}
        for name, digest in zip(self.names, self.digests, strict=True):
            if first.setdefault(digest, name) != name:
                found[name] = first[digest]
        return found

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the shape (N, H, W, C), names, source digests and decoded bytes. A folder's location does not enter."""
        total = hashlib.sha256(f"{(self.count, *self.image_shape)}\n".encode())
        for name, digest in zip(self.names, self.digests, strict=True):
            total.update(f"{name}\0{digest}\n".encode())
        for first in range(0, self.count, BLOCK):
            total.update(np.ascontiguousarray(self.gather(range(first, min(first + BLOCK, self.count)))).data)
        return total.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ArrayDataset(ImageDataset):
    """Images in memory: `images` uint8 [N, H, W, C]."""

    images: np.ndarray

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def gather(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        return self.images[self.positions(indices)]

    def tensorflow_gather(self, tf: Any) -> Callable[[Any], Any]:
        images = tf.constant(self.images)
        return lambda indices: tf.gather(images, indices)

    def subset(self, indices: Sequence[int]) -> ImageDataset:
        chosen = self.positions(indices)
        return ArrayDataset(images=self.gather(chosen), **self._described(chosen))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MappedDataset(ImageDataset):
    """Images in a file that is mapped into memory: image i is `mapped`[`places`[i]], of uint8 [M, H, W, C].

    The system reads pages of the file when they are asked for, and drops them when it needs the memory.
    """

    mapped: np.ndarray
    places: np.ndarray

    def with_digest(self, digest: str) -> "MappedDataset":
        """Return the same images with a digest that was taken before, so that they need not be read for it."""
        known = replace(self)
        known.__dict__["digest"] = digest  # Where `cached_property` looks first.
        return known

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.mapped.shape[1:]
        return height, width, channels

    @property
    def decoded_in(self) -> str:
        return str(getattr(self.mapped, "filename", ""))

    def gather(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        return np.asarray(self.mapped[self.places[self.positions(indices)]])


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Subset(ImageDataset):
    """Some images of another data set: image i is the image `indices`[i] of `source`."""

    source: ImageDataset
    indices: np.ndarray

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.source.image_shape

    @property
    def decoded_in(self) -> str:
        return self.source.decoded_in

    def gather(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        return self.source.gather(self.indices[self.positions(indices)])

    def tensorflow_gather(self, tf: Any) -> Callable[[Any], Any]:
        gather, chosen = self.source.tensorflow_gather(tf), tf.constant(self.indices)
        return lambda indices: gather(tf.gather(chosen, indices))


def evenly(count: int, most: int) -> np.ndarray:
    """Return `most` indices spread evenly over 0 to count − 1, or all of them if they are fewer: int64 [min(count, most)]."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    return np.arange(most, dtype=np.int64) * count // most


def array_digests(images: np.ndarray) -> tuple[str, ...]:
    """Return the SHA-256 of each image's decoded bytes, for sources without files."""
    return tuple(hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in images)
