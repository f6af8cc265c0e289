"""Several seeds from one command: one run for each, one after another or stacked in one program."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import environments_of, manifest_of, metrics_of, train_arguments

import main
from sharingan_jax.devices.stacked_seeds import StackedTrainer
from sharingan_jax.gan.step import Metrics
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.lock import lock_folder
from sharingan_jax.training.recorder import OpenRun

pytestmark = pytest.mark.slow

# All batches and chunks of steps have one size: one program to compile for each number of stacked seeds.
EVEN = ["--config.data.last_batch=drop", "--config.train.steps_per_dispatch=2"]
STACKED = [*EVEN, "--config.train.seeds=3", "--config.train.stacked_seeds=3"]


@pytest.fixture(scope="module")
def stacked(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeds 0 to 2 stacked, twelve steps each. Read-only."""
    workdir = tmp_path_factory.mktemp("seeds") / "three"
    assert main.main(train_arguments(image_folder, workdir, *STACKED)) == 0
    return workdir


@pytest.fixture(scope="module")
def single(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seed 0 as a single run. Read-only."""
    workdir = tmp_path_factory.mktemp("seeds") / "alone"
    assert main.main(train_arguments(image_folder, workdir, *EVEN)) == 0
    return workdir


def _seeds(workdir: Path) -> list[Path]:
    return sorted(workdir.iterdir())


def _digests(workdir: Path) -> list[str]:
    return [manifest_of(folder)["digest"] for folder in _seeds(workdir)]


def test_seeds_one_after_another_are_bitwise_identical_to_single_runs(image_folder: Path, single: Path, tmp_path: Path) -> None:
    assert main.main(train_arguments(image_folder, tmp_path / "runs", *EVEN, "--config.train.seeds=2")) == 0
    first, second = _seeds(tmp_path / "runs")
    assert [first.name, second.name] == ["seed-0", "seed-1"]
    assert manifest_of(first)["digest"] == manifest_of(single)["digest"]
    assert metrics_of(first) == metrics_of(single)
    assert main.main(train_arguments(image_folder, tmp_path / "one", *EVEN, "--config.seed=1")) == 0
    assert manifest_of(second)["digest"] == manifest_of(tmp_path / "one")["digest"]
    assert json.loads((second / "config.json").read_text()) == json.loads((tmp_path / "one" / "config.json").read_text())


def test_stacked_seeds_equal_single_runs_to_rounding(single: Path, stacked: Path) -> None:
    seeds = _seeds(stacked)
    assert [manifest_of(folder)["seed"] for folder in seeds] == [0, 1, 2]
    assert len(set(_digests(stacked))) == 3
    for ours, theirs in zip(metrics_of(seeds[0]), metrics_of(single), strict=True):
        for name in ("loss_d", "loss_g", "d_real", "grad_norm_d"):
            # In twelve steps rounding differences stay small.
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3), (ours["step"], name)


def test_each_stacked_seeds_folder_can_be_sampled_and_resumed_alone(image_folder: Path, stacked: Path, tmp_path: Path) -> None:
    for folder in _seeds(stacked):
        for name in ("losses.png", "real_vs_fake.png", "training.gif", "metrics.jsonl", "events", "samples/step_000012.png"):
            assert (folder / name).exists(), (folder, name)
        assert manifest_of(folder)["status"] == "complete"
        assert environments_of(folder)[-1]["stacked_seeds"] == 3
        assert environments_of(folder)[-1]["device"]["count"] == 1
        assert manifest_of(folder)["config"]["train"]["seeds"] == 1
    one = tmp_path / "seed-1"
    shutil.copytree(stacked / "seed-1", one)
    assert main.main(["sample", "--workdir", str(one), "--num", "4", "--out", str(tmp_path / "grid.png")]) == 0
    assert main.main(train_arguments(image_folder, one, *EVEN, "--config.seed=1", "--config.train.steps=16")) == 0
    assert [environment["stacked_seeds"] for environment in environments_of(one)] == [3, 1]


def test_stacked_seeds_resume_to_the_same_bits(image_folder: Path, stacked: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "cut"
    assert main.main(train_arguments(image_folder, workdir, *STACKED, "--config.train.steps=6")) == 0
    assert main.main(train_arguments(image_folder, workdir, *STACKED)) == 0
    assert _digests(workdir) == _digests(stacked)
    assert [metrics_of(folder) for folder in _seeds(workdir)] == [metrics_of(folder) for folder in _seeds(stacked)]


def test_a_seed_that_is_behind_catches_up_and_does_not_change_the_others(
    image_folder: Path, stacked: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "behind"
    shutil.copytree(stacked, workdir)
    for step in (8, 12):
        shutil.rmtree(workdir / "seed-1" / "checkpoints" / str(step))
    shutil.copytree(stacked, tmp_path / "even")
    assert main.main(train_arguments(image_folder, workdir, *STACKED, "--config.train.steps=14")) == 0
    for folder in _seeds(workdir):
        assert [record["step"] for record in metrics_of(folder)] == list(range(1, 15))
        assert manifest_of(folder)["status"] == "complete"
    starts = [(start["after_step"], start["environment"]["stacked_seeds"]) for start in manifest_of(workdir / "seed-1")["starts"]]
    assert starts == [(0, 3), (4, 1), (12, 3)]
    assert [environment["stacked_seeds"] for environment in environments_of(workdir / "seed-0")] == [3]
    assert main.main(train_arguments(image_folder, tmp_path / "even", *STACKED, "--config.train.steps=14")) == 0
    for seed in (0, 2):
        assert _digests(workdir)[seed] == _digests(tmp_path / "even")[seed]


def test_verify_reports_that_a_run_was_stacked(stacked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main.main(["verify", "--workdir", str(stacked / "seed-0")])
    out = capsys.readouterr().out
    assert code == 0 or "stacked_seeds: 3 | 1" in out, out


def _fail_after(step: int, bad_seed: int) -> Callable[..., tuple[Any, Metrics]]:
    """Return a `run_steps` that gives seed `bad_seed` a NaN loss_d at the last step of each chunk, from `step` on."""
    run_steps, done = StackedTrainer.run_steps, 0

    def run_steps_and_fail(trainer: StackedTrainer, state: Any, *inputs: Any) -> tuple[Any, Metrics]:
        nonlocal done
        state, metrics = run_steps(trainer, state, *inputs)
        done += metrics["loss_d"].shape[1]
        loss = np.array(metrics["loss_d"])
        if done >= step:
            loss[bad_seed, -1] = np.nan
        return state, {**metrics, "loss_d": jax.numpy.asarray(loss)}

    return run_steps_and_fail


@pytest.mark.parametrize("bad_seed", [0, 1])
def test_a_seed_with_a_non_finite_loss_stops_and_the_others_continue(
    bad_seed: int, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StackedTrainer, "run_steps", _fail_after(6, bad_seed))
    more = [*STACKED, "--config.log.every=1"]
    assert main.main(train_arguments(image_folder, tmp_path / "runs", *more)) == 2
    printed = capsys.readouterr()
    assert "loss_d is nan" in printed.err
    assert f"1 of 3 seeds failed: {bad_seed};" in printed.err
    assert f"seed-{bad_seed}: step 6: loss_d is nan" in printed.out
    shown = [line.split("  step ")[1].split("/")[0] for line in printed.out.splitlines() if "steps/s" in line]
    assert shown == [str(step) for step in range(1, 13)]
    for seed, folder in enumerate(_seeds(tmp_path / "runs")):
        assert manifest_of(folder)["status"] == ("failed" if seed == bad_seed else "complete")
        assert len(metrics_of(folder)) == (5 if seed == bad_seed else 12)
    saved = tmp_path / "runs" / f"seed-{bad_seed}" / "checkpoints"
    assert max(int(path.name) for path in saved.iterdir() if path.name.isdigit()) == 4


def test_a_stop_after_a_seeds_last_step_does_not_start_the_next_seed(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = OpenRun.finish

    def finish_after_sigterm(*args: Any, **kwargs: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return finish(*args, **kwargs)

    monkeypatch.setattr(OpenRun, "finish", finish_after_sigterm)
    assert main.main(train_arguments(image_folder, tmp_path / "runs", *EVEN, "--config.train.seeds=3")) == 143
    assert [folder.name for folder in _seeds(tmp_path / "runs")] == ["seed-0"]
    assert "stopped by SIGTERM" in capsys.readouterr().out


def test_a_failed_seed_is_named_and_the_others_are_trained(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = train_arguments(image_folder, tmp_path / "runs", *EVEN, "--config.train.seeds=3")
    assert main.main([*arguments, "--config.train.steps=2"]) == 0
    with lock_folder(RunFolder(tmp_path / "runs" / "seed-1")):
        assert main.main([*arguments, "--config.train.steps=4"]) == 2
    printed = capsys.readouterr()
    assert "seed 1: workdir" in printed.out
    assert "1 of 3 seeds failed: 1;" in printed.err
    assert [len(metrics_of(folder)) for folder in _seeds(tmp_path / "runs")] == [4, 2, 4]


def test_the_devices_of_stacked_seeds_are_recorded_and_used_again(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(workdir: Path, steps: int, devices: int, *more: str) -> int:
        two = ["--config.train.seeds=2", "--config.train.stacked_seeds=2", f"--config.train.devices={devices}"]
        return main.main(train_arguments(image_folder, workdir, *EVEN, *two, f"--config.train.steps={steps}", *more))

    assert train(tmp_path / "two", 2, 2, "--dry-run") == 0
    assert "devices      2 of 8" in capsys.readouterr().out
    assert train(tmp_path / "two", 2, 2) == 0
    shutil.copytree(tmp_path / "two", tmp_path / "one")
    assert train(tmp_path / "two", 4, 0) == 0
    assert "which rounds differently" not in capsys.readouterr().out
    assert [environment["stacked_devices"] for environment in environments_of(tmp_path / "two" / "seed-1")] == [2]
    assert environments_of(tmp_path / "two" / "seed-1")[-1]["device"]["count"] == 1
    assert train(tmp_path / "one", 4, 1) == 0
    assert "it started on 2 devices and continues on 1, which rounds differently" in capsys.readouterr().out
    assert [environment["stacked_devices"] for environment in environments_of(tmp_path / "one" / "seed-1")] == [2, 1]


def test_a_dry_run_names_every_folder_and_writes_nothing(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(train_arguments(image_folder, tmp_path / "runs", *STACKED, "--dry-run")) == 0
    out = capsys.readouterr().out
    assert "3, 3 in one program" in out
    assert all(f"{tmp_path / 'runs'}/seed-{seed}" in out for seed in range(3))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--config.train.seeds=2", "--config.train.stacked_seeds=3"], "stacked_seeds=3: expected at most train.seeds=2, or 0"),
        (["--config.train.seeds=0"], "train.seeds=0: expected at least 1"),
        (
            ["--config.seed=2147483647", "--config.train.seeds=2"],
            "seed=2147483647: expected at most 2147483646 with train.seeds=2.",
        ),
        (["--config.train.seeds=3", "--config.train.stacked_seeds=3", "--config.train.devices=2"], "--config.train.devices=1"),
    ],
)
def test_impossible_seeds_are_refused(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main.main(train_arguments(image_folder, tmp_path / "runs", *more)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_folder_of_several_seeds_is_not_a_run_folder(
    image_folder: Path, stacked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in stacked.iterdir())
    assert main.main(train_arguments(image_folder, stacked, *EVEN)) == 2
    assert f"for one of them use {stacked}/seed-0" in capsys.readouterr().err
    assert sorted(path.name for path in stacked.iterdir()) == before


def test_seeds_with_different_numbers_of_threads_are_not_stacked(
    image_folder: Path, stacked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "runs"
    shutil.copytree(stacked, workdir)
    settings = json.loads((workdir / "seed-1" / "config.json").read_text())
    settings["train"]["host_threads"] += 1
    (workdir / "seed-1" / "config.json").write_text(json.dumps(settings))
    assert main.main(train_arguments(image_folder, workdir, *STACKED, "--config.train.steps=14")) == 2
    assert "Start them one by one, or set --config.train.host_threads=" in capsys.readouterr().err
