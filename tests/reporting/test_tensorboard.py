"""Events can be read back, and a resumed run hides the events of steps that it repeats."""

import importlib.util
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from sharingan_jax.errors import UserError
from sharingan_jax.reporting.tensorboard import EventWriter


def _events(folder: Path) -> list[Any]:
    """Return the events of all files, in order. Each is a length, its checksum, the bytes, their checksum."""
    events = []
    for path in sorted(folder.glob("*tfevents*")):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack("<Q", content[place : place + 8])
            events.append(Event.FromString(content[place + 12 : place + 12 + length]))
            place += 12 + length + 4
    return events


def test_each_metric_is_a_curve_without_its_missing_values(tmp_path: Path) -> None:
    with EventWriter(tmp_path, resume_step=1) as writer:
        writer.scalars(
            [
                {"step": 1, "epoch": 1, "time": 0.1, "loss_d": 0.5, "loss_g": None},
                {"step": 2, "epoch": 1, "time": 0.2, "loss_d": 0.25},
            ]
        )
        writer.image("samples", np.zeros((4, 6, 3), np.uint8), 2)
    values = [(event.step, value.tag, value.simple_value) for event in _events(tmp_path) for value in event.summary.value]
    assert values[:2] == [(1, "loss_d", 0.5), (2, "loss_d", 0.25)]
    assert values[2][:2] == (2, "samples")
    assert len(values) == 3


def test_a_resumed_run_records_its_first_step(tmp_path: Path) -> None:
    with EventWriter(tmp_path, resume_step=7) as writer:
        writer.scalars([{"step": 7, "loss_d": 0.5}])
    assert any(event.step == 7 and event.session_log.status == 1 for event in _events(tmp_path))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the package tensorboardX"):
        EventWriter(tmp_path, resume_step=1)
