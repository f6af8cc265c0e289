"""What a person sees of a run, or of several side by side, while it goes: a bar on a terminal, a line now and then in a log."""

import statistics
from collections.abc import Sequence
from itertools import groupby
from typing import Any, TextIO

from sharingan_jax.gan.metrics import METRICS

Record = dict[str, Any]


class Progress:
    """Shows records (lines of metrics.jsonl) as they come, in order. Use as a context manager.

    On a terminal: a bar with rate, time left and both losses. Elsewhere a line every `every` steps and at the last, in the
    original's words with the rate and the time left behind them.
    """

    def __init__(self, *, total_steps: int, first_step: int, batches_per_epoch: int, every: int, stream: TextIO) -> None:
        self._total = total_steps
        self._batches = batches_per_epoch
        self._every = every
        self._stream = stream
        self._line_before = (first_step - 1, 0.0)
        self._bar: Any = None
        if stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total_steps, initial=first_step - 1, unit="step", file=stream, dynamic_ncols=True, smoothing=0.1
            )
            self._bar.set_postfix_str("compiling")  # Nothing moves for the first half minute, and a reader should know why.

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def say(self, message: str) -> None:
        """Prints a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(message, file=self._stream)
        else:
            print(message, file=self._stream, flush=True)

    def update(self, *records: Record) -> None:
        """Takes the next step's record of each run; of several it shows each figure's median with the smallest and largest."""
        step = records[0]["step"]
        if self._bar is not None:
            losses = f"loss_d {_figure(records, 'loss_d')} loss_g {_figure(records, 'loss_g')}"
            self._bar.set_postfix_str(losses, refresh=False)
            self._bar.update(1)
        elif step % self._every == 0 or step == self._total:
            print(self._line(records), file=self._stream, flush=True)

    def _line(self, records: Sequence[Record]) -> str:
        record, step = records[0], records[0]["step"]
        epochs = -(-self._total // self._batches)
        # Since the line before: the first line's steps waited for the compiler, which says nothing about those to come.
        (step_before, time_before), now = self._line_before, record["time"]
        self._line_before = (step, now)
        rate = (step - step_before) / max(now - time_before, 1e-9)
        return (
            f"[{record['epoch']}/{epochs}][{(step - 1) % self._batches + 1}/{self._batches}]"
            f"  {_metrics(records)}"
            f"  step {step}/{self._total}  {rate:.2f} steps/s  left {_duration((self._total - step) / rate)}"
        )


class Chorus:
    """Gathers the records of several runs that come one run after another, and shows a step when all have told of it."""

    def __init__(self, progress: Progress, *, voices: int) -> None:
        self._progress = progress
        self._several = voices > 1
        self._waiting: dict[int, list[Record]] = {voice: [] for voice in range(voices)}

    def add(self, voice: int, record: Record) -> None:
        """Takes the next record of one of the runs, which are numbered from 0."""
        self._waiting[voice].append(record)
        self._show()

    def leave(self, voice: int, message: str) -> None:
        """One run has stopped: the others no longer wait for it, and `message` says why (of one alone its error does)."""
        del self._waiting[voice]
        if self._several:
            self._progress.say(message)
        self._show()

    def _show(self) -> None:
        while self._waiting and all(self._waiting.values()):
            self._progress.update(*(records.pop(0) for records in self._waiting.values()))


def _metrics(records: Sequence[Record]) -> str:
    """Return the metrics of a step as the original prints them: `Loss_D: …  Loss_G: …  D(x): …  D(G(z)): … / …`."""
    logged = groupby((metric for metric in METRICS if metric.log_label), key=lambda metric: metric.log_label)
    return "  ".join(f"{label}: {' / '.join(_figure(records, metric.name) for metric in same)}" for label, same in logged)


def _figure(records: Sequence[Record], name: str) -> str:
    values = [record[name] for record in records]
    if values[0] is None:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.median(values):.4f} ({min(values):.4f}–{max(values):.4f})"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
