"""A folder of somebody's real mess trains with one command, which says what it did."""

import json
from pathlib import Path

import pytest
from conftest import train_arguments
from corpus import FILES, make_corpus
from odd_files import PROOF, encoded, scene, with_alpha
from PIL import Image

import main

ALL_OF_IT = ["--config.data.on_bad=skip", "--config.data.small=ok", "--config.train.batch_size=1000"]


@pytest.fixture
def mess(tmp_path: Path) -> Path:
    make_corpus(tmp_path / "mess")
    return tmp_path / "mess"


def test_a_dry_run_on_the_corpus_says_what_it_would_do(mess: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(train_arguments(mess, tmp_path / "run", *ALL_OF_IT, "--dry-run")) == 0
    out = capsys.readouterr().out.splitlines()
    bad, skipped = (sum(file.outcome.startswith(kind) for file in FILES.values()) for kind in ("bad", "skipped"))
    count = len(FILES) - bad - skipped
    starts = [
        f"{mess}: {bad} files cannot be read and were skipped: broken/bomb-without-ending (more than 250,000,000 pixels; data",
        f"{mess}: {skipped} files are not images and were skipped: others/@eaDir/ (a folder that a system made for itself)",
        f"{mess}: 21 images, such as alpha/all-clear.png, have transparent parts, laid on data.background=white",
        f"{mess}: 22 images, such as turned/2.jpg, have an EXIF orientation, and were turned upright (data.exif=apply)",
        f"{mess}: no classes: alpha, deep, kinds, names, sides and 1 more look like classes, but 2 images do not lie exactly one",
        f"{mess}: 13 of {count} are copies of others",
        f"train.batch_size=1000: batches have all {count} images, since data.small=ok",
        "settings",
    ]
    assert [line[: len(start)] for line, start in zip(out, starts, strict=False)] == starts
    assert f"images       {count} from {mess} (a folder), {bad + skipped} files skipped; digest " in "\n".join(out)
    assert f"steps        12: batches of {count}, 1 per epoch" in "\n".join(out)
    assert not (tmp_path / "run").exists()


def test_without_the_settings_the_mess_is_refused_in_one_line(
    mess: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(train_arguments(mess, tmp_path / "run")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "that cannot: broken/bomb-without-ending (" in line
    assert not (tmp_path / "run").exists()
    assert not (mess / "others" / PROOF).exists()


@pytest.mark.slow
def test_a_few_images_train_and_the_files_left_out_are_in_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.png").write_bytes(encoded(scene().rotate(9 * i), "PNG"))
    (folder / "notes.txt").write_text("hello")
    (folder / "cut.png").write_bytes(encoded(scene(), "PNG")[:60])
    arguments = train_arguments(
        folder, tmp_path / "run", *ALL_OF_IT[:2], "--config.train.batch_size=25", "--config.train.steps=2"
    )
    for _ in range(2):  # The second start finds the run as it was.
        assert main.main(arguments) == 0
        assert "train.batch_size=25: batches have all 5 images, since data.small=ok\n" in capsys.readouterr().out
    record = json.loads((tmp_path / "run" / "data.json").read_text())
    assert (record["skipped"], list(record["bad"])) == ({"notes.txt": "not an image"}, ["cut.png"])
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["data"]["skipped"], manifest["data"]["bad"], manifest["config"]["train"]["batch_size"]) == (1, 1, 5)
    assert main.main(["verify", "--workdir", str(tmp_path / "run")]) == 0


@pytest.mark.slow
def test_transparent_images_train_and_are_sampled_and_evaluated(tmp_path: Path) -> None:
    folder, run = tmp_path / "stickers", tmp_path / "run"
    folder.mkdir()
    for i in range(24):
        image = with_alpha(255, 10 * i, 255, 0).rotate(3 * i)
        (folder / f"{i:02d}.png").write_bytes(encoded(image, "PNG"))
    assert main.main(train_arguments(folder, run, "--config.data.channels=4", "--config.train.steps=4")) == 0
    with Image.open(run / "samples" / "step_000004.png") as grid:
        assert grid.mode == "RGB"
    assert main.main(["sample", "--workdir", str(run), "--num", "3", "--out", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "00000.png") as sample:
        assert sample.mode == "RGBA"
    for name in ("walk.gif", "grid.png", "grid.jpg"):
        assert main.main(["sample", "--workdir", str(run), "--num", "3", "--out", str(tmp_path / name)]) == 0
    assert main.main(["evaluate", "--workdir", str(run), "--samples", "100", "--features", "pixels"]) == 0
