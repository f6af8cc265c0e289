"""The progress of one run or of stacked runs: a bar on a terminal, or a line every few steps in a log."""

import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, TextIO

from sharingan_jax.gan.metrics import ADAPTIVE, METRICS
from sharingan_jax.reporting.output import Output

Record = dict[str, Any]
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {rate_fmt} left {remaining}  {desc}"
COLOUR = "red"


class Progress:
    """A display of records (lines of metrics.jsonl) in the order of steps, used as a context manager.

    On a terminal and in a notebook: a bar with rate, time left and both losses, and until the first record an elapsed clock.
    Elsewhere: a line every `every` steps and at the last, in the original's words, then the rate and the time left.
    `verb` is "training", or "repeating" in a verification. A verification writes no samples, and shows the word in place of
    metrics: training has shown them. `watch` is called with each step shown.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        first_step: int,
        batches_per_epoch: int,
        every: int,
        stream: TextIO,
        verb: str = "training",
        watch: Callable[[int], object] = lambda step: None,
    ) -> None:
        self.verb = verb
        self._watch = watch
        self._total = total_steps
        self._batches = batches_per_epoch
        self._every = every
        self._stream = stream
        self._line_before = (first_step - 1, 0.0)
        self._bar: Any = None
        self._first_record = threading.Event()
        self._clock: threading.Thread | None = None
        if is_interactive(stream):
            from tqdm import tqdm

            has_size = _has_size(stream)
            self._bar = tqdm(
                total=total_steps,
                initial=first_step - 1,
                unit="step",
                file=stream,
                dynamic_ncols=has_size,
                ncols=None if has_size else 80,
                nrows=None if has_size else 24,
                smoothing=0.1,
                bar_format=BAR,
                colour=COLOUR,
            )
            self._bar.set_description_str("compiling 0:00")
            self._clock = threading.Thread(target=self._show_clock, name="progress", daemon=True)
            self._clock.start()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_clock()
        if self._bar is not None:
            self._bar.close()

    def say(self, message: str) -> None:
        """Print a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(message, file=self._stream)
        else:
            print(message, file=self._stream, flush=True)

    def update(self, *records: Record) -> None:
        """Show the next step's record of each run. If there are several, show each metric's median, smallest and largest."""
        step = records[0]["step"]
        self._watch(step)
        if self._bar is not None:
            self._stop_clock()
            self._bar.set_description_str(self._values(records, _losses), refresh=False)
            self._bar.update(1)
        elif step % self._every == 0 or step == self._total:
            print(self._line(records), file=self._stream, flush=True)

    def _line(self, records: Sequence[Record]) -> str:
        record, step = records[0], records[0]["step"]
        epochs = -(-self._total // self._batches)
        # The rate since the previous line: the first line's time includes compiling, which says nothing about later steps.
        (step_before, time_before), now = self._line_before, record["time"]
        self._line_before = (step, now)
        rate = (step - step_before) / max(now - time_before, 1e-9)
        return (
            f"[{record['epoch']}/{epochs}][{(step - 1) % self._batches + 1}/{self._batches}]"
            f"  {self._values(records, _metrics)}"
            f"  step {step}/{self._total}  {rate:.2f} steps/s  left {duration((self._total - step) / rate)}"
        )

    def _values(self, records: Sequence[Record], show: Callable[[Sequence[Record]], str]) -> str:
        return show(records) if self.verb == "training" else self.verb

    def _show_clock(self) -> None:
        start = time.monotonic()
        while not self._first_record.wait(1.0):
            self._bar.set_description_str(f"compiling {duration(time.monotonic() - start)}")

    def _stop_clock(self) -> None:
        if self._clock is not None and not self._first_record.is_set():
            self._first_record.set()
            self._clock.join()


def is_interactive(stream: TextIO) -> bool:
    """Return whether the stream is a terminal or the output of a notebook's cell."""
    inner = stream.inner if isinstance(stream, Output) else stream
    return stream.isatty() or type(inner).__module__.partition(".")[0] == "ipykernel"


def _has_size(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that knows its size. Some that programs open have 0 rows, and tqdm shows nothing."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return False
    return columns > 0 and rows > 0


def _losses(records: Sequence[Record]) -> str:
    """Return both losses in at most 22 characters, the medians if there are several runs."""
    shown = []
    for metric in (metric for metric in METRICS if metric.quantity == "loss"):
        values = [record[metric.name] for record in records]
        shown.append(f"{metric.label} {'-' if values[0] is None else f'{statistics.median(values):.4g}'}")
    return " ".join(shown)


def _metrics(records: Sequence[Record]) -> str:
    """Return the metrics of a step as the original prints them: `Loss_D: …  Loss_G: …  D(x): …  D(G(z)): … / …`.

    After them comes the probability of augmentation, if it adapts.
    """
    taken = [*METRICS, ADAPTIVE] if ADAPTIVE.name in records[0] else METRICS
    logged = groupby((metric for metric in taken if metric.log_label), key=lambda metric: metric.log_label)
    return "  ".join(f"{label}: {' / '.join(_metric(records, metric.name) for metric in same)}" for label, same in logged)


def _metric(records: Sequence[Record], name: str) -> str:
    values = [record[name] for record in records]
    if values[0] is None:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.median(values):.4f} ({min(values):.4f}–{max(values):.4f})"


def duration(seconds: float) -> str:
    """Return seconds as a clock shows them: 0:07, 1:01, 1:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
