"""Which images a step sees: permutations, purity, and the rules for an epoch's last batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharingan_jax.data.order import BatchPlan, epoch_permutation
from sharingan_jax.data.pipeline import index_batches
from sharingan_jax.errors import UserError

COUNTS = st.integers(1, 60)
RULES = st.sampled_from(["keep", "drop", "fill"])


@given(count=st.integers(1, 500), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 10**6))
def test_an_epoch_is_a_permutation(count: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_permutation(count, seed=seed, epoch=epoch)) == list(range(count))


def test_the_order_never_changes() -> None:
    # Recorded from this function on 2026-11-24 (numpy 2.4.6). Every run depends on it.
    assert epoch_permutation(10, seed=0, epoch=0).tolist() == GOLDEN_FIRST
    assert epoch_permutation(10, seed=7, epoch=3).tolist() == GOLDEN_OTHER


GOLDEN_FIRST = [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
GOLDEN_OTHER = [2, 5, 9, 7, 3, 0, 6, 8, 4, 1]


@given(count=COUNTS, batch=st.integers(1, 60), rule=RULES, epoch=st.integers(0, 5))
def test_an_epoch_shows_each_image_as_often_as_its_rule_says(count: int, batch: int, rule: str, epoch: int) -> None:
    batch = min(batch, count)
    plan = BatchPlan(count, batch_size=batch, seed=3, last_batch=rule)
    steps = range(epoch * plan.batches_per_epoch + 1, (epoch + 1) * plan.batches_per_epoch + 1)
    assert {plan.epoch_of(step) for step in steps} == {epoch + 1}
    batches = [plan.indices(step) for step in steps]
    assert [len(indices) for indices in batches] == [plan.size_of(step) for step in steps]
    shown = np.bincount(np.concatenate(batches), minlength=count)
    match rule:
        case "keep":
            assert (shown == 1).all()
        case "drop":
            assert shown.max() == 1
            assert shown.sum() == count // batch * batch
        case "fill":
            assert shown.min() == 1
            assert shown.sum() == -(-count // batch) * batch
            assert {len(indices) for indices in batches} == {batch}


@given(count=st.integers(1, 80), per_process=st.integers(1, 6), parts=st.integers(1, 5), epoch=st.integers(0, 3))
def test_processes_share_an_epoch_without_overlap_or_loss(count: int, per_process: int, parts: int, epoch: int) -> None:
    count, batch = count * parts, per_process * parts  # Every batch divides over the processes, also the last.
    plan = BatchPlan(count, batch_size=min(batch, count), seed=5, last_batch="keep")
    steps = range(epoch * plan.batches_per_epoch + 1, (epoch + 1) * plan.batches_per_epoch + 1)
    own = [
        np.concatenate([batch[0] for batch in index_batches(plan, [(step, 1) for step in steps], part=part, parts=parts)])
        for part in range(parts)
    ]
    assert {len(indices) for indices in own} == {count // parts}
    np.testing.assert_array_equal(np.sort(np.concatenate(own)), np.arange(count))


def test_a_step_far_into_a_million_images_is_found_without_the_steps_before() -> None:
    plan = BatchPlan(1_000_000, batch_size=25, seed=1, last_batch="keep")
    late = plan.indices(2**31 - 1)
    epoch, first = divmod(2**31 - 2, 40_000)
    np.testing.assert_array_equal(late, epoch_permutation(1_000_000, seed=1, epoch=epoch)[25 * first : 25 * first + 25])


def test_a_batch_depends_only_on_seed_and_step() -> None:
    first, second = (BatchPlan(100, batch_size=25, seed=5, last_batch="keep") for _ in range(2))
    for step in (9, 2, 400, 9):
        np.testing.assert_array_equal(first.indices(step), second.indices(step))
    other = BatchPlan(100, batch_size=25, seed=6, last_batch="keep")
    assert not np.array_equal(first.indices(1), other.indices(1))
    assert not np.array_equal(first.indices(1), first.indices(5))


def test_fewer_images_than_a_batch_are_refused_with_the_largest_batch_size() -> None:
    message = (
        r"^train\.batch_size=25: expected at most 12, the number of images\. "
        r"Use --config\.train\.batch_size=12 or smaller, or add images\.$"
    )
    with pytest.raises(UserError, match=message):
        BatchPlan(12, batch_size=25, seed=0, last_batch="keep")


@given(count=COUNTS, batch=st.integers(1, 60), rule=RULES, steps=st.integers(0, 40))
def test_images_seen_is_the_sum_of_the_batch_sizes(count: int, batch: int, rule: str, steps: int) -> None:
    if count >= batch:
        plan = BatchPlan(count, batch_size=batch, seed=0, last_batch=rule)
        assert plan.images_seen(steps) == sum(plan.size_of(step) for step in range(1, steps + 1))
