"""A log shows the original's lines, a terminal shows a bar."""

import io
import os
import re
import termios
import time
from typing import Any

import pytest

from sharingan_jax.reporting.progress import Progress, duration


def _record(step: int, **changes: Any) -> dict[str, Any]:
    values = {"loss_d": 1.25, "loss_g": 2.5, "d_real": 0.75, "d_fake_before": 0.25, "d_fake_after": 0.125}
    return {"step": step, "epoch": (step - 1) // 4 + 1, "time": 10 + step / 8, **values, **changes}


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _show(stream: io.StringIO, *, steps: range, every: int = 25, **changes: Any) -> str:
    with Progress(total_steps=60, first_step=steps.start, batches_per_epoch=4, every=every, stream=stream) as progress:
        for step in steps:
            progress.update(_record(step, **changes))
        progress.say("a word")
    return stream.getvalue()


def test_a_log_has_a_line_every_so_often_and_at_the_last_step() -> None:
    lines = _show(io.StringIO(), steps=range(1, 61)).splitlines()
    assert len(lines) == 4
    start = "[7/15][1/4]  Loss_D: 1.2500  Loss_G: 2.5000  D(x): 0.7500  D(G(z)): 0.2500 / 0.1250  step 25/60  "
    assert lines[0].startswith(start)
    assert re.search(r"[\d.]+ steps/s  left 0:\d\d$", lines[0])
    assert "step 60/60" in lines[2]
    assert lines[3] == "a word"


def test_the_rate_is_over_the_steps_since_the_previous_line() -> None:
    lines = _show(io.StringIO(), steps=range(1, 61), every=20).splitlines()
    assert lines[1].endswith("8.00 steps/s  left 0:02")
    assert lines[2].endswith("8.00 steps/s  left 0:00")


def test_a_metric_without_a_value_is_a_dash() -> None:
    assert "Loss_G: -  " in _show(io.StringIO(), steps=range(25, 26), loss_g=None)


def test_a_probability_that_adapts_ends_the_metrics_of_a_line() -> None:
    assert "/ 0.1250  p: 0.3000  step 25/60" in _show(io.StringIO(), steps=range(25, 26), augment_probability=0.3)


def test_a_terminal_has_a_bar_with_both_losses() -> None:
    shown = _show(_Terminal(), steps=range(31, 61))
    assert "D 1.25 G 2.5" in shown
    assert "60/60" in shown
    assert shown.index("compiling 0:00") < shown.index("D 1.25")
    assert "a word" in shown
    assert "Loss_D" not in shown


@pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize(("rows", "columns", "width"), [(24, 100, 100), (0, 0, 80), (0, 60, 80)])
def test_a_terminal_that_does_not_know_its_size_has_a_bar_of_80_columns(rows: int, columns: int, width: int) -> None:
    reader, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (rows, columns))
    with (
        os.fdopen(terminal, "w") as stream,
        Progress(total_steps=60, first_step=1, batches_per_epoch=4, every=25, stream=stream) as progress,
    ):
        progress.update(_record(60))
    shown = os.read(reader, 10_000).decode()
    os.close(reader)
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert max(map(len, re.split(r"[\r\n]+", plain))) in (width - 1, width)


@pytest.mark.parametrize("kind", [io.StringIO, _Terminal])
def test_a_verification_says_that_it_repeats_and_shows_no_metrics(kind: type[io.StringIO]) -> None:
    stream = kind()
    with Progress(total_steps=8, first_step=1, batches_per_epoch=4, every=4, stream=stream, verb="repeating") as progress:
        for step in range(1, 9):
            progress.update(_record(step))
    shown = stream.getvalue()
    assert "repeating" in shown
    assert "1.25" not in shown
    if kind is io.StringIO:
        assert shown.startswith("[1/2][4/4]  repeating  step 4/8  ")


def test_durations_are_written_as_on_a_clock() -> None:
    assert [duration(seconds) for seconds in (0, 61.4, 3725)] == ["0:00", "1:01", "1:02:05"]


def test_several_runs_show_the_median_with_the_smallest_and_largest() -> None:
    stream = io.StringIO()
    with Progress(total_steps=4, first_step=1, batches_per_epoch=4, every=1, stream=stream) as progress:
        progress.update(*(_record(1, loss_d=loss) for loss in (1.0, 2.0, 4.0)))
    assert stream.getvalue().startswith("[1/1][1/4]  Loss_D: 2.0000 (1.0000–4.0000)")


def test_the_bar_is_whole_at_80_columns_and_its_clock_moves_until_the_first_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = _Terminal()
    with Progress(total_steps=123_456, first_step=1, batches_per_epoch=4, every=1, stream=stream) as progress:
        time.sleep(1.3)
        progress.update(_record(1, loss_d=101.2345, loss_g=0.0012345))
        progress._bar.refresh()
    shown = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", stream.getvalue())
    assert "compiling 0:01" in shown
    lines = [line for line in re.split(r"[\r\n]", shown) if "123456" in line]
    assert all(len(line) <= 80 for line in lines), lines
    assert lines[-1].rstrip().endswith("D 101.2 G 0.001234")
