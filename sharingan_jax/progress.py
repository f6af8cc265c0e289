"""What a person sees of a run while it goes: a bar on a terminal, a line now and then in a log."""

from typing import Any, TextIO


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

    def update(self, record: dict[str, Any]) -> None:
        """Takes the next step's record."""
        step = record["step"]
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss_d {_figure(record['loss_d'])} loss_g {_figure(record['loss_g'])}", refresh=False)
            self._bar.update(1)
        elif step % self._every == 0 or step == self._total:
            print(self._line(record), file=self._stream, flush=True)

    def _line(self, record: dict[str, Any]) -> str:
        step = record["step"]
        epochs = -(-self._total // self._batches)
        # Since the line before: the first line's steps waited for the compiler, which says nothing about those to come.
        (step_before, time_before), now = self._line_before, record["time"]
        self._line_before = (step, now)
        rate = (step - step_before) / max(now - time_before, 1e-9)
        return (
            f"[{record['epoch']}/{epochs}][{(step - 1) % self._batches + 1}/{self._batches}]"
            f"  Loss_D: {_figure(record['loss_d'])}  Loss_G: {_figure(record['loss_g'])}  D(x): {_figure(record['d_real'])}"
            f"  D(G(z)): {_figure(record['d_fake_before'])} / {_figure(record['d_fake_after'])}"
            f"  step {step}/{self._total}  {rate:.2f} steps/s  left {_duration((self._total - step) / rate)}"
        )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
