"""`evaluate` from end to end: what it writes, the same bytes twice, folders from other tools, and errors of one line."""

import io
import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, TINY, contents_of, smoke_config, train_arguments
from PIL import Image

import main
import sharingan_jax as sg
from sharingan_jax.data.emblems.draw import draw_emblem
from sharingan_jax.evaluation import classifier, judge, modes
from sharingan_jax.evaluation.controls import COPIES, MEAN, TURNED
from sharingan_jax.evaluation.evaluate import load_reference
from sharingan_jax.evaluation.judge import AVERAGED, GIVEN, RAW, read_evaluation
from sharingan_jax.evaluation.turns import Orientation, Turns
from sharingan_jax.run.sample import sample

FEW = ["--samples", "100", "--features", "random"]
FILES = {"evaluation.json", "neighbours.png", "distances.png"}


@pytest.fixture(autouse=True)
def _small_and_without_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache folder out of the tests. Take few controls and turns, and train the classifier for a moment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(judge, "CONTROL_IMAGES", 24)
    monkeypatch.setattr(judge, "SHEET_SAMPLES", 24)
    monkeypatch.setattr(Orientation, "turns", Turns(angles=8))
    monkeypatch.setattr(classifier, "STEPS", 5)
    monkeypatch.setattr(modes, "MORE_EMBLEMS", 20)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run on 80 emblems with 20 held out, averaged weights, and checkpoints at steps 2 and 4. Read-only."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    more = ["--config.train.steps=4", "--config.checkpoint.every=2", "--config.sample.every=2", "--config.data.holdout=0.2"]
    start = ["--config", str(ROOT / "configs" / "smoke.py"), "--workdir", str(workdir)]
    assert main.main([*start, *TINY, *more, "--config.train.ema_half_life=20"]) == 0
    return workdir


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run on a folder's thirty images: no labels, nothing held out, no averaged weights. Read-only."""
    folder = _emblem_folder(tmp_path_factory.mktemp("images"), range(30))
    workdir = tmp_path_factory.mktemp("runs") / "plain"
    assert main.main(train_arguments(folder, workdir, "--config.train.steps=2")) == 0
    return workdir


def _emblem_folder(folder: Path, indices: range, *, turned: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    for i in indices:
        Image.fromarray(np.rot90(draw_emblem(i, size=32), turned)).save(folder / f"{i:03d}.png")
    return folder


def _evaluate(run: Path, *more: str) -> int:
    return main.main(["evaluate", "--workdir", str(run), *FEW, *more])


def _record(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return record


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_evaluate_writes_figures_and_plots_and_the_same_bytes_twice(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _evaluate(run, "--out", str(tmp_path / "once")) == 0
    out = capsys.readouterr().out
    once = tmp_path / "once" / "step_000004"
    assert set(contents_of(once)) == FILES
    record = _record(once)
    assert (record["step"], record["samples"], record["train_images"], record["held_out_images"]) == (4, 100, 80, 20)
    assert list(record["rows"])[:2] == [RAW, AVERAGED]
    assert len(record["rows"]) == 7
    assert record["primary"] == "random/kid_held_out"
    assert record["modes"]["kind"] == "classes"
    rows, modes = record["rows"], record["modes"]
    assert rows[AVERAGED]["modes_covered"] == modes["covered"] / modes["count"]
    assert rows[AVERAGED]["modes_divergence"] == modes["divergence"]
    assert rows[MEAN]["modes_covered"] == 1 / modes["count"]
    assert all("modes_divergence" in row for row in rows.values())
    assert (record["note"], record["skipped_spaces"]) == ("", {})
    assert record["digest"] == json.loads((run / "manifest.json").read_text())["digest"]
    for name in ("neighbours.png", "distances.png"):
        with Image.open(once / name) as image:
            assert min(image.size) > 300
    # The table on the screen shows the same figures.
    primary = record["rows"][AVERAGED]["random/kid_held_out"]
    assert f"primary figure: random/kid_held_out = {primary:.3g} ± " in out
    assert " (×10³; ± covers the choice of the real images only)\n" in out
    assert "exact copies look about as good as new real images by: " in out
    assert f"look at {once}: neighbours.png, distances.png, evaluation.json" in out
    (row,) = [line for line in out.splitlines() if line.startswith(f"{AVERAGED} ") and f"  {primary:.3g}" in line]
    assert len(row.split()) >= 10

    assert _evaluate(run, "--out", str(tmp_path / "twice")) == 0
    assert contents_of(tmp_path / "twice") == contents_of(tmp_path / "once")


@pytest.mark.slow
def test_from_python_all_steps_are_evaluated_into_the_runs_folder_with_nothing_else_changed(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    stream = io.StringIO()
    found = sg.evaluate(copy, step="all", features=["pixels"], samples=100, stream=stream)
    assert [(evaluation.step, Path(evaluation.folder)) for evaluation in found] == [
        (2, copy / "evaluation" / "step_000002"), (4, copy / "evaluation" / "step_000004")
    ]  # fmt: skip
    assert [read_evaluation(Path(evaluation.folder)) for evaluation in found] == found
    assert "evaluating 400 images against 80 training and 20 held-out images (pixels; distances over 16 turns)" in (
        stream.getvalue()
    )
    assert found[0].rows[RAW] != found[1].rows[RAW]
    assert found[0].rows[COPIES] == found[1].rows[COPIES]
    assert found[0].digest != found[1].digest
    # Each step has the figures that it has alone.
    (alone,) = sg.evaluate(copy, step=2, features=["pixels"], samples=100, out=tmp_path / "out", stream=stream)
    assert alone == found[0]
    shutil.rmtree(copy / "evaluation")
    assert contents_of(copy) == contents_of(run)


@pytest.mark.slow
def test_a_run_without_held_out_images_says_that_figures_reward_copies(
    plain_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _evaluate(plain_run, "--out", str(tmp_path / "out")) == 0
    out = capsys.readouterr().out
    record = _record(tmp_path / "out" / "step_000002")
    assert "note: the run trains on all 30 images, so nothing is held out: figures against training images reward copies." in out
    assert (record["held_out_images"], record["primary"]) == (0, "random/kid_train")
    assert "kid_held_out" not in json.dumps(record["rows"])
    assert AVERAGED not in record["rows"]
    assert record["modes"]["kind"] == "clusters"
    assert "clusters: " in out


def test_a_run_on_all_emblems_is_judged_by_the_next_hundred() -> None:
    split, note = load_reference(smoke_config().data)
    assert (split.train.count, split.held_out.count) == (100, 100)
    assert note.startswith("the held-out images are 100 emblems that are drawn after the 100 of the data set")
    assert np.array_equal(split.held_out.preview(1)[0], draw_emblem(100, size=smoke_config().data.size))
    held_out, note = load_reference(smoke_config(data__holdout="0.2").data)
    assert (held_out.train.count, held_out.held_out.count, note) == (80, 20, "")


def test_a_run_that_holds_out_too_few_images_is_judged_without_them() -> None:
    split, note = load_reference(smoke_config(data__holdout="0.02").data)
    assert (split.train.count, split.held_out.count) == (98, 0)
    assert note.startswith("data.holdout=0.02 holds out 2 of 100 images, and KID needs at least 3: none is used, so figures ")
    split, note = load_reference(smoke_config(data__holdout="0.03").data)
    assert (split.held_out.count, note) == (judge.FEWEST_HELD_OUT, "")


def test_a_changed_image_is_refused_before_anything_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _emblem_folder(tmp_path / "images", range(10))
    workdir = tmp_path / "run"
    assert main.main(train_arguments(folder, workdir, "--config.train.steps=1")) == 0
    _emblem_folder(folder, range(1), turned=1)
    capsys.readouterr()
    assert _evaluate(workdir) == 2
    assert f"data.path={folder}: these are not the images that {workdir} was trained on. Put those back." in _error(capsys)
    assert not (workdir / "evaluation").exists()


def test_folders_of_any_tool_are_evaluated_and_a_turned_copier_is_caught(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = _emblem_folder(tmp_path / "real", range(30))
    copied = _emblem_folder(tmp_path / "copied", range(20), turned=1)
    unseen = _emblem_folder(tmp_path / "unseen", range(100, 120))
    options = ["--reference", str(real), "--size", "32", "--features", "random"]
    assert main.main(["evaluate", "--images", str(copied), *options, "--out", str(tmp_path / "out")]) == 0
    assert "note: no held-out images were given: figures against training images reward copies." in capsys.readouterr().out
    assert set(contents_of(tmp_path / "out")) == FILES
    copies = _record(tmp_path / "out")["rows"][GIVEN]
    assert (copies["authentic"], copies["nearest_ratio"], copies["close_share"]) == (0, 0, 1)
    assert main.main(["evaluate", "--images", str(unseen), *options, "--held-out", str(unseen)]) == 0
    assert "look at" not in capsys.readouterr().out  # Without --out nothing is written.
    found = sg.evaluate_images(unseen, real, size=32, features=["pixels"], stream=io.StringIO())
    assert (found.subject, found.step, found.samples, found.folder) == (str(unseen), None, 20, "")
    assert found.rows[GIVEN]["close_share"] == 0
    assert found.rows[TURNED]["authentic"] < found.rows[GIVEN]["authentic"]
    assert found.figures == found.rows[GIVEN]


def test_emblems_are_a_reference_by_name(tmp_path: Path) -> None:
    images, out = _emblem_folder(tmp_path / "images", range(8)), tmp_path / "out"
    options = ["--reference", "emblems", "--size", "32", "--features", "pixels", "--out", str(out)]
    assert main.main(["evaluate", "--images", str(images), *options]) == 0
    record = _record(out)
    assert (record["train_images"], record["rows"][GIVEN]["authentic"], record["modes"]["kind"]) == (100, 0, "classes")


def test_without_a_network_inception_is_one_plain_line_and_the_other_spaces_continue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def urlopen(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no such host")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    real = _emblem_folder(tmp_path / "real", range(12))
    options = ["--images", str(real), "--reference", str(real), "--size", "32", "--out", str(tmp_path / "out")]
    assert main.main(["evaluate", *options, "--features", "inception,pixels"]) == 0
    captured = capsys.readouterr()
    (line,) = [line for line in captured.out.splitlines() if line.startswith("inception is left out: ")]
    assert "could not be downloaded: <urlopen error no such host>" in line
    assert captured.err == ""
    record = _record(tmp_path / "out")
    assert list(record["spaces"]) == ["pixels"]
    assert "no such host" in record["skipped_spaces"]["inception"]
    assert main.main(["evaluate", *options, "--features", "inception"]) == 2
    assert "--features: none of the feature spaces can be used. Add pixels, aligned, random or gradients." in _error(capsys)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--step", "3"], "there is no checkpoint of step 3; there are: 2, 4"),
        (["--step", "first"], "--step=first: expected a number, last, best or all."),
        (["--step", "-1"], "--step=-1: expected a number, last, best or all."),
        (["--step", "best"], "--step=best: the run has no checkpoint.best. Give a step."),
        (["--samples", "99"], "--samples=99: expected a whole number from 100 to 100000. Use 5000."),
        (["--samples", "1e1"], "--samples=10: expected a whole number from 100"),  # Written as a setting may be.
        (["--samples", "many"], "--samples=many: expected a whole number."),
        (["--samples", "150.5"], "--samples=150.5: expected a whole number."),
        (["--features", ""], "--features=: expected names with commas between them, such as pixels,aligned,random,gradients."),
        (["--features", "pixels,,random"], "--features=pixels,,random: expected names with commas between them"),
        (["--features", "pixles"], "--features=pixles: expected pixels, aligned, random, gradients, inception, "),
        (["--features", "none.py:f"], "--features=none.py:f: expected a Python file, found none."),
        (["--features", "inception:none.txt"], "none of the feature spaces can be used"),
        (["--size", "32"], "--size: goes with --images. Remove it."),
        (["--reference", "emblems"], "--reference: goes with --images. Remove it."),
        (["--held-out", "x"], "--held-out: goes with --images. Remove it."),
        (["--images", "x"], "not allowed with argument"),
        (["--config.seed=1"], "--config.seed: sharingan-jax evaluate takes its settings from the run in --workdir"),
        (["--out", "a_file"], "a_file is a file; give the name of a folder"),
        (["--out="], "--out=: expected the name of a file or folder, got an empty text."),
    ],
)
def test_a_mistake_in_evaluating_a_run_is_one_line(
    run: Path, more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("")
    assert main.main(["evaluate", "--workdir", str(run), *more]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert "evaluating" not in captured.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --workdir --images is required"),
        (["--workdir", "nowhere"], "error: nowhere: no config.json there; expected a run's folder"),
        (["--images", "images"], "--images=images: expected --reference too. Give the folder of the real images."),
        (["--images", "images", "--reference", "images", "--step", "3"], "--step: goes with --workdir. Remove it."),
        (["--images", "images", "--reference", "images", "--samples", "200"], "--samples: goes with --workdir. Remove it."),
        (["--images", "nowhere", "--reference", "images"], "--images=nowhere: "),
        (["--images", "images", "--reference", "nowhere"], "--reference=nowhere: "),
        (["--images", "images", "--reference", "images", "--held-out", "nowhere"], "--held-out=nowhere: "),
        (
            ["--images", "images", "--reference", "images", "--held-out", "some"],
            "--held-out=some: expected images that were not trained on, but 008.bmp equals 008.png in --reference=images"
            " (1 of 3 images do). Remove them from one of the two folders.",
        ),
        (
            ["--images", "images", "--reference", "images", "--held-out", "two"],
            "--held-out=two: expected at least 3 images, as KID needs, got 2. Add images, or leave it out.",
        ),
        (["--images", "same", "--reference", "same"], "--reference=same: expected images that differ, got 8 that are all alike."),
        (["--images", "images", "--reference", "images", "--size", "0"], "--size=0: expected at least 11 pixels a side"),
        (["--images", "images", "--reference", "images", "--size", "10"], "--size=10: expected at least 11 pixels a side, as "),
        (["--images", "one", "--reference", "images"], "--images=one: expected at least 8 images, got 1. Fewer"),
        (
            ["--images", "images", "--reference", "one"],
            "--reference=one: expected at least 8 images, got 1. Fewer measure nothing.",
        ),
        (["--images", "images", "--reference", "images", "--out", "one/000.png"], "000.png is a file; give the name of a folder"),
    ],
)
def test_a_mistake_in_evaluating_folders_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _emblem_folder(tmp_path / "images", range(9))
    _emblem_folder(tmp_path / "one", range(1))
    _emblem_folder(tmp_path / "some", range(100, 102))
    (tmp_path / "same").mkdir()
    for i in range(8):
        shutil.copy(tmp_path / "one" / "000.png", tmp_path / "same" / f"{i}.png")
    _emblem_folder(tmp_path / "two", range(100, 102))
    Image.fromarray(draw_emblem(8, size=32)).save(tmp_path / "some" / "008.bmp")  # The same pixels in other bytes.
    assert main.main(["evaluate", *arguments]) == 2
    assert message in _error(capsys)


def test_samples_come_from_averaged_weights_if_the_run_keeps_them(
    run: Path, plain_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, averaged, usual = tmp_path / "raw.npy", tmp_path / "averaged.npy", tmp_path / "usual.npy"
    assert main.main(["sample", "--workdir", str(run), "--num", "3", "--out", str(usual)]) == 0
    assert main.main(["sample", "--workdir", str(run), "--num", "3", "--weights", "raw", "--out", str(raw)]) == 0
    assert main.main(["sample", "--workdir", str(run), "--num", "3", "--weights", "averaged", "--out", str(averaged)]) == 0
    assert f"3 images of step 4, averaged weights in {averaged}\n" in capsys.readouterr().out
    assert not np.array_equal(np.load(raw), np.load(averaged))
    assert usual.read_bytes() == averaged.read_bytes()
    sample(run, averaged, num=3, weights="averaged")
    expected = sg.load_run(run).sampler(weights="averaged")
    assert np.array_equal(np.load(averaged), expected.draw(sample(run, tmp_path / "z.npy", num=3).latents))
    capsys.readouterr()
    assert main.main(["sample", "--workdir", str(plain_run), "--weights", "averaged", "--out", str(tmp_path / "x.png")]) == 2
    assert f"{plain_run}: keeps no averaged weights. Set train.ema_half_life=10000 in a new run." in _error(capsys)
    assert main.main(["sample", "--workdir", str(run), "--weights", "best", "--out", str(tmp_path / "x.png")]) == 2
    assert "--weights" in _error(capsys)
    assert main.main(["sample", "--model", "m.bin", "--weights", "averaged", "--out", str(tmp_path / "x.png")]) == 2
    assert "--weights: goes with --workdir." in _error(capsys)


def test_a_run_with_averaged_weights_ends_with_both_grids_side_by_side(run: Path, plain_run: Path, tmp_path: Path) -> None:
    with Image.open(run / "raw_vs_averaged.png") as image:
        sheet = np.asarray(image)
    for weights, first in (("raw", 0), ("averaged", (sheet.shape[1] - 8) // 2 + 8)):
        out = tmp_path / f"{weights}.png"
        sample(run, out, num=9, weights=weights)  # type: ignore[arg-type]
        grid = np.asarray(Image.open(out))
        factor = (sheet.shape[0] - 40) // grid.shape[0]
        half = sheet[40::factor, first::factor][: grid.shape[0], : grid.shape[1]]
        rows, columns = (np.arange(length) % (32 + 2) < 2 for length in grid.shape[:2])  # The lines: white here, black in a grid.
        lines = rows[:, None] | columns
        lines[36:, 138:] = True  # The place of a tenth image is empty.
        np.testing.assert_array_equal(half[~lines], grid[~lines])
        assert (half[lines] == 255).all()
    assert not (plain_run / "raw_vs_averaged.png").exists()
