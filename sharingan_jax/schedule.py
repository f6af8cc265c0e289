"""Which steps go into one dispatch, and after which steps something is written."""

from collections.abc import Iterator
from dataclasses import dataclass

from sharingan_jax.config import Config
from sharingan_jax.data.order import BatchPlan


@dataclass(frozen=True)
class Schedule:
    """Steps 1 to `total_steps`; those that are multiples of `sample_every` or `checkpoint_every`, and the last, end a dispatch.

    A dispatch holds `steps_per_call` steps where they fit before the next such step and have batches of one size, else one
    step: so there are two compiled programs (three with a partial batch), however a run is cut up by stops.
    """

    plan: BatchPlan
    total_steps: int
    steps_per_call: int
    sample_every: int
    checkpoint_every: int

    def chunks(self, first_step: int) -> Iterator[tuple[int, int]]:
        """(first step, number of steps) of each dispatch from `first_step` to the end."""
        step = first_step
        while step <= self.total_steps:
            length = self.steps_per_call if self._fits(step) else 1
            yield step, length
            step += length

    def samples_at(self, step: int) -> bool:
        return step % self.sample_every == 0 or step == self.total_steps

    def saves_at(self, step: int) -> bool:
        return step % self.checkpoint_every == 0 or step == self.total_steps

    def _fits(self, first: int) -> bool:
        last = first + self.steps_per_call - 1
        ends_inside = any(self.samples_at(step) or self.saves_at(step) for step in range(first, last))
        sizes = {self.plan.size_of(step) for step in range(first, last + 1)}
        return last <= self.total_steps and not ends_inside and len(sizes) == 1


def make_schedule(config: Config, plan: BatchPlan) -> Schedule:
    """The schedule of a configuration: `train.steps` decides where given, else `train.epochs`."""
    steps_per_call = config.train.steps_per_call
    if plan.has_partial_batch:
        steps_per_call = max(1, min(steps_per_call, plan.batches_per_epoch - 1))
    return Schedule(
        plan=plan,
        total_steps=config.train.steps or config.train.epochs * plan.batches_per_epoch,
        steps_per_call=steps_per_call,
        sample_every=config.sample.every,
        checkpoint_every=config.checkpoint.every,
    )
