"""tf.data yields exactly the planned batches, from any step on, and uses no accelerator."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from sharingan_jax.data.dataset import ArrayDataset, ImageDataset
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.pipeline import batches, import_tensorflow

IMAGES = np.arange(11 * 2 * 2 * 3, dtype=np.uint8).reshape(11, 2, 2, 3)
NAMES = tuple(f"{i}.png" for i in range(11))
DATASET = ArrayDataset(images=IMAGES, names=NAMES, digests=NAMES)
PLAN = BatchPlan(11, batch_size=4, seed=1, last_batch="keep")


@dataclass(frozen=True, kw_only=True, eq=False)
class ListDataset(ImageDataset):
    """Another kind of dataset: the images are in a list, which only `gather` reads."""

    images: list[np.ndarray]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (2, 2, 3)

    def gather(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        indices = np.asarray(indices, np.int64)
        return np.stack([self.images[i] for i in indices.flat]).reshape(*indices.shape, 2, 2, 3)


LISTED = ListDataset(images=list(IMAGES), names=NAMES, digests=NAMES)


@pytest.mark.parametrize("dataset", [DATASET, LISTED], ids=["array", "its own gather"])
def test_every_chunk_has_the_planned_images(dataset: ImageDataset) -> None:
    chunks = [(1, 2), (3, 1), (4, 2), (6, 1)]
    for (first, length), real_u8 in zip(chunks, batches(dataset, PLAN, chunks), strict=True):
        expected = np.stack([IMAGES[PLAN.indices(step)] for step in range(first, first + length)])
        assert real_u8.dtype == np.uint8
        np.testing.assert_array_equal(real_u8, expected)


def test_starting_in_the_middle_needs_no_replay() -> None:
    whole = list(batches(DATASET, PLAN, [(step, 1) for step in range(1, 10)]))
    late = list(batches(DATASET, PLAN, [(step, 1) for step in range(6, 10)]))
    for expected, real_u8 in zip(whole[5:], late, strict=True):
        np.testing.assert_array_equal(real_u8, expected)


def test_tensorflow_sees_no_accelerator() -> None:
    tf = import_tensorflow()
    for kind in ("GPU", "TPU"):
        assert tf.config.get_visible_devices(kind) == []


def test_steps_with_batches_of_different_sizes_do_not_share_a_chunk() -> None:
    with pytest.raises(Exception, match="same shape"):
        list(batches(DATASET, PLAN, [(2, 2)]))


@pytest.mark.parametrize("parts", [2, 5])
def test_the_parts_of_a_batch_make_up_the_batch(parts: int) -> None:
    plan = BatchPlan(10, batch_size=10, seed=3, last_batch="keep")
    chunks = [(1, 2), (3, 1)]
    whole = list(batches(DATASET, plan, chunks))
    pieces = [list(batches(DATASET, plan, chunks, part=part, parts=parts)) for part in range(parts)]
    for number, real_u8 in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([piece[number] for piece in pieces], axis=1), real_u8)
        assert pieces[0][number].shape[1] == 10 // parts


def test_a_dataset_gathers_any_shape_of_indices_and_has_one_digest_wherever_its_images_are() -> None:
    for dataset in (DATASET, LISTED):
        assert dataset.count == 11
        assert dataset.image_shape == (2, 2, 3)
        np.testing.assert_array_equal(dataset.gather([[3, 0], [7, 7]]), IMAGES[[[3, 0], [7, 7]]])
        np.testing.assert_array_equal(dataset.preview(4), IMAGES[:4])
        np.testing.assert_array_equal(dataset.preview(40), IMAGES)
    assert LISTED.digest == DATASET.digest
    renamed = ArrayDataset(images=IMAGES, names=("other.png", *NAMES[1:]), digests=NAMES)
    assert renamed.digest != DATASET.digest
