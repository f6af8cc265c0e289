"""Which steps form a chunk, run in one dispatch, and after which steps something is written."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sharingan_jax.config.schema import Config
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.errors import UserError


def fit_batch_size(config: Config, count: int) -> Config:
    """Return the settings with a batch of all `count` images if there are fewer than a batch and `data.small` is "ok".

    Raise UserError if there is only one image.
    """
    if count < 2:
        place = f"data.path={config.data.path}" if config.data.path else f"data.source={config.data.source}"
        reason = "From one image a generator learns only to copy it"
        raise UserError(f"{place}: expected at least 2 images to train on, got {count}. {reason}: add others.")
    if config.data.small != "ok" or count >= config.train.batch_size:
        return config
    return replace(config, train=replace(config.train, batch_size=count))


@dataclass(frozen=True)
class Schedule:
    """Steps 1 to `total_steps` in chunks, which end at multiples of `sample_every` and `checkpoint_every`, and at the last step.

    They also end at the steps of `extra_saves`, after which a checkpoint is due as well. A chunk has `steps_per_dispatch` steps
    if they fit before the next such step and have batches of one size, else one step. So there are two compiled programs (three
    with a partial batch), wherever a run is stopped.
    """

    plan: BatchPlan
    total_steps: int
    steps_per_dispatch: int
    sample_every: int
    checkpoint_every: int
    extra_saves: tuple[int, ...] = ()

    def chunks(self, first_step: int, *, until: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield (first step, number of steps) of each chunk from `first_step` to the end, or to the step `until`."""
        end = self.total_steps if until is None else until
        step = first_step
        while step <= end:
            length = self.steps_per_dispatch if self._fits(step, end=end) else 1
            yield step, length
            step += length

    def samples_at(self, step: int) -> bool:
        return step % self.sample_every == 0 or step == self.total_steps

    def signs_at(self, step: int) -> bool:
        """Return whether the signs of collapse are taken. Not at an odd last step: a longer run has no grid there."""
        return step % self.sample_every == 0

    def saves_at(self, step: int) -> bool:
        return step % self.checkpoint_every == 0 or step == self.total_steps or step in self.extra_saves

    def writes_at(self, step: int) -> bool:
        """Return whether a sample grid or a checkpoint is due after this step."""
        return self.samples_at(step) or self.saves_at(step)

    def _fits(self, first: int, *, end: int) -> bool:
        last = first + self.steps_per_dispatch - 1
        ends_inside = any((last - 1) // every > (first - 1) // every for every in (self.sample_every, self.checkpoint_every))
        ends_inside = ends_inside or any(first <= step < last for step in self.extra_saves)
        an_epoch = self.plan.batches_per_epoch
        changes_size = self.plan.has_partial_batch and self.steps_per_dispatch > 1 and last // an_epoch > (first - 1) // an_epoch
        return last <= end and not ends_inside and not changes_size


def make_schedule(config: Config, plan: BatchPlan) -> Schedule:
    """Return the schedule of a configuration: `train.steps` decides if given, else `train.epochs`.

    A chunk is never longer than from one sample or checkpoint to the next. Raise UserError if the epochs make more steps than
    can be counted.
    """
    total_steps = config.train.steps or config.train.epochs * plan.batches_per_epoch
    if total_steps >= 2**31:
        epochs = config.train.epochs
        raise UserError(f"train.epochs={epochs}: expected at most {2**31 - 1} steps in all, got {total_steps}. Set fewer epochs.")
    steps_per_dispatch = min(config.train.steps_per_dispatch, config.sample.every, config.checkpoint.every, total_steps)
    if plan.has_partial_batch:
        steps_per_dispatch = max(1, min(steps_per_dispatch, plan.batches_per_epoch - 1))
    return Schedule(plan, total_steps, steps_per_dispatch, config.sample.every, config.checkpoint.every)
