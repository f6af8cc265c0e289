"""A small study of whole trainings: its measures, its commands, and the tables of its document."""

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from experiments import study
from experiments.study_results import relative_statistics, sample_statistics, stuck_from, stuck_table, table, window_means
from sharingan_jax.data.emblems.draw import draw_emblems
from sharingan_jax.run.folder import read_json


def test_statistics_of_images_with_known_values() -> None:
    black, white = -np.ones((8, 8, 3)), np.ones((8, 8, 3))
    stripes = np.where(np.arange(8)[None, :, None] % 2 == 0, black, white)
    flat = sample_statistics(np.stack([black, white]))
    assert flat == {"red": 0.5, "green": 0.5, "blue": 0.5, "variance": 0.0, "detail": 0.0, "diversity": 1.0}
    red = np.concatenate([white[..., :1], black[..., 1:]], axis=2)
    coloured = sample_statistics(np.stack([red, stripes]))
    assert [coloured[name] for name in ("red", "green", "blue")] == pytest.approx([0.75, 0.25, 0.25])
    assert coloured["variance"] == pytest.approx(0.125)
    assert coloured["detail"] == pytest.approx(0.25)  # One of two images, horizontally only.


def test_real_images_are_1_in_every_statistic() -> None:
    images = draw_emblems(12, size=16)[0] / 127.5 - 1.0
    assert set(relative_statistics(images, sample_statistics(images)).values()) == {1.0}


def test_window_means_drop_the_last_partial_window() -> None:
    assert window_means([*[1.0] * 20, *[2.0, 4.0] * 10, 100.0]) == [1.0, 3.0]


@pytest.mark.parametrize(
    ("norms", "step"),
    [
        ([80.0] * 60, None),
        ([80.0] * 31 + [0.0] * 29, 41),
        ([80.0] * 20 + [1e-4, 1e-11, 0.5] * 14, 21),  # One in three is less than half.
        ([0.0] * 40 + [80.0] * 20, None),
        ([0.0] * 40, 1),
    ],
)
def test_a_run_is_stuck_if_g_has_no_gradient_until_the_end(norms: list[float], step: int | None) -> None:
    assert stuck_from(norms) == step


@pytest.mark.slow
def test_a_study_trains_collects_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")
    monkeypatch.setattr(study, "EXPERIMENTS", ("stabilised",))
    monkeypatch.setattr(study, "DEFAULT_LOSS_SEEDS", 0)
    for i, image in enumerate(draw_emblems(50)[0]):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / f"{i}.png")
    runs, out, figure = tmp_path / "runs", tmp_path / "study.json", tmp_path / "study.png"
    train = ["train", "--images", str(tmp_path / "images"), "--runs", str(runs), "--steps", "20", "--width", "2"]
    collect = ["collect", "--runs", str(runs), "--out", str(out)]

    assert study.command([*train, "--seeds", "1"]) == 0
    assert study.command([*collect, "--seeds", "2"]) == 2
    assert "not trained yet: ours, stabilised, seed 1; pytorch, stabilised, seed 1; `train` continues" in capsys.readouterr().err
    assert study.command([*train, "--seeds", "2"]) == 0
    assert "[1/2] ours, stabilised, seed 1" in capsys.readouterr().out  # Finished trainings are not repeated.

    assert study.command([*collect, "--seeds", "2"]) == 0
    result = read_json(out)
    assert sorted((run["system"], run["seed"]) for run in result["runs"]) == [
        ("ours", 0), ("ours", 1), ("pytorch", 0), ("pytorch", 1),
    ]  # fmt: skip
    assert len({tuple(run["loss_g"]) for run in result["runs"]}) == 4
    assert all(len(run["loss_d"]) == 1 for run in result["runs"])
    config = runs / "pytorch-stabilised" / "seed-1" / "config.json"
    config.write_text(config.read_text().replace('"batch_size": 25', '"batch_size": 20'))
    assert study.command([*collect, "--seeds", "2"]) == 2
    assert "not a training like ours, stabilised, seed 0: train.batch_size is 20 and was 25" in capsys.readouterr().err
    assert study.command(["report", "--study", str(out), "--figure", str(figure)]) == 0
    assert "| final Loss_G | " in capsys.readouterr().out
    with Image.open(figure) as image:
        assert image.width > 500


def test_a_missing_study_is_a_one_line_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study.command(["report", "--study", str(tmp_path / "none.json")]) == 2
    assert str(tmp_path / "none.json") in capsys.readouterr().err


def test_the_document_has_the_tables_of_the_studys_file() -> None:
    document = (ROOT / "docs" / "equivalence.md").read_text(encoding="utf-8")
    result = read_json(ROOT / "docs" / "study.json")
    tables = [stuck_table(result), *(table(result, name) for name in study.EXPERIMENTS)]
    for line in "\n".join(tables).splitlines():
        assert line in document
