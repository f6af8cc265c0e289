"""Several seeds from one command: a run for each, one after another or side by side in one program."""

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
from conftest import environments_of, figures_of, manifest_of, train_arguments

import main
from sharingan_jax.devices.stacked_seeds import StackedTrainer
from sharingan_jax.gan.step import Metrics
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.lock import lock_folder
from sharingan_jax.training.recorder import OpenRun

# All batches and dispatches of one size: one program to compile for each number of seeds at once.
EVEN = ["--config.data.last_batch=drop", "--config.train.steps_per_dispatch=2"]
SIDE_BY_SIDE = [*EVEN, "--config.train.seeds=3", "--config.train.stacked_seeds=3"]


@pytest.fixture(scope="module")
def three(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeds 0 to 2 side by side, twelve steps each: only to be read."""
    workdir = tmp_path_factory.mktemp("seeds") / "three"
    assert main.main(train_arguments(pictures, workdir, *SIDE_BY_SIDE)) == 0
    return workdir


@pytest.fixture(scope="module")
def alone(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seed 0 by itself: only to be read."""
    workdir = tmp_path_factory.mktemp("seeds") / "alone"
    assert main.main(train_arguments(pictures, workdir, *EVEN)) == 0
    return workdir


def _seeds(workdir: Path) -> list[Path]:
    return sorted(workdir.iterdir())


def _digests(workdir: Path) -> list[str]:
    return [manifest_of(folder)["digest"] for folder in _seeds(workdir)]


def test_one_after_another_each_is_the_run_of_its_seed_to_the_bit(pictures: Path, alone: Path, tmp_path: Path) -> None:
    assert main.main(train_arguments(pictures, tmp_path / "runs", *EVEN, "--config.train.seeds=2")) == 0
    first, second = _seeds(tmp_path / "runs")
    assert [first.name, second.name] == ["seed-0", "seed-1"]
    assert manifest_of(first)["digest"] == manifest_of(alone)["digest"]
    assert figures_of(first) == figures_of(alone)
    assert main.main(train_arguments(pictures, tmp_path / "one", *EVEN, "--config.seed=1")) == 0
    assert manifest_of(second)["digest"] == manifest_of(tmp_path / "one")["digest"]
    assert json.loads((second / "config.json").read_text()) == json.loads((tmp_path / "one" / "config.json").read_text())


def test_side_by_side_each_is_the_run_of_its_seed_to_rounding(alone: Path, three: Path) -> None:
    seeds = _seeds(three)
    assert [manifest_of(folder)["seed"] for folder in seeds] == [0, 1, 2]
    assert len(set(_digests(three))) == 3
    for ours, theirs in zip(figures_of(seeds[0]), figures_of(alone), strict=True):
        for name in ("loss_d", "loss_g", "d_real", "grad_norm_d"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3), (ours["step"], name)  # Twelve steps grow rounding little.


def test_each_folder_is_a_whole_run_that_can_be_sampled_and_goes_on_alone(pictures: Path, three: Path, tmp_path: Path) -> None:
    for folder in _seeds(three):
        for name in ("losses.png", "real_vs_fake.png", "training.gif", "metrics.jsonl", "events", "samples/step_000012.png"):
            assert (folder / name).exists(), (folder, name)
        assert manifest_of(folder)["status"] == "complete"
        assert environments_of(folder)[-1]["stacked_seeds"] == 3
        assert environments_of(folder)[-1]["device"]["count"] == 1
        assert manifest_of(folder)["config"]["train"]["seeds"] == 1
    one = tmp_path / "seed-1"
    shutil.copytree(three / "seed-1", one)
    assert main.main(["sample", "--workdir", str(one), "--num", "4", "--out", str(tmp_path / "grid.png")]) == 0
    assert main.main(train_arguments(pictures, one, *EVEN, "--config.seed=1", "--config.train.steps=16")) == 0
    assert [environment["stacked_seeds"] for environment in environments_of(one)] == [3, 1]


def test_a_stop_and_a_start_leave_the_same_bits(pictures: Path, three: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "cut"
    assert main.main(train_arguments(pictures, workdir, *SIDE_BY_SIDE, "--config.train.steps=6")) == 0
    assert main.main(train_arguments(pictures, workdir, *SIDE_BY_SIDE)) == 0
    assert _digests(workdir) == _digests(three)
    assert [figures_of(folder) for folder in _seeds(workdir)] == [figures_of(folder) for folder in _seeds(three)]


def test_one_that_is_behind_catches_up_and_the_others_bits_are_the_same(pictures: Path, three: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "behind"
    shutil.copytree(three, workdir)
    for step in (8, 12):
        shutil.rmtree(workdir / "seed-1" / "checkpoints" / str(step))
    shutil.copytree(three, tmp_path / "even")
    assert main.main(train_arguments(pictures, workdir, *SIDE_BY_SIDE, "--config.train.steps=14")) == 0
    for folder in _seeds(workdir):
        assert [record["step"] for record in figures_of(folder)] == list(range(1, 15))
        assert manifest_of(folder)["status"] == "complete"
    starts = [(start["after_step"], start["environment"]["stacked_seeds"]) for start in manifest_of(workdir / "seed-1")["starts"]]
    assert starts == [(0, 3), (4, 1), (12, 3)]
    assert [environment["stacked_seeds"] for environment in environments_of(workdir / "seed-0")] == [3]
    assert main.main(train_arguments(pictures, tmp_path / "even", *SIDE_BY_SIDE, "--config.train.steps=14")) == 0
    for seed in (0, 2):
        assert _digests(workdir)[seed] == _digests(tmp_path / "even")[seed]


def test_verify_of_one_that_had_others_beside_it_says_so(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main.main(["verify", "--workdir", str(three / "seed-0")])
    told = capsys.readouterr().out
    assert code == 0 or "stacked_seeds: 3 | 1" in told, told


def _spoiled_after(step: int, spoilt: int) -> Callable[..., tuple[Any, Metrics]]:
    """`run_steps` whose seed number `spoilt` has a NaN for loss_d at the last step of each chunk from `step` on."""
    run_steps, done = StackedTrainer.run_steps, 0

    def spoiled(trainer: StackedTrainer, state: Any, images_u8: Any) -> tuple[Any, Metrics]:
        nonlocal done
        state, metrics = run_steps(trainer, state, images_u8)
        done += metrics["loss_d"].shape[1]
        loss = np.array(metrics["loss_d"])
        if done >= step:
            loss[spoilt, -1] = np.nan
        return state, {**metrics, "loss_d": jax.numpy.asarray(loss)}

    return spoiled


@pytest.mark.parametrize("spoilt", [0, 1])
def test_one_whose_loss_is_not_finite_stops_and_the_others_go_on(
    spoilt: int, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StackedTrainer, "run_steps", _spoiled_after(6, spoilt))
    more = [*SIDE_BY_SIDE, "--config.log.every=1"]
    assert main.main(train_arguments(pictures, tmp_path / "runs", *more)) == 2
    told = capsys.readouterr()
    assert "loss_d is nan" in told.err
    assert f"1 of 3 seeds failed: {spoilt};" in told.err
    assert f"seed-{spoilt}: step 6: loss_d is nan" in told.out
    shown = [line.split("  step ")[1].split("/")[0] for line in told.out.splitlines() if "steps/s" in line]
    assert shown == [str(step) for step in range(1, 13)]
    for seed, folder in enumerate(_seeds(tmp_path / "runs")):
        assert manifest_of(folder)["status"] == ("failed" if seed == spoilt else "complete")
        assert len(figures_of(folder)) == (5 if seed == spoilt else 12)
    saved = tmp_path / "runs" / f"seed-{spoilt}" / "checkpoints"
    assert max(int(path.name) for path in saved.iterdir() if path.name.isdigit()) == 4


def test_a_stop_after_a_seeds_last_step_leaves_the_next_ones_alone(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = OpenRun.finish

    def stopped_meanwhile(*args: Any, **kwargs: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return finish(*args, **kwargs)

    monkeypatch.setattr(OpenRun, "finish", stopped_meanwhile)
    assert main.main(train_arguments(pictures, tmp_path / "runs", *EVEN, "--config.train.seeds=3")) == 143
    assert [folder.name for folder in _seeds(tmp_path / "runs")] == ["seed-0"]
    assert "stopped by SIGTERM" in capsys.readouterr().out


def test_one_after_another_each_that_fails_is_named_and_the_others_are_trained(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = train_arguments(pictures, tmp_path / "runs", *EVEN, "--config.train.seeds=3")
    assert main.main([*arguments, "--config.train.steps=2"]) == 0
    with lock_folder(RunFolder(tmp_path / "runs" / "seed-1")):
        assert main.main([*arguments, "--config.train.steps=4"]) == 2
    told = capsys.readouterr()
    assert "seed 1: --workdir" in told.out
    assert "1 of 3 seeds failed: 1;" in told.err
    assert [len(figures_of(folder)) for folder in _seeds(tmp_path / "runs")] == [4, 2, 4]


def test_the_devices_that_share_seeds_are_noted_and_taken_again(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(workdir: Path, steps: int, devices: int, *more: str) -> int:
        two = ["--config.train.seeds=2", "--config.train.stacked_seeds=2", f"--config.train.devices={devices}"]
        return main.main(train_arguments(pictures, workdir, *EVEN, *two, f"--config.train.steps={steps}", *more))

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
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(train_arguments(pictures, tmp_path / "runs", *SIDE_BY_SIDE, "--dry-run")) == 0
    told = capsys.readouterr().out
    assert "3, 3 in one program" in told
    assert all(f"{tmp_path / 'runs'}/seed-{seed}" in told for seed in range(3))
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
def test_seeds_that_cannot_be_are_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main.main(train_arguments(pictures, tmp_path / "runs", *more)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_folder_of_several_seeds_is_no_runs_folder(pictures: Path, three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in three.iterdir())
    assert main.main(train_arguments(pictures, three, *EVEN)) == 2
    assert f"for one of them use --workdir={three}/seed-0" in capsys.readouterr().err
    assert sorted(path.name for path in three.iterdir()) == before


def test_seeds_that_began_with_other_numbers_of_threads_do_not_go_on_in_one_start(
    pictures: Path, three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "runs"
    shutil.copytree(three, workdir)
    settings = json.loads((workdir / "seed-1" / "config.json").read_text())
    settings["train"]["host_threads"] += 1
    (workdir / "seed-1" / "config.json").write_text(json.dumps(settings))
    assert main.main(train_arguments(pictures, workdir, *SIDE_BY_SIDE, "--config.train.steps=14")) == 2
    assert "Start them one by one, or set --config.train.host_threads=" in capsys.readouterr().err
