"""A log gets the original's lines; a terminal gets a bar."""

import io
import re
from typing import Any

from sharingan_jax.reporting.progress import Chorus, Progress, _duration


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


def test_the_rate_is_of_the_steps_since_the_line_before_however_many_come_at_once() -> None:
    lines = _show(io.StringIO(), steps=range(1, 61), every=20).splitlines()
    assert lines[1].endswith("8.00 steps/s  left 0:02")
    assert lines[2].endswith("8.00 steps/s  left 0:00")


def test_a_figure_that_was_not_taken_is_a_dash() -> None:
    assert "Loss_G: -  " in _show(io.StringIO(), steps=range(25, 26), loss_g=None)


def test_a_terminal_has_a_bar_with_both_losses() -> None:
    shown = _show(_Terminal(), steps=range(31, 61))
    assert "loss_d 1.2500 loss_g 2.5000" in shown
    assert "60/60" in shown
    assert shown.index("compiling") < shown.index("loss_d")
    assert "a word" in shown
    assert "Loss_D" not in shown


def test_durations_are_written_as_clocks_do() -> None:
    assert [_duration(seconds) for seconds in (0, 61.4, 3725)] == ["0:00", "1:01", "1:02:05"]


def test_of_several_runs_a_step_is_shown_once_when_all_that_go_on_have_told_of_it() -> None:
    stream = io.StringIO()
    with Progress(total_steps=4, first_step=1, batches_per_epoch=4, every=1, stream=stream) as progress:
        chorus = Chorus(progress, voices=3)
        for voice, loss in enumerate((1.0, 2.0, 4.0)):
            chorus.add(voice, _record(1, loss_d=loss))
        chorus.add(0, _record(2, loss_d=9.0))
        chorus.leave(0, "the first has stopped")
        for step in (2, 3, 4):
            for voice, loss in ((1, 2.0), (2, 4.0)):
                chorus.add(voice, _record(step, loss_d=loss))
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("[1/1][1/4]  Loss_D: 2.0000 (1.0000–4.0000)")
    assert lines[1] == "the first has stopped"
    assert [line.split("  step ")[1][:3] for line in lines[2:]] == ["2/4", "3/4", "4/4"]
    assert "Loss_D: 3.0000 (2.0000–4.0000)" in lines[2]
