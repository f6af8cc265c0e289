"""What comes back from the device, made into lines, events, progress and grids, one dispatch late."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sharingan_jax import outputs
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.errors import UserError
from sharingan_jax.rundir import RunDir, append_metrics
from sharingan_jax.tensorboard import EventWriter

GEN_METRICS = ("loss_g", "d_fake_after", "grad_norm_g")
ADVICE = "lower optim.disc.lr and optim.gen.lr, optim.disc.clip_norm=5 or model.disc_spectral_norm=True may keep it finite"


class NonFiniteError(UserError):
    """A figure of a step is a NaN or an infinity."""


class Recorder:
    """Turns metrics into records and writes them, one dispatch late, so that the device never waits for the host.

    One that does not write (`writes=False`, of a run's second process and those after it) only finds what is not finite.
    `check_folder` is called before each writing, and raises where the run's folder is gone; `show` is given each record.
    """

    def __init__(
        self,
        run: RunDir,
        plan: BatchPlan,
        *,
        n_critic: int,
        columns: int,
        writes: bool,
        check_folder: Callable[[], None],
        events: EventWriter | None,
        show: Callable[[dict[str, Any]], None],
    ) -> None:
        self._run = run
        self._plan = plan
        self._n_critic = n_critic
        self._columns = columns
        self._writes = writes
        self._check_folder = check_folder
        self._events = events
        self._show = show
        self._pending: tuple[int, Callable[[], Mapping[str, np.ndarray]]] | None = None
        self._start = time.monotonic()
        self._written_at = 0.0

    def take(self, first_step: int, read: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """Notes what reads the metrics [K] of the steps from `first_step`, and writes those noted before."""
        self.flush()
        self._pending = (first_step, read)

    def flush(self) -> None:
        """Writes what is noted; raises NonFiniteError where a figure is not finite, after writing the steps before it."""
        if self._pending is None:
            return
        first_step, read = self._pending
        self._pending = None
        columns = {name: values.tolist() for name, values in read().items()}
        now = time.monotonic() - self._start
        length = len(columns["loss_d"])
        records, failure = [], None
        for i in range(length):
            # A dispatch tells when it ended, not when each of its steps did: its time is shared out evenly.
            seconds = self._written_at + (now - self._written_at) * (i + 1) / length
            record = self._record(first_step + i, seconds, {name: values[i] for name, values in columns.items()})
            failure = _first_non_finite(record)
            if failure:
                break
            records.append(record)
        self._written_at = now
        if self._writes:
            self._write(records)
        if failure:
            raise NonFiniteError(self._failure_message(first_step + len(records), *failure))

    def sample(self, step: int, images: np.ndarray) -> None:
        """Writes the grid of a step's pictures, float32 [N, H, W, C] in [−1, 1]."""
        grid = outputs.save_sample(self._run, step, images, self._columns)
        if self._events:
            self._events.image("samples", grid, step)

    def _record(self, step: int, seconds: float, values: dict[str, float]) -> dict[str, Any]:
        taken = step % self._n_critic == 0
        shown = {name: None if name in GEN_METRICS and not taken else value for name, value in values.items()}
        return {"step": step, "epoch": self._plan.epoch_of(step), "time": round(seconds, 4), **shown}

    def _write(self, records: list[dict[str, Any]]) -> None:
        self._check_folder()
        append_metrics(self._run, records)
        if self._events:
            self._events.scalars(records)
        for record in records:
            self._show(record)

    def _failure_message(self, step: int, name: str, value: float) -> str:
        return (
            f"step {step}: {name} is {value}, so the run has stopped; what was saved before it is whole,"
            f" in {self._run.checkpoints}; {ADVICE}"
        )


def _first_non_finite(record: dict[str, Any]) -> tuple[str, float] | None:
    for name, value in record.items():
        if isinstance(value, float) and not math.isfinite(value):
            return name, value
    return None
