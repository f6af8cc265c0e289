"""A report assembled from run folders that are made up, against computations by hand; and its files and its grouping."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import contents_of
from made_runs import CONFIG, HELD_OUT, OTHER, make_environment, make_evaluation, make_records, make_report, make_run, make_study

from sharingan_jax.comparison import write
from sharingan_jax.comparison.assemble import CURVE_POINTS
from sharingan_jax.comparison.plan import StudyRun
from sharingan_jax.comparison.report_plots import make_plots
from sharingan_jax.comparison.results import Control, Report
from sharingan_jax.comparison.sentences import answer, no_better_than_controls, warnings, without_figures
from sharingan_jax.comparison.statistics import wilson_interval
from sharingan_jax.comparison.write import best_run, model_card, write_report
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.controls import COPIES, REAL_HALF
from sharingan_jax.evaluation.judge import AVERAGED, RAW
from sharingan_jax.reporting.grids import make_grid, save_png, to_u8
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.manifest import read_manifest, write_manifest


def test_paired_differences_use_the_seeds_that_both_variants_have(tmp_path: Path) -> None:
    report = make_study(tmp_path, {"a": [10.0, 20.0, 30.0, None], "b": [None, 16.0, 27.0, 1.0]})
    assert report.baseline == "a"
    comparison = report.comparison("b", HELD_OUT)
    assert comparison is not None
    difference = comparison.difference
    assert (difference.n, difference.mean, difference.seeds_better, difference.p) == (2, -3.5, 2, 0.5)
    assert comparison.verdict.words == "exploratory: lower in 2 of 2 seeds"
    assert (report.summaries["a", HELD_OUT].n, report.summaries["a", HELD_OUT].mean) == (3, 20.0)
    assert report.summaries["b", HELD_OUT].mean == pytest.approx(44 / 3)
    assert "Not evaluated, and so without figures: a, seed 3; b, seed 0." in report.notes
    assert report.variants[1].changes == ("optim.disc.lr: 0.0002 -> 0.0001",)


def test_p_is_adjusted_for_the_number_of_variants(tmp_path: Path) -> None:
    alone = make_study(tmp_path / "1", {"a": [9.0] * 6, "b": [1.0, 2, 3, 4, 5, 6]})
    three = make_study(tmp_path / "2", {"a": [9.0] * 6, "b": [1.0, 2, 3, 4, 5, 6], "c": [8.0, 7, 8, 7, 8, 7]})
    one, both = alone.comparison("b", HELD_OUT), three.comparison("b", HELD_OUT)
    assert one is not None
    assert both is not None
    assert (one.p_adjusted, both.p_adjusted) == (2 / 64, 4 / 64)
    assert (one.verdict.kind, both.verdict.kind) == ("better", "none")
    assert one.seeds_needed is not None


def test_variants_without_a_common_seed_are_not_compared(tmp_path: Path) -> None:
    assert make_study(tmp_path, {"a": [10.0, None], "b": [None, 1.0]}).comparisons == ()


def test_a_measure_whose_best_value_is_the_real_images_becomes_its_distance_from_it(tmp_path: Path) -> None:
    path = make_run(tmp_path / "seed-0")
    report = make_report([(StudyRun("a", 0, path), make_evaluation(9.0, diversity=0.8, flat=3.0))], tmp_path)
    measures = {measure.name: measure for measure in report.measures}
    assert set(measures) == {
        HELD_OUT,
        "random/diversity_off_by",
        "flat_noise_off_by",
        "close_share",
    }  # One without a direction is left out.
    own = report.runs[0].measures
    assert own == {HELD_OUT: 9.0, "random/diversity_off_by": pytest.approx(0.2), "flat_noise_off_by": 0.5, "close_share": 0.25}
    assert measures["flat_noise_off_by"].label == "noise in flat areas: off by"
    assert (measures["flat_noise_off_by"].better, measures["flat_noise_off_by"].unit) == ("lower", "")
    assert measures["flat_noise_off_by"].copier_wins
    assert [measure.name for measure in report.measures if measure.is_primary] == [HELD_OUT]
    controls = {control.name: control.measures for control in report.controls}
    assert list(controls) == [REAL_HALF, COPIES]
    assert (controls[COPIES]["flat_noise_off_by"], controls[COPIES][HELD_OUT]) == (0.0, 0.125)
    assert controls[REAL_HALF]["flat_noise_off_by"] == 0.5


def test_averaged_weights_rank_a_run_that_keeps_them_and_nan_is_no_value(tmp_path: Path) -> None:
    evaluation = make_evaluation(9.0)
    averaged = {**evaluation.rows[RAW], HELD_OUT: 4.0, "close_share": float("nan")}
    evaluation = replace(evaluation, rows={**evaluation.rows, AVERAGED: averaged})
    report = make_report([(StudyRun("a", 0, make_run(tmp_path / "run")), evaluation)], tmp_path)
    assert (report.runs[0].measures[HELD_OUT], report.runs[0].measures["close_share"]) == (4.0, None)
    assert AVERAGED not in [control.name for control in report.controls]


def test_a_row_says_what_the_run_recorded(tmp_path: Path) -> None:
    records = make_records(12, signs={4: 0.9, 8: 0.1, 12: 0.2})
    path = make_run(tmp_path / "a" / "seed-3", seed=3, records=records)
    row = make_report([(StudyRun("a", 3, path, "why"), None)], tmp_path).runs[0]
    assert (row.variant, row.seed, row.path, row.status, row.step) == ("a", 3, "a/seed-3", "complete", 12)
    assert (row.images_seen, row.wall_seconds, row.device, row.digest) == (300, 8.0, "1 × x86 (cpu)", f"{3:064x}")
    assert (row.collapse_step, row.failure) == (8, "why")


def test_a_failed_run_has_the_steps_and_images_that_its_records_show(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", status="failed", records=make_records(6))
    row = make_report([(StudyRun("a", 0, path), None)], tmp_path).runs[0]
    assert (row.status, row.step, row.images_seen) == ("failed", 6, 150)  # Batches of 25 from 100 images.


def test_rates_count_runs_that_collapsed_and_failed(tmp_path: Path) -> None:
    dead = make_records(12, signs={4: 0.9, 8: 0.1, 12: 0.2})
    runs = [
        (StudyRun("a", 0, make_run(tmp_path / "0", records=dead)), None),
        (StudyRun("a", 1, make_run(tmp_path / "1", seed=1, status="collapsed", records=dead)), None),
        (StudyRun("a", 2, make_run(tmp_path / "2", seed=2, status="failed", records=make_records(6)), "NaN"), None),
        (StudyRun("b", 0, make_run(tmp_path / "3", OTHER)), None),
    ]
    rates = {(rate.variant, rate.what): rate for rate in make_report(runs, tmp_path).rates}
    assert [(key, rate.count, rate.total) for key, rate in rates.items()] == [
        (("a", "collapsed"), 2, 2),
        (("a", "failed"), 1, 3),
        (("b", "failed"), 0, 1),
    ]  # A run without a grid says nothing about collapse.
    assert (rates["a", "failed"].low, rates["a", "failed"].high) == wilson_interval(1, 3)
    assert make_report(runs[:1], tmp_path).rates == ()


def test_a_run_that_one_grid_stopped_has_collapsed_at_that_grid(tmp_path: Path) -> None:
    records = make_records(8, signs={4: 0.9, 8: 0.1})
    path = make_run(tmp_path / "0", status="collapsed", records=records)
    (row,) = make_report([(StudyRun("a", 0, path), None)], tmp_path).runs
    assert (row.collapsed, row.collapse_step, row.grids) == (True, 8, 2)


def test_the_time_of_a_failed_run_is_the_sum_of_its_starts(tmp_path: Path) -> None:
    first, second = make_records(8), make_records(10)[8:]
    for record, seconds in zip(second, (0.2, 0.5), strict=True):
        record["time"] = seconds
    path = make_run(tmp_path / "0", status="failed", records=[*first, *second])
    write_manifest(path / "manifest.json", replace(read_manifest(path / "manifest.json"), wall_seconds=0.0))
    assert make_report([(StudyRun("a", 0, path), None)], tmp_path).runs[0].wall_seconds == pytest.approx(0.8 + 0.5)


def test_curves_are_medians_with_bands_from_the_lowest_to_the_highest_seed(tmp_path: Path) -> None:
    signs = [{4: 0.5, 8: 0.7}, {4: 0.9, 8: 0.8}, {4: 0.6}]
    runs = []
    for seed, (loss, own) in enumerate(zip((1.0, 3.0, 10.0), signs, strict=True)):
        path = make_run(tmp_path / f"{seed}", seed=seed, records=make_records(12, loss=loss, signs=own))
        runs.append((StudyRun("a", seed, path), None))
    curves = {curve.metric: curve for curve in make_report(runs, tmp_path).curves}
    assert set(curves) == {"loss_d", "loss_g", "diversity", "nearest_ratio"}  # kid_pixels has no value anywhere.
    loss_d = curves["loss_d"]
    assert loss_d.steps == tuple(range(1, 13))
    assert (loss_d.low[5], loss_d.median[5], loss_d.high[5]) == (6.0, 18.0, 60.0)
    assert (loss_d.kind, loss_d.scale, loss_d.unit) == ("loss", "symlog", "nats")
    assert curves["loss_g"].steps == (2, 4, 6, 8, 10, 12)
    diversity = curves["diversity"]
    assert (diversity.kind, diversity.steps) == ("measure", (4, 8))
    assert (diversity.median, diversity.low, diversity.high) == ((0.6, 0.75), (0.5, 0.7), (0.9, 0.8))


def test_losses_have_a_unit_only_if_it_is_the_same_in_all_variants(tmp_path: Path) -> None:
    hinge = replace(CONFIG, loss=replace(CONFIG.loss, name="hinge"))
    runs = [(StudyRun(name, 0, make_run(tmp_path / name, config)), None) for name, config in (("a", CONFIG), ("b", hinge))]
    report = make_report(runs, tmp_path)
    assert [(curve.variant, curve.unit) for curve in report.curves if curve.metric == "loss_d"] == [("a", "nats"), ("b", "")]
    titles = {plot.title for plot in make_plots(report) if plot.section == "loss"}
    assert titles == {"loss of D", "loss of G"}
    alone = make_plots(make_report(runs[:1], tmp_path))
    assert {plot.title for plot in alone if plot.section == "loss"} == {"loss of D (nats)", "loss of G (nats)"}


def test_long_losses_are_means_over_the_same_steps_in_runs_of_any_length(tmp_path: Path) -> None:
    steps = 3 * CURVE_POINTS
    runs = [
        (StudyRun("a", 0, make_run(tmp_path / "0", records=make_records(steps))), None),
        (StudyRun("a", 1, make_run(tmp_path / "1", seed=1, status="failed", records=make_records(9))), None),
    ]
    (curve,) = [curve for curve in make_report(runs, tmp_path).curves if curve.metric == "loss_d"]
    assert curve.steps == tuple(range(3, steps + 1, 3))
    assert curve.median[:4] == (2.0, 5.0, 8.0, 11.0)  # Means of 1 to 3, 4 to 6, ...


def test_strips_show_the_first_images_of_the_grids_of_the_first_seed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grids = {step: rng.uniform(-1, 1, (10, 32, 32, 3)).astype(np.float32) for step in (4, 8, 12, 16, 20, 24, 28, 32)}
    for images in grids.values():
        images[0, 0, 0], images[0, 0, 1] = -1, 1  # A grid is normalised: it stays as it is.
    path = make_run(tmp_path / "0", records=make_records(30), grids=grids)
    other = make_run(tmp_path / "1", seed=1)
    strips = make_report([(StudyRun("a", 0, path), None), (StudyRun("a", 1, other), None)], tmp_path).strips
    # The last step that is recorded, and those nearest to a half, a quarter and so on of it; the grid of step 32 is a leftover.
    assert [(strip.seed, strip.step) for strip in strips] == [(0, 4), (0, 8), (0, 12), (0, 28)]
    for strip in strips:
        expected = np.concatenate(list(to_u8(grids[strip.step][:8])), axis=1)
        assert strip.image_u8.shape == (32, 8 * 32, 3)
        np.testing.assert_allclose(strip.image_u8.astype(int), expected, atol=1)  # The grid rounds half up, `to_u8` to even.


def test_strips_of_a_run_that_ended_early_stand_next_to_those_of_the_longest_at_the_same_steps(tmp_path: Path) -> None:
    grid = np.zeros((10, 32, 32, 3), np.float32)
    whole = make_run(tmp_path / "a", grids={step: grid for step in range(2, 14, 2)})
    short = make_run(tmp_path / "b", OTHER, status="failed", records=make_records(7), grids={3: grid, 5: grid})
    strips = make_report([(StudyRun("a", 0, whole), None), (StudyRun("b", 0, short), None)], tmp_path).strips
    assert [strip.step for strip in strips if strip.variant == "a"] == [2, 4, 6, 12]
    assert [strip.step for strip in strips if strip.variant == "b"] == [5]


@pytest.mark.parametrize(("count", "columns", "shown"), [(1, 5, 1), (3, 2, 3), (5, 5, 5)])
def test_strips_have_no_empty_places(count: int, columns: int, shown: int, tmp_path: Path) -> None:
    config = replace(CONFIG, sample=replace(CONFIG.sample, num=count, columns=columns))
    path = make_run(tmp_path / "0", config)
    save_png(RunFolder(path).sample(12), make_grid(np.full((count, 32, 32, 1), 0.5) + np.arange(2)[:1], columns=columns))
    (strip,) = make_report([(StudyRun("a", 0, path), None)], tmp_path).strips
    assert strip.image_u8.shape == (32, 32 * shown, 3)


def test_notes_name_differences_that_are_not_settings(tmp_path: Path) -> None:
    stacked = make_environment(stacked_seeds=2, kind="H100")
    short = make_run(tmp_path / "1", seed=1, environment=stacked)
    manifest = json.loads((short / "manifest.json").read_text())
    (short / "manifest.json").write_text(json.dumps(manifest | {"images_seen": 200}))
    runs = [(StudyRun("a", 0, make_run(tmp_path / "0")), make_evaluation(1.0)), (StudyRun("a", 1, short), make_evaluation(2.0))]
    report = make_report(runs, tmp_path)
    assert report.notes == (
        "The held-out images were drawn.",
        "The runs have not seen equally many images: 200 to 300.",
        "The runs were made on different devices; each is named in its row.",
        "Some seeds were stacked in one program and others were not: they round differently.",
    )
    environment = dict(report.environment)
    assert environment["images"] == f"100 from emblems, digest {'d' * 12}"
    assert environment["judged by"] == "100 samples, 80 training and 20 held-out"
    assert environment["left out: inception"] == "no weights"
    assert environment["jax"] == "0.1"
    assert make_report(runs[:1], tmp_path).notes == ("The held-out images were drawn.",)


def test_a_run_that_stopped_early_or_lost_records_is_named(tmp_path: Path) -> None:
    stopped, cut = make_run(tmp_path / "1", seed=1, status="stopped"), make_run(tmp_path / "2", seed=2)
    manifest = json.loads((stopped / "manifest.json").read_text())
    (stopped / "manifest.json").write_text(json.dumps(manifest | {"images_seen": 64}))
    lines = (cut / "metrics.jsonl").read_text().splitlines(keepends=True)
    (cut / "metrics.jsonl").write_text("".join(lines[:-1]))
    runs = [StudyRun("a", seed, path) for seed, path in enumerate((make_run(tmp_path / "0"), stopped, cut))]
    notes = make_report([(run, make_evaluation(1.0)) for run in runs], tmp_path).notes
    assert "The runs have not seen equally many images: 64 to 300. Not complete: a, seed 1 (stopped)." in notes
    assert "metrics.jsonl ends before the run did, so curves and marks are cut: a, seed 2." in notes


def test_runs_without_figures_are_counted_and_their_side_does_not_win(tmp_path: Path) -> None:
    kids: list[float | None] = [5.0 + 0.1 * seed for seed in range(10)]
    report = make_study(tmp_path, {"a": [20.0 + 0.3 * seed for seed in range(10)], "b": [*kids[:6], None, None, None, None]})
    compared = report.comparison("b", HELD_OUT)
    assert compared is not None
    assert compared.difference.n == 6
    assert compared.verdict.words == "no difference shown, since 4 runs of the better side have no figure"
    assert answer(report).startswith("No difference is shown between b and a on ")
    (line,) = without_figures(report)
    assert line.startswith("4 of 10 runs of b have no figure, so they are in no mean and no difference.")
    assert warnings(report)[0] == line
    whole = make_study(tmp_path / "whole", {"a": [20.0 + 0.3 * seed for seed in range(10)], "b": kids})
    assert answer(whole).startswith("b is better than a on ")
    assert without_figures(whole) == []


def test_names_with_commas_are_listed_with_semicolons(tmp_path: Path) -> None:
    names = ("a", "b, x=1", "b, x=2")
    report = make_study(tmp_path, {name: [1.0 + seed for seed in range(3)] for name in names})
    assert "for b, x=1 and b, x=2 there are too few seeds" in answer(report)
    assert any("a; b, x=1 and b, x=2" in line for line in warnings(report)) or not no_better_than_controls(report)


def test_figures_of_a_checkpoint_before_the_last_step_are_called_so(tmp_path: Path) -> None:
    runs = [StudyRun("a", seed, make_run(tmp_path / str(seed), seed=seed)) for seed in range(2)]
    report = make_report([(runs[0], make_evaluation(1.0, step=8)), (runs[1], make_evaluation(2.0))], tmp_path)
    assert [row.evaluated_step for row in report.runs] == [8, 12]
    note = "Figures are of the last checkpoint, which is not of the run's last step: a, seed 0 (step 8 of 12)."
    assert note in report.notes
    assert "The figures are of step 8." in model_card(report, report.runs[0])
    assert "The figures are of step" not in model_card(report, report.runs[1])


def test_samples_of_a_run_that_failed_are_shown_too(tmp_path: Path) -> None:
    grids = {12: np.zeros((10, 32, 32, 3))}
    ends = ("complete", "complete", "failed", "failed")
    paths = [make_run(tmp_path / str(seed), seed=seed, status=end, grids=grids) for seed, end in enumerate(ends)]
    runs = [StudyRun("a", seed, path) for seed, path in enumerate(paths)]
    report = make_report([(run, make_evaluation(1.0)) for run in runs], tmp_path)
    assert [strip.seed for strip in report.strips] == [0, 2]


def test_no_run_and_a_damaged_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run to report on"):
        make_report([], tmp_path)
    path = make_run(tmp_path / "run")
    lines = (path / "metrics.jsonl").read_text().splitlines()
    (path / "metrics.jsonl").write_text("\n".join([lines[0], "{", *lines[2:]]) + "\n")
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2: "):
        make_report([(StudyRun("a", 0, path), None)], tmp_path)


def test_the_best_run_has_the_best_primary_measure(tmp_path: Path) -> None:
    report = make_study(tmp_path, {"a": [10.0, 8.0, None], "b": [9.0, 8.0, 12.0]})
    best = best_run(report)
    assert best is not None
    assert (best.variant, best.seed) == ("a", 1)  # Of equal ones the first.
    higher = tuple(replace(measure, better="higher") if measure.is_primary else measure for measure in report.measures)
    assert best_run(replace(report, measures=higher)) == report.runs[5]
    assert best_run(make_study(tmp_path / "none", {"a": [None]})) is None
    assert best_run(replace(report, measures=())) is None


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Report, Path]:
    monkeypatch.setattr(write, "save_paper_plots", lambda report, folder: [])  # tests/comparison/test_report.py tests them.
    report = make_study(tmp_path / "runs", {"a": [10.0, 8.125], "b": [9.0, None]})
    write_report(report, tmp_path / "report")
    return report, tmp_path / "report"


def test_the_model_card_is_yaml_with_the_numbers_of_the_report(written: tuple[Report, Path]) -> None:
    _, folder = written
    _, metadata, text = (folder / "MODEL_CARD.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(metadata)
    assert card["library_name"] == "sharingan_jax"
    ((index,),) = [card["model-index"]]
    assert index["name"] == "a-seed-1"
    (result,) = index["results"]
    assert result["task"]["type"] == "unconditional-image-generation"
    (row,) = [
        run for run in json.loads((folder / "report.json").read_text())["runs"] if (run["variant"], run["seed"]) == ("a", 1)
    ]
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == row["measures"]
    assert row["measures"][HELD_OUT] == 8.125
    names = {metric["type"]: metric["name"] for metric in result["metrics"]}
    assert names[HELD_OUT] == "KID, held-out (random) (×10³)"  # A hub shows name and value.
    assert "| KID, held-out (random) (×10³) | 8.125 | lower |" in text
    assert "Runs of `a`: 2, of which none collapsed and none failed." in text
    assert "that have one. The best of several runs is an optimistic choice" in text
    assert f"`{row['digest']}`" in text
    assert re.findall(r"\| ([^|]+) \| [\d.]+ \| \w+ \| yes \|", text) == ["noise in flat areas: off by"]
    assert "“Copies pass” means that exact copies of the training images do as well as new real images" in text


def test_the_model_card_says_how_many_runs_of_the_variant_collapsed_or_failed(tmp_path: Path) -> None:
    report = make_study(tmp_path, {"a": [10.0, 8.0, 9.0, 9.0], "b": [12.0]})
    first, second, third, *others = report.runs
    lost = (replace(first, collapse_step=4), replace(second, failure="no memory"), replace(third, status="failed"), *others)
    card = model_card(replace(report, runs=lost), others[0])
    assert "Runs of `a`: 4, of which 1 collapsed and 2 failed." in card


def test_the_table_of_runs_has_the_numbers_of_the_report(written: tuple[Report, Path]) -> None:
    report, folder = written
    rows = list(csv.DictReader((folder / "runs.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 4 * len(report.measures)
    found = {(row["variant"], int(row["seed"]), row["measure"]): row["value"] for row in rows}
    for run in report.runs:
        for name, value in run.measures.items():
            assert found[run.variant, run.seed, name] == ("" if value is None else repr(value))


def test_the_same_report_is_written_with_the_same_bytes_and_without_figures_no_card_stays(written: tuple[Report, Path]) -> None:
    report, folder = written
    before = contents_of(folder)
    write_report(report, folder)
    assert contents_of(folder) == before
    write_report(replace(report, measures=()), folder)
    assert not (folder / "MODEL_CARD.md").exists()


def test_the_page_says_when_variants_are_no_better_than_noise_or_a_grey_picture(tmp_path: Path) -> None:
    report = make_study(tmp_path, {"a": [20.0, 30.0], "b": [40.0, 60.0], "c": [10.0, 12.0]})
    controls = {"noise": 50.0, "the mean image": 25.0, "exact copies": 0.0}
    judged = replace(report, controls=tuple(Control(name, {HELD_OUT: value}) for name, value in controls.items()))
    noise, grey = sorted(no_better_than_controls(judged), key=lambda sentence: "mean image" in sentence)
    assert "the samples of b are in the mean no better than the control “noise” (50.0)" in noise
    assert "the samples of a are in the mean no better than the control “the mean image” (25.0)" in grey
    assert no_better_than_controls(replace(report, controls=())) == []


@pytest.mark.parametrize("command", ["report r --samples 0", "report r --samples=0", "sharingan_jax.report(['r'], samples=0)"])
def test_a_page_whose_own_command_measures_nothing_does_not_point_to_it(command: str, tmp_path: Path) -> None:
    report = make_report([(StudyRun("a", 0, make_run(tmp_path / "0")), None)], tmp_path)
    assert answer(replace(report, command=command)) == "This run has not been measured yet."
    assert answer(replace(report, command="report r")).endswith(" measures its samples.")
