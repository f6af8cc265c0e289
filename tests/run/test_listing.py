"""Runs are listed from their small files: status, step, seed, the nearest configuration, age."""

import json
import os
from pathlib import Path

import pytest

from sharingan_jax.config.load import load_config
from sharingan_jax.config.schema import to_dict
from sharingan_jax.errors import UserError
from sharingan_jax.run import listing
from sharingan_jax.run.listing import list_runs, name_config


def _make_run(folder: Path, config: dict, **manifest: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "manifest.json").write_text(json.dumps({"config": config, **manifest}))
    return folder


def test_runs_are_found_below_a_folder_with_what_they_recorded(tmp_path: Path) -> None:
    smoke = to_dict(load_config("smoke", {"seed": 3}))
    done = _make_run(tmp_path / "b" / "seed-3", smoke, status="completed", step=12, total_steps=12)
    longer = to_dict(load_config("baseline", {"train.epochs": 7, "optim.gen.lr": 1.0}))
    killed = _make_run(tmp_path / "a", longer, status="running", total_steps=28)
    lines = [json.dumps({"step": step}) for step in range(1, 6)]
    (killed / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 6, "lo')
    for name in ("config.json", "manifest.json"):
        os.utime(killed / name, (1, 1))
    os.utime(killed / "metrics.jsonl", (5, 5))
    first, second = list_runs(tmp_path)
    assert (first.path, first.status, first.step, first.total_steps, first.seed) == (killed, "interrupted", 5, 28, 0)
    assert (first.config, first.modified) == ("baseline +2", 5)
    assert (second.path, second.status, second.step, second.total_steps, second.seed) == (done, "completed", 12, 12, 3)
    assert second.config == "smoke"
    assert list_runs(done) == [second]


def test_a_run_that_is_training_is_running(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    run = _make_run(tmp_path / "run", to_dict(load_config("default")), status="running", total_steps=800)
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (entry,) = list_runs(tmp_path)
        assert (entry.status, entry.config, entry.step) == ("running", "default", 0)
    assert list_runs(tmp_path)[0].status == "interrupted"


def test_a_configuration_that_cannot_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _make_run(tmp_path / "runs" / "run", to_dict(load_config("smoke")), status="complete", step=1, total_steps=1)
    (tmp_path / "half.py").write_text("def get_config(")
    monkeypatch.setattr(listing, "config_files", lambda: [tmp_path / "half.py"])
    (entry,) = list_runs(tmp_path / "runs")
    assert (entry.path, entry.status, entry.config) == (run, "complete", "-")


def test_a_configuration_has_its_name_and_the_number_of_changed_settings(tmp_path: Path) -> None:
    changed = load_config("quick", {"seed": 4, "train.steps": 5, "sample.every": 5})
    assert name_config(load_config("quick", {"seed": 4}), "quick") == "quick"
    assert name_config(changed, "quick.py") == "quick, 2 settings changed"
    assert name_config(changed, changed) == name_config(changed, to_dict(changed)) == "quick, 2 settings changed"
    mine = tmp_path / "mine.py"
    mine.write_text("from sharingan_jax.config.load import base_config\n\n\ndef get_config():\n    return base_config('quick')\n")
    assert name_config(load_config(mine), mine) == str(mine)
    assert name_config(load_config(mine, {"data.turns": 2}), str(mine)) == f"{mine}, 1 setting changed"


def test_a_broken_manifest_is_listed_and_a_missing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{")
    (entry,) = list_runs(tmp_path)
    assert (entry.status, entry.step, entry.seed, entry.config) == ("unreadable", 0, None, "-")
    with pytest.raises(UserError, match=r"nowhere: expected a folder of runs, found none\."):
        list_runs(tmp_path / "nowhere")
