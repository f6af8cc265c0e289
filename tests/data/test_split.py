"""Images are held out by their contents alone, near duplicates stay on one side, and the data set of each side is whole."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from sharingan_jax.config.load import load_config
from sharingan_jax.data.dataset import ArrayDataset, ImageDataset, Subset, array_digests
from sharingan_jax.data.pipeline import import_tensorflow
from sharingan_jax.data.sources.load import load_dataset, load_dataset_from_config, load_split_from_config
from sharingan_jax.data.split import near_duplicates, near_pairs, split
from sharingan_jax.errors import UserError


def _dataset(images: Sequence[np.ndarray], *, names: Sequence[str] = ()) -> ArrayDataset:
    stacked = np.stack(images)
    own = tuple(names) or tuple(f"{i}.png" for i in range(len(images)))
    return ArrayDataset(
        images=stacked,
        names=own,
        digests=array_digests(stacked),
        labels=np.arange(len(images)) % 3,
        classes=("a", "b", "c"),
        skipped=("notes.txt",),
    )


def _drawing(number: int) -> np.ndarray:
    coarse = np.random.default_rng(number).integers(0, 256, (7, 7, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC))


def _copy(image: np.ndarray, kind: int) -> np.ndarray:
    """Return a near duplicate: mirrored, turned, darker, or resized and back, after `kind` turns by 90 degrees."""
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(image[:, ::-1] if kind % 2 else image, kind)))
    if kind % 3 == 1:
        turned = ImageEnhance.Brightness(turned).enhance(0.9)
    if kind % 3 == 2:
        turned = turned.resize((24, 24), Image.Resampling.BILINEAR).resize((32, 32), Image.Resampling.BILINEAR)
    return np.asarray(turned)


COPIES = st.lists(st.integers(0, 4), min_size=2, max_size=6)
"""How many near duplicates each drawing of a set has besides itself."""
few = settings(max_examples=30, deadline=None)


def _family(copies: list[int]) -> tuple[list[np.ndarray], list[int]]:
    """Return drawings with their near duplicates, and the number of each image's drawing."""
    images = [_copy(_drawing(n), kind) if kind else _drawing(n) for n, count in enumerate(copies) for kind in range(count + 1)]
    return images, [n for n, count in enumerate(copies) for _ in range(count + 1)]


@few
@given(copies=COPIES)
def test_near_duplicates_are_the_copies_of_a_drawing(copies: list[int]) -> None:
    images, drawings = _family(copies)
    assert near_duplicates(_dataset(images)) == [np.flatnonzero(np.array(drawings) == n).tolist() for n in range(len(copies))]


@few
@given(copies=COPIES, holdout=st.floats(0.01, 0.5))
def test_the_sides_are_disjoint_and_complete_and_divide_no_group(copies: list[int], holdout: float) -> None:
    images, drawings = _family(copies)
    dataset = _dataset(images)
    sides = split(dataset, holdout)
    of = dict(zip(dataset.names, drawings, strict=True))
    assert sorted((*sides.train.names, *sides.held_out.names)) == sorted(dataset.names)
    assert {of[name] for name in sides.train.names}.isdisjoint(of[name] for name in sides.held_out.names)
    assert sides.train.count >= 1
    assert sides.held_out.count >= 1


@few
@given(copies=COPIES, holdout=st.floats(0.01, 0.5), seed=st.integers(0, 1000))
def test_the_split_depends_neither_on_the_order_of_the_images_nor_on_their_names(
    copies: list[int], holdout: float, seed: int
) -> None:
    images, _ = _family(copies)
    order = np.random.default_rng(seed).permutation(len(images))
    others = _dataset([images[i] for i in order], names=[f"other/{i}.jpg" for i in range(len(images))])
    expected = split(_dataset(images), holdout)
    found = split(others, holdout)
    assert sorted(found.held_out.digests) == sorted(expected.held_out.digests)
    assert sorted(found.train.digests) == sorted(expected.train.digests)


@few
@given(count=st.integers(2, 12), holdout=st.floats(0.001, 0.5))
def test_as_many_images_are_held_out_as_asked_if_none_are_alike(count: int, holdout: float) -> None:
    assert split(_dataset([_drawing(n) for n in range(count)]), holdout).held_out.count == max(1, round(holdout * count))


@pytest.mark.parametrize(
    ("copies", "holdout", "expected"),
    [
        ([5, 0, 0, 0, 0, 0], 0.2, 2),  # A group of six is too large, and two of the five single images are taken.
        ([1, 1, 1, 1], 0.4, 2),  # Three of eight are wanted, pairs give two or four, and four is not nearer.
        ([2, 2, 2], 0.2, 3),  # Two of nine are wanted, and the smallest group has three.
        ([5, 5], 0.1, 6),  # Nothing fits, and something must be held out.
        ([1, 8], 0.5, 2),  # Six of eleven are wanted: two are as near as a group of nine permits.
    ],
)
def test_whole_groups_come_near_to_the_number_asked_for(copies: list[int], holdout: float, expected: int) -> None:
    assert split(_dataset(_family(copies)[0]), holdout).held_out.count == expected


def _plain(colour: tuple[int, ...], *, speck: bool = False) -> np.ndarray:
    image = np.full((32, 32, len(colour)), colour, np.uint8)
    if speck:
        image[4:7, 4:7] = 0
    return image


@pytest.mark.parametrize("speck", [False, True])
def test_images_of_one_colour_are_near_duplicates_only_if_it_is_the_same(speck: bool) -> None:
    colours = [(250, 40, 40), (40, 250, 40), (40, 40, 250), (251, 39, 42), (140, 140, 140)]
    dataset = _dataset([_plain(colour, speck=speck) for colour in colours])
    assert near_duplicates(dataset) == [[0, 3], [1], [2], [4]]
    assert near_pairs(dataset) == [(0, 3, 0.0)]
    assert split(dataset, 0.4).held_out.count == 2
    assert len(near_duplicates(_dataset([_plain((level,)) for level in (0, 128, 255)]))) == 3


def test_each_side_carries_names_digests_labels_and_classes() -> None:
    dataset = _dataset([_drawing(n) for n in range(8)])
    sides = split(dataset, 0.25)
    for side in (sides.train, sides.held_out):
        indices = [dataset.names.index(name) for name in side.names]
        assert indices == sorted(indices)  # In the order of the source.
        assert side.digests == tuple(dataset.digests[i] for i in indices)
        assert side.labels is not None
        assert side.labels.tolist() == [i % 3 for i in indices]
        assert (side.classes, side.skipped) == (dataset.classes, dataset.skipped)
        np.testing.assert_array_equal(side.preview(8), dataset.gather(indices))
    assert sides.train.held_out_digests == dict(zip(sides.held_out.names, sides.held_out.digests, strict=True))
    assert sides.held_out.held_out_digests == {}


def test_a_subset_of_any_data_set_is_the_same_as_of_one_in_memory() -> None:
    dataset = _dataset([_drawing(n) for n in range(6)])
    in_memory, general = dataset.subset([4, 1, 3]), ImageDataset.subset(dataset, [4, 1, 3])
    assert isinstance(general, Subset)
    assert general.digest == in_memory.digest
    assert (general.image_shape, general.count) == ((32, 32, 3), 3)
    tf = import_tensorflow()
    indices = np.array([[2, 0], [1, 1]])
    for gather in (general.gather, general.tensorflow_gather(tf), in_memory.tensorflow_gather(tf)):
        np.testing.assert_array_equal(np.asarray(gather(indices)), dataset.gather([[3, 4], [1, 1]]))
    nested = ImageDataset.subset(general, [2, 0])
    np.testing.assert_array_equal(nested.gather([0, 1]), dataset.gather([3, 4]))
    assert in_memory.subset(()).preview(5).shape == (0, 32, 32, 3)


def test_holding_out_nothing_returns_the_data_set_itself_and_hashes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)  # An import would fail.
    dataset = _dataset([np.zeros((32, 32, 3), np.uint8)])
    sides = split(dataset, 0.0)
    assert sides.train is dataset
    assert sides.held_out.count == 0
    assert load_dataset_from_config(load_config("smoke").data).digest == load_dataset("emblems", size=32).digest


@pytest.mark.parametrize(
    ("images", "found"),
    [([_drawing(0)], "1 image"), ([_drawing(0), _copy(_drawing(0), 1)], "2 images that are all near duplicates")],
)
def test_images_that_are_all_alike_cannot_be_split(images: list[np.ndarray], found: str) -> None:
    message = rf"^data\.holdout=0\.2: expected images that are not all alike, got {found}\. Add other images, or use"
    with pytest.raises(UserError, match=message) as caught:
        split(_dataset(images), 0.2)
    assert "\n" not in str(caught.value)


def test_the_held_out_emblems_never_change() -> None:
    # Recorded from this function on 2026-11-26 (ImageHash 4.3.2, Pillow 13.0.0). Every run with a holdout depends on it.
    sides = load_split_from_config(load_config("default", [("data.holdout", "0.2")]).data)
    assert [int(name[:3]) for name in sides.held_out.names] == HELD_OUT_EMBLEMS
    assert sides.train.count == 80


HELD_OUT_EMBLEMS = [4, 6, 23, 24, 34, 40, 41, 44, 48, 55, 60, 64, 69, 73, 83, 84, 88, 89, 90, 93]


def test_drawings_that_the_eye_takes_for_the_same_stay_together(sharingan_folder: Path) -> None:
    dataset: Any = load_dataset(sharingan_folder)
    groups = [{dataset.names[i] for i in group} for group in near_duplicates(dataset)]
    pairs = ["43 44", "63 64", "22 26", "30 38", "56 57", "71 89", "86 98"]
    for pair in [*([f"{number}.jpg" for number in pair.split()] for pair in pairs), ["0.jpeg", "92.jpeg"]]:
        assert any(group.issuperset(pair) for group in groups), pair
    assert max(map(len, groups)) == 3
    assert split(dataset, 0.2).held_out.count == 20
