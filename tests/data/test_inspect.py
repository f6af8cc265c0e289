"""Sizes, the ground, and which images to show: values that can be counted by hand."""

import numpy as np
import pytest
from PIL import Image

from sharingan_jax.data.dataset import ArrayDataset, Original, array_digests, evenly
from sharingan_jax.data.inspect import Range, choose_shown, measure_ground, measure_sizes
from sharingan_jax.data.split import NEAR, near_duplicates, near_pairs


def test_sizes_count_what_is_enlarged_and_what_a_crop_would_cut() -> None:
    originals = [Original(100, 100, "PNG"), Original(40, 42, "JPEG"), Original(43, 80, "JPEG"), Original(300, 200, "")]
    sizes = measure_sizes(originals, size=64)
    assert sizes is not None
    assert sizes.width == Range(40, 71.5, 300)
    assert sizes.height == Range(42, 90, 200)
    assert (sizes.aspect.least, sizes.aspect.most) == (1.0, 80 / 43)
    assert sizes.enlarged == 1  # 40 · 1.5 < 64, and 43 · 1.5 = 64.5 is not.
    assert sizes.cut == 2  # 1 − 43/80 and 1 − 200/300 are at least a quarter.
    assert sizes.formats == {"JPEG": 2, "PNG": 1}
    assert measure_sizes((), size=64) is None


def test_the_ground_is_the_colour_of_the_border_pixels_alone() -> None:
    images = np.full((2, 8, 8, 3), 250, np.uint8)
    images[:, 1:-1, 1:-1] = [255, 0, 0]
    images[0, 0, 0] = 0  # 1 of 2 · 28 border pixels.
    images[1, 7, :2] = 250 - 17  # Outside of 16 levels, and 2 more.
    ground = measure_ground(images)
    assert ground.colour == (250, 250, 250)
    assert ground.share == pytest.approx(53 / 56)
    assert ground.white_share == pytest.approx(53 / 56)
    assert ground.is_plain
    noise = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 1), np.uint8)
    assert measure_ground(noise).share < 0.3
    assert not measure_ground(noise).is_plain


def test_examples_are_of_each_class_in_turn_or_evenly_spread() -> None:
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    names = tuple(map(str, range(10)))
    plain = ArrayDataset(images=images, names=names, digests=names)
    labelled = ArrayDataset(images=images, names=names, digests=names, labels=np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2]))
    assert plain.examples(4).ravel().tolist() == [0, 2, 5, 7]
    assert labelled.examples(4).ravel().tolist() == [0, 4, 7, 1]
    assert labelled.examples(99).ravel().tolist() == [0, 4, 7, 1, 5, 8, 2, 6, 9, 3]


def test_images_to_show_are_spread_evenly_and_over_the_classes() -> None:
    assert evenly(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert evenly(10, 4).tolist() == [0, 2, 5, 7]
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    dataset = ArrayDataset(images=images, names=tuple(map(str, range(10))), digests=array_digests(images))
    assert dataset.at_most(10) is dataset
    assert dataset.at_most(4).names == ("0", "2", "5", "7")
    assert [(label, own.tolist()) for label, own in choose_shown(None, count=10, most=2)] == [(-1, [0, 5])]
    labels = np.array([2, 0, 2, 0, 0, 2, 2, 0, 2])
    groups = choose_shown(labels, count=9, most=4)
    assert [(label, own.tolist()) for label, own in groups] == [(0, [1, 4]), (2, [0, 5])]
    assert [(label, len(own)) for label, own in choose_shown(labels, count=9, most=1)] == [(0, 1), (2, 1)]


def test_near_pairs_are_the_groups_of_near_duplicates_nearest_first() -> None:
    rng = np.random.default_rng(0)
    drawn = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((64, 64), Image.Resampling.BICUBIC))
        for _ in range(6)
    ]
    brighter = np.clip(drawn[2].astype(int) + 6, 0, 255).astype(np.uint8)
    images = np.stack([*drawn, np.rot90(drawn[4]), brighter, drawn[0]])
    names = tuple("abcdefghi")
    dataset = ArrayDataset(images=images, names=names, digests=array_digests(images))
    pairs = near_pairs(dataset)
    assert {(first, second) for first, second, _ in pairs} == {(0, 8), (4, 6), (2, 7)}
    assert [far for *_, far in pairs] == sorted(far for *_, far in pairs)
    assert pairs[0][2] == 0.0
    assert all(far <= NEAR for *_, far in pairs)
    assert [group for group in near_duplicates(dataset) if len(group) > 1] == [[0, 8], [2, 7], [4, 6]]
