"""Chunks of steps cover every step once and end at the steps that write files."""

import pytest
from conftest import smoke_config
from hypothesis import given
from hypothesis import strategies as st

from sharingan_jax.data.order import BatchPlan
from sharingan_jax.errors import UserError
from sharingan_jax.training.schedule import Schedule, fit_batch_size, make_schedule


@given(
    count=st.integers(5, 40), batch=st.integers(1, 10), total=st.integers(1, 120), per_call=st.integers(1, 9),
    sample_every=st.integers(1, 30), checkpoint_every=st.integers(1, 30), first=st.integers(1, 120),
    extra=st.lists(st.integers(1, 120), max_size=3),
)  # fmt: skip
def test_chunks_cover_each_step_once_and_end_at_every_writing_step(
    count: int, batch: int, total: int, per_call: int, sample_every: int, checkpoint_every: int, first: int, extra: list[int]
) -> None:
    plan = BatchPlan(count, batch_size=min(batch, count), seed=0, last_batch="keep")
    schedule = Schedule(plan, total, per_call, sample_every, checkpoint_every, tuple(extra))
    covered = []
    for start, length in schedule.chunks(first):
        steps = range(start, start + length)
        covered += list(steps)
        assert length in (1, per_call)
        assert len({plan.size_of(step) for step in steps}) == 1
        assert not any(schedule.samples_at(step) or schedule.saves_at(step) for step in steps[:-1])
    assert covered == list(range(first, total + 1))


def test_a_chunk_is_no_longer_than_the_steps_to_the_next_file() -> None:
    plan = BatchPlan(100, batch_size=25, seed=0, last_batch="keep")
    long = {"train__steps": "1000000", "train__steps_per_dispatch": "10000000"}
    long |= {"sample__every": "100", "checkpoint__every": "200"}
    schedule = make_schedule(smoke_config(**long), plan)
    chunks = schedule.chunks(1)
    assert [next(chunks) for _ in range(3)] == [(1, 100), (101, 100), (201, 100)]


def test_epochs_with_too_many_steps_are_refused() -> None:
    plan = BatchPlan(100, batch_size=25, seed=0, last_batch="keep")
    with pytest.raises(UserError, match=r"train\.epochs=2000000000: expected at most 2147483647 steps in all, got 8000000000\."):
        make_schedule(smoke_config(train__steps="0", train__epochs="2000000000"), plan)


def test_fewer_images_than_a_batch_make_a_batch_of_all_only_if_allowed() -> None:
    config = smoke_config(train__batch_size="25")
    assert fit_batch_size(config, 5) == config
    small = smoke_config(train__batch_size="25", data__small="ok")
    assert fit_batch_size(small, 5).train.batch_size == 5
    assert fit_batch_size(small, 25) == small
    for asked in (config, small):
        with pytest.raises(
            UserError, match=r"^data\.source=emblems: expected at least 2 images to train on, got 1\. From one image "
        ):
            fit_batch_size(asked, 1)
