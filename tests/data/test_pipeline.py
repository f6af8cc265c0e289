"""tf.data hands out exactly the planned batches, from any step on, and leaves accelerators alone."""

import numpy as np
import pytest

from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.pipeline import chunks, import_tensorflow

IMAGES = np.arange(11 * 2 * 2 * 3, dtype=np.uint8).reshape(11, 2, 2, 3)
PLAN = BatchPlan(11, batch_size=4, seed=1, last_batch="keep")


def test_every_dispatch_holds_the_planned_pictures() -> None:
    lengths = [(1, 2), (3, 1), (4, 2), (6, 1)]
    for (first, length), batch in zip(lengths, chunks(IMAGES, PLAN, lengths), strict=True):
        expected = np.stack([IMAGES[PLAN.indices(step)] for step in range(first, first + length)])
        assert batch.dtype == np.uint8
        np.testing.assert_array_equal(batch, expected)


def test_starting_in_the_middle_needs_no_replay() -> None:
    whole = list(chunks(IMAGES, PLAN, [(step, 1) for step in range(1, 10)]))
    late = list(chunks(IMAGES, PLAN, [(step, 1) for step in range(6, 10)]))
    for expected, batch in zip(whole[5:], late, strict=True):
        np.testing.assert_array_equal(batch, expected)


def test_tensorflow_sees_no_accelerator() -> None:
    tf = import_tensorflow()
    for kind in ("GPU", "TPU"):
        assert tf.config.get_visible_devices(kind) == []


def test_steps_of_different_sizes_do_not_share_a_dispatch() -> None:
    with pytest.raises(Exception, match="same shape"):
        list(chunks(IMAGES, PLAN, [(2, 2)]))


@pytest.mark.parametrize("parts", [2, 5])
def test_the_parts_of_a_batch_are_the_batch(parts: int) -> None:
    plan = BatchPlan(10, batch_size=10, seed=3, last_batch="keep")
    lengths = [(1, 2), (3, 1)]
    whole = list(chunks(IMAGES, plan, lengths))
    pieces = [list(chunks(IMAGES, plan, lengths, part=part, parts=parts)) for part in range(parts)]
    for number, batch in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([piece[number] for piece in pieces], axis=1), batch)
        assert pieces[0][number].shape[1] == 10 // parts
