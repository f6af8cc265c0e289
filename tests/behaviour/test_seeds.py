"""Several seeds from one command: a run for each, one after another or side by side in one program."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import figures_of, manifest_of, train_arguments

import main
from sharingan_jax import loop
from sharingan_jax.step import Metrics
from sharingan_jax.together import Together

# All batches and dispatches of one size: one program to compile for each number of seeds at once.
EVEN = ["--config.data.last_batch=drop", "--config.train.steps_per_call=2"]
SIDE_BY_SIDE = [*EVEN, "--config.train.seeds=3", "--config.train.seeds_at_once=3"]


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
        assert manifest_of(folder)["seeds_at_once"] == 3
        assert manifest_of(folder)["device"]["count"] == 1
        assert manifest_of(folder)["config"]["train"]["seeds"] == 1
    one = tmp_path / "seed-1"
    shutil.copytree(three / "seed-1", one)
    assert main.main(["sample", "--workdir", str(one), "--num", "4", "--out", str(tmp_path / "grid.png")]) == 0
    assert main.main(train_arguments(pictures, one, *EVEN, "--config.seed=1", "--config.train.steps=16")) == 0
    assert [start["seeds_at_once"] for start in manifest_of(one)["starts"]] == [3, 1]


def test_a_stop_and_a_start_leave_the_same_bits(pictures: Path, three: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "cut"
    assert main.main(train_arguments(pictures, workdir, *SIDE_BY_SIDE, "--config.train.steps=6")) == 0
    assert main.main(train_arguments(pictures, workdir, *SIDE_BY_SIDE)) == 0
    assert _digests(workdir) == _digests(three)
    assert [figures_of(folder) for folder in _seeds(workdir)] == [figures_of(folder) for folder in _seeds(three)]


def test_one_that_is_behind_catches_up_by_itself(pictures: Path, three: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "behind"
    shutil.copytree(three, workdir)
    for step in (8, 12):
        shutil.rmtree(workdir / "seed-1" / "checkpoints" / str(step))
    assert main.main(train_arguments(pictures, workdir, *SIDE_BY_SIDE, "--config.train.steps=14")) == 0
    for folder in _seeds(workdir):
        assert [record["step"] for record in figures_of(folder)] == list(range(1, 15))
        assert manifest_of(folder)["status"] == "complete"
    assert [start["seeds_at_once"] for start in manifest_of(workdir / "seed-1")["starts"]] == [3, 1]
    assert [start["seeds_at_once"] for start in manifest_of(workdir / "seed-0")["starts"]] == [3, 2]


def test_verify_of_one_that_had_others_beside_it_says_so(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main.main(["verify", "--workdir", str(three / "seed-0")])
    told = capsys.readouterr().out
    assert code == 0 or "seeds_at_once: 3 | 1" in told, told


def _spoiled_after(step: int, side_by_side: Callable[..., Together]) -> Callable[..., Together]:
    """`side_by_side` whose second seed's loss_d is NaN from `step` on."""

    def spoiled(*args: Any, **kwargs: Any) -> Together:
        together = side_by_side(*args, **kwargs)
        done = 0

        def chunk(state: Any, real_u8: Any) -> tuple[Any, Metrics]:
            nonlocal done
            state, metrics = together.chunk(state, real_u8)
            done += metrics["loss_d"].shape[1]
            loss = np.array(metrics["loss_d"])
            if done >= step:
                loss[1] = np.nan
            return state, {**metrics, "loss_d": jax.numpy.asarray(loss)}

        return replace(together, chunk=chunk)

    return spoiled


def test_one_whose_loss_is_not_finite_stops_and_the_others_go_on(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "side_by_side", _spoiled_after(6, loop.side_by_side))
    assert main.main(train_arguments(pictures, tmp_path / "runs", *SIDE_BY_SIDE)) == 2
    told = capsys.readouterr()
    assert "loss_d is nan" in told.err
    assert "1 of 3 seeds stopped so" in told.err
    assert "seed-1" in told.out
    first, second, third = _seeds(tmp_path / "runs")
    assert [manifest_of(folder)["status"] for folder in (first, second, third)] == ["complete", "failed", "complete"]
    assert [len(figures_of(folder)) for folder in (first, third)] == [12, 12]
    assert len(figures_of(second)) < 12
    assert max(int(path.name) for path in (second / "checkpoints").iterdir() if path.name.isdigit()) == 4


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
        (["--config.train.seeds=2", "--config.train.seeds_at_once=3"], "seeds_at_once=3 with train.seeds=2; use at most 2"),
        (["--config.train.seeds=0"], "train.seeds=0 must be at least 1"),
        (["--config.seed=2147483647", "--config.train.seeds=2"], "goes past 2147483647; begin at 2147483646"),
        (["--config.train.seeds=3", "--config.train.seeds_at_once=3", "--config.train.devices=2"], "--config.train.devices=1"),
    ],
)
def test_seeds_that_cannot_be_are_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main.main(train_arguments(pictures, tmp_path / "runs", *more)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
