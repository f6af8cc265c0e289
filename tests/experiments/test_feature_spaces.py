"""The comparison of feature spaces: spoilt sets, refusals, and its tables on three tiny runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, TINY

import main
import sharingan_jax as sg
from experiments.feature_spaces import Comparison, bend, command, compare_spaces, markdown, spoil
from sharingan_jax.evaluation.measures.appearance import flat_noise


def test_spoilt_sets_are_as_many_as_asked_for_and_ever_noisier() -> None:
    real = np.random.default_rng(0).integers(100, 140, (20, 1, 1, 3)).repeat(16, 1).repeat(16, 2).astype(np.uint8)
    sets = dict(spoil(real, count=30))
    assert all(images.shape == (30, 16, 16, 3) and images.dtype == np.uint8 for images in sets.values())
    noise = [flat_noise(images) for name, images in sets.items() if name == "copies" or name.startswith("noise")]
    assert noise == sorted(noise)
    assert noise[-1] > 4
    assert len(np.unique(sets["only 10 of the images"], axis=0)) <= 10


def test_bent_images_keep_flat_areas_and_move_edges_by_as_many_pixels_as_said() -> None:
    """A ramp of 4 grey levels a pixel shows a displacement across it as a difference of 4 levels a pixel, and none along it."""
    ramp = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None] * 4, (60, 60, 3))
    images = np.stack([ramp, ramp.transpose(1, 0, 2), np.full_like(ramp, 77)])
    bent = bend(images, 0.5, np.random.default_rng(0))
    moved = (bent.astype(float) - images)[:, 4:-4, 4:-4] / 4
    assert np.sqrt((moved[:2] ** 2).mean((1, 2, 3))) == pytest.approx([0.5, 0.5], rel=0.1)
    assert not moved[2].any()
    np.testing.assert_array_equal(bend(images, 0.0, np.random.default_rng(0)), images)


def test_the_table_has_a_row_for_each_set_and_the_ranks() -> None:
    found = Comparison(("a", "b"), {"copies": (0.5, -1.0)}, {"r1": (1.0, 2.0), "r2": (2.0, 3.0)}, (0.5, 1.0))
    assert markdown(found).splitlines() == [
        "| KID ×10³ | a | b |", "|---|---|---|", "| copies | 0.5 | -1 |", "| r1 | 1 | 2 |", "| r2 | 2 | 3 |",
        "| rank correlation over 2 runs with b | 0.50 | 1.00 |",
    ]  # fmt: skip
    assert "rank" not in markdown(replace(found, ranks=()))


@pytest.mark.slow
def test_runs_of_the_same_data_are_ranked_and_others_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--config.train.steps=4", "--config.train.seeds=3", *TINY]
    assert main.main(["--config", str(ROOT / "configs" / "smoke.py"), *settings, "--workdir", str(tmp_path / "runs")]) == 0
    assert command(["--runs", str(tmp_path / "runs"), "--samples", "100", "--features", "pixels,gradients"]) == 0
    assert "| rank correlation over 3 runs with gradients |" in capsys.readouterr().out
    runs = [sg.load_run(tmp_path / "runs" / f"seed-{seed}") for seed in (0, 1)]
    assert compare_spaces(runs, ["pixels"], samples=100).ranks == ()
    (tmp_path / "none").mkdir()
    assert command(["--runs", str(tmp_path / "none")]) == 2
    assert "--runs: expected at least 1 run, found none." in capsys.readouterr().err
