"""D's scores of each kind of image: their table, the share that is overfitting, and refusals, on tiny runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from initial_runs import write_initial_run

import sharingan_jax as sg
from experiments.disc_scores import Scores, command, markdown, measure_scores, score_among

FLAT = Scores("r", 10, np.full(4, 5.0), np.full(4, 4.0), np.full(4, 1.0), np.full(4, 4.5), None)


def test_overfitting_is_the_share_of_the_lead_that_unseen_images_lack() -> None:
    assert FLAT.overfitting == 0.25
    assert replace(FLAT, held_out=FLAT.training).overfitting == 0
    assert replace(FLAT, held_out=FLAT.samples).overfitting == 1
    assert np.isnan(replace(FLAT, samples=FLAT.training).overfitting)


def test_the_table_has_a_row_for_each_run() -> None:
    assert markdown([FLAT, replace(FLAT, averaged=np.array([1.0, 3.0]))]).splitlines()[2:] == [
        "| r | 10 | 5.00 ± 0.00 | 4.00 ± 0.00 | 1.00 ± 0.00 | 4.50 ± 0.00 | – | 0.25 |",
        "| r | 10 | 5.00 ± 0.00 | 4.00 ± 0.00 | 1.00 ± 0.00 | 4.50 ± 0.00 | 2.00 ± 1.00 | 0.25 |",
    ]


def test_an_untrained_d_scores_whole_batches_of_each_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"train__batch_size": "8", "train__ema_half_life": "1000", "data__mirrors": "true", "model__minibatch_std": "true"}
    workdir = write_initial_run(tmp_path / "run", **settings)
    found = measure_scores(sg.load_run(workdir), images=20)
    kinds = (found.training, found.held_out, found.samples, found.among, found.averaged)
    assert [scores is not None and scores.shape for scores in kinds] == [(16,)] * 5
    assert not np.array_equal(found.samples, found.averaged)
    assert command(["--runs", str(tmp_path), "--images", "20"]) == 0
    assert capsys.readouterr().out == markdown([found]) + "\n"


def test_each_sample_is_scored_once_among_training_images() -> None:
    def score(images_u8: np.ndarray) -> np.ndarray:
        batches = images_u8.reshape(-1, 4)
        return (batches + 1000 * batches.sum(1, keepdims=True)).ravel()

    samples = np.arange(1, 13, dtype=np.int64).reshape(12, 1, 1, 1)
    among = score_among(score, samples, np.zeros((14, 1, 1, 1), np.int64), batch=4)
    assert sorted(among) == [1001 * sample for sample in range(1, 13)]


@pytest.mark.parametrize(
    ("settings", "images", "message"),
    [
        ({}, 3, "^images=3: expected at least 8"),
        ({"model__classes": "20"}, 8, "model.classes=20: expected 0"),
        ({"data__source": "folder", "data__path": "IMAGES"}, 8, "data.holdout=0 holds out 0 images; expected a batch of 8."),
    ],
)
def test_what_cannot_be_scored_is_refused(
    settings: dict[str, str], images: int, message: str, image_folder: Path, tmp_path: Path
) -> None:
    settings = {name: str(image_folder) if value == "IMAGES" else value for name, value in settings.items()}
    workdir = write_initial_run(tmp_path / "run", train__batch_size="8", **settings)
    with pytest.raises(sg.UserError, match=message):
        measure_scores(sg.load_run(workdir), images=images)


def test_a_folder_without_runs_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["--runs", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: --runs: no run in {tmp_path}. Give folders with runs.\n"
