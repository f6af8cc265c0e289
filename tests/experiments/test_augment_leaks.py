"""How many samples look augmented: the correction, the table, refusals, and images of which half are changed."""

import math
from pathlib import Path

import pytest
from initial_runs import write_initial_run

import sharingan_jax as sg
from experiments.augment_leaks import Leaks, command, markdown, measure_leaks, share_changed
from sharingan_jax.data.sources.load import load_dataset_from_config
from sharingan_jax.run.load import Run

CUTOUT = {"augment__probability": "0.3", "augment__cutout": "0.5", "augment__fill": "-1"}
STEPS = 100
"""Batches that teach a classifier a black square of half a side."""


def test_the_share_called_changed_is_corrected_by_what_is_known_of_the_classifier() -> None:
    assert share_changed(0.1, unchanged=0.1, changed=0.9) == 0
    assert share_changed(0.9, unchanged=0.1, changed=0.9) == 1
    assert share_changed(0.5, unchanged=0.1, changed=0.9) == 0.5
    assert share_changed(0.0, unchanged=0.1, changed=0.9) == pytest.approx(-0.125)
    assert math.isnan(share_changed(0.5, unchanged=0.4, changed=0.5))


def test_the_table_has_a_row_for_each_run_and_no_estimate_of_what_cannot_be_told() -> None:
    found = Leaks(("shift", "saturation"), (0.0, 0.4), (1.0, 0.5), (("a", 0.3), ("b", 0.0)), ((0.25, 0.4), (0.0, 0.5)))
    assert markdown(found).splitlines() == [
        "| | shift | saturation |",
        "|---|---|---|",
        "| unseen images, unchanged: called changed | 0.00 | 0.40 |",
        "| unseen images, changed: called changed | 1.00 | 0.50 |",
        "| a, augment.probability=0.3: estimated to be changed | 0.25 | – |",
        "| b, augment.probability=0: estimated to be changed | 0.00 | – |",
    ]


def test_half_of_the_images_carry_a_black_square(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = sg.load_run(write_initial_run(tmp_path / "run", **CUTOUT))
    images = load_dataset_from_config(run.config.data).gather(range(100)).copy()
    images[:50, 8:24, 8:24] = 0
    monkeypatch.setattr(Run, "sample", lambda self, count, seed: images)
    found = measure_leaks([run], samples=100, steps=STEPS)
    assert found.parts == ("cutout",)
    assert found.runs == ((str(run.path), 0.3),)
    (unchanged,), (changed,), ((called,),) = found.unchanged, found.changed, found.samples
    assert unchanged < 0.2
    assert changed > 0.8
    assert share_changed(called, unchanged=unchanged, changed=changed) == pytest.approx(0.5, abs=0.15)


def test_samples_of_untrained_networks_have_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, probability in (("a", "0.3"), ("b", "0")):
        write_initial_run(tmp_path / name, **CUTOUT | {"augment__probability": probability, "data__mirrors": "true"})
    assert command(["--runs", str(tmp_path), "--samples", "50", "--steps", "2"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(":")[0] for row in rows[2:]] == [
        f"| {tmp_path / 'a'}, augment.probability=0.3",
        f"| {tmp_path / 'b'}, augment.probability=0",
    ]


def test_what_cannot_be_measured_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = sg.load_run(write_initial_run(tmp_path / "run", **CUTOUT))
    other = sg.load_run(write_initial_run(tmp_path / "other", **CUTOUT | {"augment__cutout": "0.2"}))
    none = sg.load_run(write_initial_run(tmp_path / "none"))
    with pytest.raises(sg.UserError, match="--runs: expected at least 1 run, found none"):
        measure_leaks([])
    with pytest.raises(sg.UserError, match=f"^{other.path}: expected the settings of `data` and, up to its probability,"):
        measure_leaks([run, other])
    with pytest.raises(sg.UserError, match=r"augment: expected a part that is on, found none\. Known parts: mirror, rotation,"):
        measure_leaks([none])
    with pytest.raises(sg.UserError, match=r"^samples=49: expected at least 50"):
        measure_leaks([run], samples=49)
    assert command(["--runs", str(tmp_path / "nothing")]) == 2
    assert "error: " in capsys.readouterr().err
