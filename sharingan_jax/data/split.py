"""Hold images out from training: a split that depends on nothing but the images, with near duplicates on one side."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.errors import UserError

HASH_SIDE = 16
"""The side of a difference hash: 16·16 bits compare neighbours in a row, 16·16 in a column.

Measured at 64 pixels against `imagehash.phash` of 64, 144 and 256 bits. Difference hashes put the Sharingan pairs of one drawing
before all others; perceptual hashes put other pairs first. A perceptual hash compares cosine coefficients with their median. In
a symmetric drawing half of the coefficients are close to it, and their bits are noise. Difference hashes compare integers, so
they are also the same on every machine.
"""

NEAR = 0.29
"""Two images are near duplicates if their hashes differ in at most this share of the bits that either has set.

Measured at 64 pixels, in the best of eight orientations. Copies of an image that are recompressed (JPEG 50), resized, brighter,
noisy or turned by 3 degrees: at most 0.23. The eight pairs of one drawing among the 100 Sharingan images: 0.20, 0.22, 0.26,
0.27, 0.27, 0.28, 0.28 and 0.29. The first pairs of two drawings there: 0.280, 0.284 and 0.292; 99% of all pairs: above 0.35.
So 0.29 keeps all eight pairs together, and two more, which costs little: it makes 90 groups there, of at most 3 images. The
emblems vary 20 motifs, many pairs are alike, and chains of them are long: 0.29 makes 35 groups there, one of 40 images.
The share of set bits, not of all bits, keeps drawings on a plain background apart: there most bits are unset in both.
"""

PLAIN, CLOSE = 32, 8
"""If at most PLAIN of 512 bits are set in either hash, the mean colours may differ by at most CLOSE of 255 levels in a channel.

The hash of a plain ground says nothing about its colour: that of every image of one colour is empty. A dot on it sets up to 28
bits. Emblems and the 100 Sharingan images have 208 bits and more. CLOSE is chosen, not measured: it allows for JPEG's rounding.
"""


@dataclass(frozen=True)
class Split:
    """The images for training, and the images held out from it."""

    train: ImageDataset
    held_out: ImageDataset


class _Hashes(NamedTuple):
    """The hashes of N images in eight orientations, `words` uint64 [N, 8, W], and their mean colours, `colours` [N, C]."""

    words: np.ndarray
    colours: np.ndarray


def split(dataset: ImageDataset, holdout: float) -> Split:
    """Hold out the share `holdout` of the images, from 0 to 0.5, or as near as groups of near duplicates permit.

    The split depends on the images' contents alone, not on their order, their names or a seed. With `holdout` = 0 the training
    images are `dataset` itself. With any other share at least one image is on each side. Raise UserError if all images are near
    duplicates.
    """
    if holdout == 0:
        return Split(dataset, dataset.subset(()))
    groups = near_duplicates(dataset)
    if len(groups) < 2:
        found = f"{dataset.count} images that are all near duplicates" if dataset.count > 1 else f"{dataset.count} image"
        raise UserError(
            f"data.holdout={holdout:g}: expected images that are not all alike, got {found}. Add other images, or use"
            " --config.data.holdout=0."
        )
    groups.sort(key=lambda group: _group_digest(dataset, group))
    chosen = _choose([len(group) for group in groups], wanted=max(1, round(holdout * dataset.count)))
    indices = sorted(index for number in chosen for index in groups[number])
    held_out = dataset.subset(indices)
    train = dataset.subset(sorted(set(range(dataset.count)).difference(indices)))
    return Split(replace(train, held_out_digests=dict(zip(held_out.names, held_out.digests, strict=True))), held_out)


def near_duplicates(dataset: ImageDataset) -> list[list[int]]:
    """Return groups of the images' indices. Every image is in one group, and a near duplicate of an image is in its group.

    Two images are near duplicates if their difference hashes are close (`NEAR`) after a mirroring or turns by 90 degrees. Images
    with hardly any difference to hash must have the same mean colour too (`PLAIN`).
    """
    hashes = _all_hashes(dataset)
    group_of = np.arange(dataset.count)
    for index in range(dataset.count):
        joined = np.unique(group_of[_compare_hashes(hashes, index)[0]])  # The groups of all its near duplicates.
        group_of[np.isin(group_of, joined)] = joined[0]
    return [np.flatnonzero(group_of == group).tolist() for group in np.unique(group_of)]


def near_pairs(dataset: ImageDataset) -> list[tuple[int, int, float]]:
    """Return each pair of near duplicates (first index, second index, distance), nearest first; the indices decide ties.

    The distance is the share of differing bits that `NEAR` bounds, in the best of eight orientations; 0 for equal hashes.
    """
    hashes = _all_hashes(dataset)
    found: dict[tuple[int, int], float] = {}
    for first in range(dataset.count):  # Turning the other image instead rounds differently: the nearer of the two counts.
        near, distance = _compare_hashes(hashes, first)
        for other in np.flatnonzero(near).tolist():
            pair = (min(first, other), max(first, other))
            found[pair] = min(found.get(pair, 1.0), float(distance[other]))
    return sorted(((*pair, far) for pair, far in found.items() if pair[0] != pair[1]), key=lambda one: (one[2], one[:2]))


def _all_hashes(dataset: ImageDataset) -> _Hashes:
    images = (dataset.gather([index])[0] for index in range(dataset.count))
    words, colours = zip(*((_hash_words(image), image.mean((0, 1))) for image in images), strict=True)
    return _Hashes(np.stack(words), np.stack(colours))


def _compare_hashes(hashes: _Hashes, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of N images are near duplicates of the one at `index`, bool [N], and their distances from it, [N]."""
    upright = hashes.words[index, 0]  # [W]
    differing = np.bitwise_count(hashes.words ^ upright).sum(-1, dtype=np.int64)  # [N, 8]
    either = np.bitwise_count(hashes.words | upright).sum(-1, dtype=np.int64)  # [N, 8]
    other_colour = np.abs(hashes.colours - hashes.colours[index]).max(-1) > CLOSE  # [N]
    differs = (either <= PLAIN) & other_colour[:, None]  # [N, 8]
    near = (differing <= NEAR * either) & ~differs
    return near.any(1), np.where(differs, 1.0, differing / np.maximum(either, 1)).min(1)


def _hash_words(image: np.ndarray) -> np.ndarray:
    """Return the difference hashes of an image [H, W, C] in its eight orientations, uint64 [8, W], the upright one first."""
    import imagehash  # It imports SciPy; most runs hold out nothing.

    rows = []
    for mirrored in (image, image[:, ::-1]):
        for turns in range(4):
            turned = np.ascontiguousarray(np.rot90(mirrored, turns))
            picture = Image.fromarray(turned[..., 0] if turned.shape[-1] == 1 else turned)
            hashes = imagehash.dhash(picture, HASH_SIDE), imagehash.dhash_vertical(picture, HASH_SIDE)
            rows.append(np.packbits(np.stack([one.hash for one in hashes])).view(np.uint64))
    return np.stack(rows)


def _group_digest(dataset: ImageDataset, group: Sequence[int]) -> str:
    return hashlib.sha256("\n".join(sorted(dataset.digests[index] for index in group)).encode()).hexdigest()


def _choose(sizes: Sequence[int], *, wanted: int) -> list[int]:
    """Return the indices of whole groups with `wanted` images together, or a number near it.

    Groups that fit are taken in order. Then the smallest of the others is added if this comes nearer, or if none has fitted.
    """
    chosen: list[int] = []
    total = 0
    for number, size in enumerate(sizes):
        if total + size <= wanted:
            chosen.append(number)
            total += size
    others = sorted(set(range(len(sizes))).difference(chosen), key=lambda number: (sizes[number], number))
    if others and (total == 0 or total + sizes[others[0]] - wanted < wanted - total):
        chosen.append(others[0])
    return chosen
