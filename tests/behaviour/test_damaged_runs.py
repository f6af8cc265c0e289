"""A run whose checkpoints or records are damaged continues from the newest state that is whole, or is left as it is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import manifest_of, metrics_of, train_arguments
from faults import FAULTS
from PIL import Image

import main


def test_metrics_truncated_by_a_crash_are_completed(image_folder: Path, whole_run: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    assert main.main(train_arguments(image_folder, workdir, "--config.train.steps=8")) == 0
    ninth = json.dumps({**metrics_of(workdir)[-1], "step": 9, "time": 1.0, "loss_d": 1.0})
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write(ninth + '\n{"step": 10, "epo')
    assert main.main(train_arguments(image_folder, workdir)) == 0
    assert metrics_of(workdir) == metrics_of(whole_run)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (None, "has no record of step 1, and the last checkpoint is of step 12"),
        ("null", "line 4: not the record of a step"),
        ('{"loss_d": 1}', "line 4: not the record of a step"),
        ('{"step": 4, "loss_d": NaN}', "line 4: NaN is not a value of a metric"),
        ('{"step": 4}', "line 4: not the record of a step"),
        ("the one before", "has no record of step 4"),
        ("\udcff", "line 4: 'utf-8' codec can't decode"),
    ],
)
def test_damaged_records_are_named_and_nothing_is_written(
    image_folder: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str | None, message: str
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole_run, workdir)
    metrics = workdir / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    damaged = lines[2] if line == "the one before" else line
    text = "" if damaged is None else "\n".join([*lines[:3], damaged, *lines[4:], ""])
    metrics.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = {path.name: path.read_bytes() for path in workdir.iterdir() if path.is_file()}
    assert main.main(train_arguments(image_folder, workdir, "--config.train.steps=16")) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert FAULTS["records"].is_shown_in(error)
    assert {path.name: path.read_bytes() for path in workdir.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("index", "line", "message"),
    [
        (11, '{"step": 12, "ep', "has no record of step 12, and the last checkpoint is of step 12; it is now "),
        (9, "null", "line 10: not the record of a step, and the last checkpoint is of step 12; it is now "),
        (8, "the one before", "has no record of step 9, and the last checkpoint is of step 12; it is now "),
    ],
)
def test_a_run_continues_before_the_first_damaged_record(
    image_folder: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], index: int, line: str, message: str
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole_run, workdir)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    lines[index] = lines[index - 1] if line == "the one before" else line
    (workdir / "metrics.jsonl").write_text("\n".join([*lines, ""] if index < 11 else lines))
    assert main.main(train_arguments(image_folder, workdir)) == 0
    out = capsys.readouterr().out
    assert f"{message}{workdir / 'damaged' / 'step-12'}, and the run continues from step 8\n" in out
    assert FAULTS["damaged-end"].is_shown_in(out)
    if index < 11:
        assert (workdir / "damaged" / "metrics.jsonl").read_text().splitlines() == lines
    assert metrics_of(workdir) == metrics_of(whole_run)
    assert manifest_of(workdir)["digest"] == manifest_of(whole_run)["digest"]


@pytest.mark.parametrize(
    ("change", "message"),
    [("--config.seed=5", "of other settings; use those it was made with"), ("", "of other images; use those it was made with")],
)
def test_a_checkpoint_alone_identifies_its_settings_and_images(
    image_folder: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, message: str
) -> None:
    workdir, others = tmp_path / "run", tmp_path / "images"
    shutil.copytree(whole_run, workdir)
    shutil.copytree(image_folder, others)
    for name in ("config.json", "manifest.json"):
        (workdir / name).unlink()
    if not change:
        Image.new("RGB", (40, 40)).save(others / "07.png")
    assert main.main(train_arguments(others, workdir, *filter(None, [change]))) == 2
    assert message in capsys.readouterr().err


def _flip_bytes(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > 2000:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0xFF
            path.write_bytes(content)


def _truncate(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("damage", [_flip_bytes, _truncate, _empty])
def test_a_damaged_checkpoint_is_quarantined_and_the_one_before_it_gives_the_same_bits(
    image_folder: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole_run, workdir)
    damage(workdir / "checkpoints" / "12")
    assert main.main(train_arguments(image_folder, workdir)) == 0
    out = capsys.readouterr().out
    assert f"it is now {workdir / 'damaged' / 'step-12'}, and the run continues from step 8\n" in out
    assert FAULTS["damaged"].is_shown_in(out)
    assert (workdir / "damaged" / "step-12").is_dir()
    assert manifest_of(workdir)["digest"] == manifest_of(whole_run)["digest"]
    assert metrics_of(workdir) == metrics_of(whole_run)


def test_a_renamed_checkpoint_is_not_believed(
    image_folder: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole_run, workdir)
    (workdir / "checkpoints" / "12").rename(workdir / "checkpoints" / "16")
    for name in ("999", "²"):
        (workdir / "checkpoints" / name).mkdir()
        (workdir / "checkpoints" / name / "files.json").write_text("{}")
    assert main.main([*train_arguments(image_folder, workdir), "--dry-run"]) == 0
    assert "starts       after step 8, from its checkpoint\n" in capsys.readouterr().out
    assert main.main(train_arguments(image_folder, workdir)) == 0
    assert "it holds step 12, so its folder was renamed; rename it back; it is now" in capsys.readouterr().out
    assert manifest_of(workdir)["digest"] == manifest_of(whole_run)["digest"]


def test_a_run_with_only_damaged_checkpoints_is_left_unchanged(
    image_folder: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole_run, workdir)
    for folder in (workdir / "checkpoints").iterdir():
        _flip_bytes(folder)
    assert main.main(train_arguments(image_folder, workdir)) == 2
    assert FAULTS["all-damaged"].is_shown_in(capsys.readouterr().err)
    assert metrics_of(workdir) == metrics_of(whole_run)
