"""A run with held-out images trains on the others, records both, repeats, and is refused on another split."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TINY, manifest_of, train_arguments

import main
from sharingan_jax.training.verify import verify

HOLDOUT = "--config.data.holdout=0.2"


def _emblem_run(workdir: Path, *more: str) -> list[str]:
    return [
        "--config",
        str(ROOT / "configs" / "smoke.py"),
        "--workdir",
        str(workdir),
        *TINY,
        "--config.train.steps=12",
        HOLDOUT,
        *more,
    ]


def _data_of(workdir: Path) -> Any:
    return json.loads((workdir / "data.json").read_text())


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds trained on 80 of the emblems. Read-only."""
    workdir = tmp_path_factory.mktemp("runs") / "seeds"
    assert main.main(_emblem_run(workdir, "--config.train.seeds=2")) == 0
    return workdir


def test_a_run_trains_on_80_emblems_and_records_20_as_held_out(two_seeds: Path) -> None:
    manifest, data = manifest_of(two_seeds / "seed-0"), _data_of(two_seeds / "seed-0")
    assert (manifest["data"]["count"], manifest["data"]["held_out"]) == (80, 20)
    assert manifest["images_seen"] == 12 * 8  # A batch of 8 divides 80, so no batch is smaller.
    assert (len(data["files"]), len(data["held_out"])) == (80, 20)
    assert set(data["files"]).isdisjoint(data["held_out"])
    assert data["digest"] == manifest["data"]["digest"]


def test_every_seed_holds_out_the_same_images(two_seeds: Path) -> None:
    assert _data_of(two_seeds / "seed-0") == _data_of(two_seeds / "seed-1")


def test_a_run_with_held_out_images_verifies_and_its_manifest_repeats_it(two_seeds: Path, tmp_path: Path) -> None:
    assert verify(two_seeds / "seed-0").same
    again = tmp_path / "again"
    assert main.main(["--config", str(two_seeds / "seed-0" / "manifest.json"), "--workdir", str(again)]) == 0
    assert manifest_of(again)["digest"] == manifest_of(two_seeds / "seed-0")["digest"]
    assert _data_of(again) == _data_of(two_seeds / "seed-0")


def test_the_start_and_the_dry_run_say_how_many_images_are_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(_emblem_run(tmp_path / "run", "--dry-run")) == 0
    assert "images       80 (20 held out) from the embedded emblems, 0 files skipped" in capsys.readouterr().out
    assert main.main(_emblem_run(tmp_path / "run", "--config.train.steps=1")) == 0
    start = capsys.readouterr().out
    assert "images    80 (20 held out) from the embedded emblems\n" in start
    assert re.search(r"^config    smoke, \d+ settings changed$", start, re.MULTILINE)


def test_a_changed_holdout_or_held_out_image_is_another_run(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, workdir = tmp_path / "images", tmp_path / "run"
    shutil.copytree(image_folder, images)
    start = train_arguments(images, workdir, "--config.train.steps=1")
    assert main.main([*start, HOLDOUT]) == 0
    capsys.readouterr()
    assert main.main([*start, "--config.data.holdout=0.3"]) == 2
    assert "holds another run: data.holdout was 0.2 and is now 0.3" in capsys.readouterr().err
    held_out = next(iter(_data_of(workdir)["held_out"]))
    (images / held_out).unlink()
    assert main.main([*start, HOLDOUT]) == 2
    assert f"{held_out}: only in the first" in capsys.readouterr().err
