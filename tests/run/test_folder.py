"""What a run's folder says is believed only where it can be true; what is not is named with its file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import smoke_config

from sharingan_jax.data.dataset import ArrayDataset
from sharingan_jax.errors import UserError
from sharingan_jax.run.continuation import check_same_run
from sharingan_jax.run.folder import RunDir, read_json, read_manifest
from sharingan_jax.run.lock import held
from sharingan_jax.run.metrics import FIGURES, read_metrics

RECORD = {"step": 1, "epoch": 1, "time": 0.5, **dict.fromkeys(FIGURES, 0.5)}
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("data", []),
        ("data", {"files": [1]}),
        ("data", {"fingerprint": 5}),
        ("data", {"files": {"a.png": 5}}),
        ("device", 5),
        ("device", {"count": "x"}),
        ("imported", "x"),
        ("imported", {"step": "x"}),
        ("starts", 5),
        ("starts", [{}]),
        ("starts", [{"after_step": 0, "device": 5}]),
        ("digest", 5),
        ("step", "x"),
        ("config", 5),
    ],
)
def test_a_manifest_that_cannot_be_one_is_refused_by_part(part: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({part: value}))
    with pytest.raises(UserError, match=rf"manifest\.json: {part}.*; put the file back as it was"):
        read_manifest(path)
    path.write_text("{}")
    assert read_manifest(path) == {}


@pytest.mark.parametrize(
    "line",
    ['{"step": 1}', json.dumps({**RECORD, "loss_d": "x"}), json.dumps({**RECORD, "step": "1"}), "[]", DEEP, '{"step": NaN}'],
)
def test_a_line_that_is_no_record_is_named(line: str, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    whole = json.dumps(RECORD)
    run.metrics.write_text(f"{whole}\n{line}\n{whole}\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: .*; put the file back as it was"):
        read_metrics(run)
    run.metrics.write_text(f"{whole}\n{json.dumps({**RECORD, 'loss_g': None})}\n{line[:5]}")
    assert [record["loss_g"] for record in read_metrics(run)] == [0.5, None]  # A last line that was cut is passed over.


def test_json_of_absurd_depth_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text(DEEP)
    with pytest.raises(UserError, match=r"deep\.json: not readable as JSON"):
        read_json(tmp_path / "deep.json")


def test_the_lock_leads_to_no_other_file(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(precious)
    with pytest.raises(OSError, match=r"\.lock"), held(RunDir(tmp_path / "run")):
        pass
    assert precious.read_text() == "precious"


def test_a_run_does_not_lie_among_its_pictures(tmp_path: Path) -> None:
    config = smoke_config(data__source="folder", data__path=str(tmp_path))
    pictures = ArrayDataset(images=np.zeros((1, 32, 32, 3), np.uint8), names=("a.png",), digests=("0" * 64,))
    with pytest.raises(UserError, match=r"lies inside data\.path=.*; use a --workdir outside it"):
        check_same_run(RunDir(tmp_path / "runs" / "one"), config, pictures)
    check_same_run(RunDir(tmp_path.parent / "elsewhere"), config, pictures)
