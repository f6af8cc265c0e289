"""Dispatches cover every step once and end where something is written."""

from hypothesis import given
from hypothesis import strategies as st

from sharingan_jax.data.order import BatchPlan
from sharingan_jax.schedule import Schedule


@given(
    count=st.integers(5, 40), batch=st.integers(1, 10), total=st.integers(1, 120), per_call=st.integers(1, 9),
    sample_every=st.integers(1, 30), checkpoint_every=st.integers(1, 30), first=st.integers(1, 120),
)  # fmt: skip
def test_dispatches_cover_each_step_once_and_end_at_every_writing_step(
    count: int, batch: int, total: int, per_call: int, sample_every: int, checkpoint_every: int, first: int
) -> None:
    plan = BatchPlan(count, batch_size=min(batch, count), seed=0, last_batch="keep")
    schedule = Schedule(plan, total, per_call, sample_every, checkpoint_every)
    covered = []
    for start, length in schedule.chunks(first):
        steps = range(start, start + length)
        covered += list(steps)
        assert length in (1, per_call)
        assert len({plan.size_of(step) for step in steps}) == 1
        assert not any(schedule.samples_at(step) or schedule.saves_at(step) for step in steps[:-1])
    assert covered == list(range(first, total + 1))
