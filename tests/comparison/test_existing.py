"""Runs that exist: how they are grouped into variants, and why they failed."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import CONFIG, OTHER, make_report, make_run

from sharingan_jax.comparison.existing import group_runs
from sharingan_jax.comparison.failures import Failures, failure_of
from sharingan_jax.errors import UserError


def test_paths_below_the_report_are_relative_however_they_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "a" / "seed-0")
    monkeypatch.chdir(tmp_path)
    runs, _ = group_runs([Path("a")])
    assert make_report([(run, None) for run in runs], Path()).runs[0].path == "a/seed-0"
    assert make_report([(run, None) for run in runs], Path("elsewhere")).runs[0].path == str(tmp_path / "a" / "seed-0")


def test_why_a_run_failed_is_found_from_its_own_folder(tmp_path: Path) -> None:
    run = make_run(tmp_path / "study" / "a" / "seed-0")
    failures = Failures(tmp_path / "study")
    failures.add(run, "step 3: loss_d is nan, so the run has stopped; lower optim.disc.lr")
    assert (failures.get(run), failure_of(run)) == ("", "")  # It is complete.
    make_run(run, status="failed")
    assert failure_of(run) == "step 3: loss_d is nan, so the run has stopped"
    (only,), _ = group_runs([run])
    assert only.failure == failure_of(run)
    shutil.move(tmp_path / "study", tmp_path / "moved")
    assert failure_of(tmp_path / "moved" / "a" / "seed-0") == "step 3: loss_d is nan, so the run has stopped"


def test_runs_are_grouped_by_their_settings_without_the_seed(tmp_path: Path) -> None:
    for seed in (1, 0):
        make_run(tmp_path / "first" / f"seed-{seed}", seed=seed)
        make_run(tmp_path / "second" / f"seed-{seed}", OTHER, seed=seed)
    runs, data = group_runs([tmp_path])
    names = [
        ("smoke", 0),
        ("smoke", 1),
        ("second", 0),
        ("second", 1),
    ]  # No configuration is exactly its settings, so it has its folder's name.
    assert [(run.variant, run.seed) for run in runs] == names
    assert data == CONFIG.data
    again, _ = group_runs([tmp_path], baseline="second")
    assert [(run.variant, run.seed) for run in again] == [*names[2:], *names[:2]]
    twice, _ = group_runs([tmp_path / "first", tmp_path])
    assert len(twice) == 4  # A folder that is given twice counts once.
    with pytest.raises(UserError, match=r"^baseline=none: expected one of "):
        group_runs([tmp_path], baseline="none")


def test_variants_that_would_have_one_name_are_named_after_their_folders(tmp_path: Path) -> None:
    slower = replace(CONFIG, optim=replace(CONFIG.optim, gen=replace(CONFIG.optim.gen, lr=1e-4)))
    make_run(tmp_path / "slow d" / "seed-0", OTHER)
    make_run(tmp_path / "slow g", slower)
    assert [run.variant for run in group_runs([tmp_path])[0]] == ["slow d", "slow g"]
    make_run(tmp_path / "again" / "slow g", replace(slower, model=replace(slower.model, nz=9)))
    make_run(tmp_path / "again" / "x", replace(OTHER, model=replace(slower.model, nz=9)))
    with pytest.raises(UserError, match=r"several variants have the name of one folder\. Report on fewer folders\.$"):
        group_runs([tmp_path])


def test_other_images_and_the_same_seed_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a folder with runs, found none"):
        group_runs([tmp_path])
    make_run(tmp_path / "a")
    make_run(tmp_path / "b" / "again")
    with pytest.raises(UserError, match=r"/a and .*/again: are the same configuration and seed, so they are not two results"):
        group_runs([tmp_path])
    make_run(tmp_path / "b" / "again", OTHER, data="e" * 64)
    with pytest.raises(UserError, match=r"/a and .*/again: were trained on different images, so no figure compares them"):
        group_runs([tmp_path])


def test_variants_have_the_order_of_the_folders_and_each_folder_needs_a_run(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", OTHER)
    assert [run.path.name for run in group_runs([tmp_path / "b", tmp_path / "a"])[0]] == ["b", "a"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"/empty: expected a folder with runs, found none"):
        group_runs([tmp_path / "a", tmp_path / "empty"])


def test_another_limit_for_collapse_is_another_variant(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", replace(CONFIG, train=replace(CONFIG.train, stop_on_collapse=2)))
    assert len({run.variant for run in group_runs([tmp_path])[0]}) == 2
