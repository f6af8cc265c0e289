"""The signs of collapse in a run's records, and `train.stop_on_collapse`: a run that stops, continues and is verified."""

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import manifest_of, metrics_of, smoke_config, train_arguments
from tensorboardX.proto.event_pb2 import Event

import main
import sharingan_jax as sg
from sharingan_jax.comparison import runs as comparison_runs
from sharingan_jax.data.sources.load import load_dataset_from_config
from sharingan_jax.devices.processes import Processes
from sharingan_jax.evaluation.measures.collapse import SIGN_NAMES, SignReference
from sharingan_jax.run.checkpoints import SharedCheckpoints
from sharingan_jax.run.continuation import read_existing
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.training import recorder
from sharingan_jax.training.recorder import OpenRun
from sharingan_jax.training.setup import environment_of, setup_run

# One size of batch and one step a chunk: one program to compile.
EVERY_2 = [
    "--config.data.last_batch=drop", "--config.train.steps_per_dispatch=1", "--config.sample.every=2",
    "--config.checkpoint.every=6", "--config.log.tensorboard=False",
]  # fmt: skip
ENDED = "the last 2 grids have lost variety or likeness, so the run stops (train.stop_on_collapse)"


@pytest.fixture(autouse=True, scope="module")
def _without_plots_and_the_users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        monkeypatch.setattr(recorder, "save_summaries", lambda *_, **__: None)
        monkeypatch.setattr(comparison_runs, "write_run_report", lambda path: None)
        yield


def _train(images: Path, workdir: Path, *more: str) -> int:
    return main.main(train_arguments(images, workdir, *EVERY_2, *more))


@pytest.fixture(scope="module")
def signed(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eleven steps with a grid at every second one, and with events. Read-only."""
    workdir = tmp_path_factory.mktemp("runs") / "signed"
    assert _train(image_folder, workdir, "--config.train.steps=11", "--config.log.tensorboard=True") == 0
    return workdir


def _collapse(monkeypatch: pytest.MonkeyPatch, *, seeds: tuple[int, ...] = (0,), after: int = 4, until: int = 100) -> None:
    """Give the grids of these seeds a diversity of 0.1 after step `after` up to `until`, and of 0.9 elsewhere."""
    draw_images, signs, now = OpenRun.draw, SignReference.signs, dict[str, int]()

    def draw(run: OpenRun, state: Any) -> Any:
        now["seed"], now["step"] = run.setup.config.seed, int(state.step)
        return draw_images(run, state)

    def low(reference: SignReference, images_u8: np.ndarray) -> dict[str, float | None]:
        is_low = now["seed"] in seeds and after < now["step"] <= until
        return signs(reference, images_u8) | {"diversity": 0.1 if is_low else 0.9}

    monkeypatch.setattr(OpenRun, "draw", draw)
    monkeypatch.setattr(SignReference, "signs", low)


def test_only_the_steps_of_grids_have_signs_and_an_odd_last_step_has_none(signed: Path) -> None:
    records = metrics_of(signed)
    assert (signed / "samples" / "step_000011.png").is_file()
    assert [record["step"] for record in records if set(SIGN_NAMES) & set(record)] == [2, 4, 6, 8, 10]
    assert all(isinstance(record[name], float) for record in records[1::2] for name in SIGN_NAMES)


def test_the_signs_are_those_of_the_grids_images(signed: Path) -> None:
    run = sg.load_run(signed)
    reference = SignReference(sg.load_dataset(Path(run.config.data.path), size=32).preview(500))
    images = run.sample(9, seed=run.config.seed, step=6)
    assert {name: metrics_of(signed)[5][name] for name in SIGN_NAMES} == reference.signs(images)


def test_metrics_are_nan_at_steps_without_signs(signed: Path) -> None:
    metrics = sg.load_run(signed).metrics
    for name in SIGN_NAMES:
        assert metrics[name].dtype == np.float64
        np.testing.assert_array_equal(np.isfinite(metrics[name]), metrics["step"] % 2 == 0)


def test_signs_are_tensorboard_events_at_their_steps(signed: Path) -> None:
    values = []
    for path in (signed / "events").glob("*tfevents*"):
        content, place = path.read_bytes(), 0
        while place < len(content):  # Each event is its length, a checksum, its bytes and a checksum.
            (length,) = struct.unpack("<Q", content[place : place + 8])
            event = Event.FromString(content[place + 12 : place + 12 + length])
            values += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            place += 12 + length + 4
    for name in SIGN_NAMES:
        found = {step: value for step, tag, value in values if tag == name}
        recorded = {record["step"]: record[name] for record in metrics_of(signed)[1::2]}
        assert found == pytest.approx(recorded, rel=1e-6)  # Events are float32.


def test_a_stopped_and_resumed_run_has_the_same_signs(image_folder: Path, signed: Path, tmp_path: Path) -> None:
    assert _train(image_folder, tmp_path / "run", "--config.train.steps=5") == 0
    assert _train(image_folder, tmp_path / "run", "--config.train.steps=11") == 0
    assert metrics_of(tmp_path / "run") == metrics_of(signed)


def test_a_collapsed_run_stops_with_a_checkpoint_and_verifies(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _collapse(monkeypatch)
    workdir = tmp_path / "run"
    assert _train(image_folder, workdir, "--config.train.stop_on_collapse=2") == 0
    out = capsys.readouterr().out
    assert f"{workdir}: step 8: {ENDED}" in out
    assert "collapsed: step 8 of 12" in out
    manifest, run = manifest_of(workdir), sg.load_run(workdir)
    assert (run.status, manifest["step"], len(metrics_of(workdir))) == ("collapsed", 8, 8)
    assert run.steps == (6, 8)
    assert int(run.state(8).step) == 8
    assert (workdir / "samples" / "step_000008.png").is_file()
    assert main.main(["verify", "--workdir", str(workdir)]) == 0
    assert "bitwise identical" in capsys.readouterr().out
    assert main.main(["runs", str(workdir)]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("collapsed  8/12")


@pytest.mark.slow
def test_the_same_command_leaves_a_collapsed_run_and_another_limit_continues_it(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _collapse(monkeypatch)
    workdir, whole = tmp_path / "run", tmp_path / "whole"
    assert _train(image_folder, whole) == 0
    assert _train(image_folder, workdir, "--config.train.stop_on_collapse=2") == 0
    digest = manifest_of(workdir)["digest"]
    assert _train(image_folder, workdir, "--config.train.stop_on_collapse=2") == 0
    now = manifest_of(workdir)
    assert (now["status"], now["step"], now["digest"]) == ("collapsed", 8, digest)
    assert len(metrics_of(workdir)) == 8
    assert _train(image_folder, workdir, "--config.train.stop_on_collapse=3") == 0  # The grids before the start count.
    assert (manifest_of(workdir)["status"], manifest_of(workdir)["step"]) == ("collapsed", 10)
    assert _train(image_folder, workdir, "--config.train.stop_on_collapse=0") == 0
    assert manifest_of(workdir)["status"] == "complete"
    assert manifest_of(workdir)["digest"] == manifest_of(whole)["digest"]
    assert metrics_of(workdir) == metrics_of(whole)


@pytest.mark.slow
def test_a_run_that_recovers_in_time_does_not_stop(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _collapse(monkeypatch, after=4, until=8)
    assert _train(image_folder, tmp_path / "run", "--config.train.stop_on_collapse=3") == 0
    assert manifest_of(tmp_path / "run")["status"] == "complete"


def test_collapse_at_the_last_step_is_a_complete_run(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _collapse(monkeypatch, after=8)
    assert _train(image_folder, tmp_path / "run", "--config.train.stop_on_collapse=2") == 0
    assert (manifest_of(tmp_path / "run")["status"], manifest_of(tmp_path / "run")["step"]) == ("complete", 12)


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [1, 3])
def test_if_one_of_several_seeds_collapses_the_others_continue(
    stacked: int, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = ["--config.train.seeds=3", f"--config.train.stacked_seeds={stacked}"]
    assert _train(image_folder, tmp_path / "whole", *seeds) == 0
    _collapse(monkeypatch, seeds=(1,))
    assert _train(image_folder, tmp_path / "runs", *seeds, "--config.train.stop_on_collapse=2") == 0
    ends = [(manifest_of(tmp_path / "runs" / f"seed-{seed}")) for seed in range(3)]
    assert [(end["status"], end["step"]) for end in ends] == [("complete", 12), ("collapsed", 8), ("complete", 12)]
    for seed in (0, 2):
        assert ends[seed]["digest"] == manifest_of(tmp_path / "whole" / f"seed-{seed}")["digest"]
    assert sg.load_run(tmp_path / "runs" / "seed-1").steps == (6, 8)


@pytest.mark.slow
def test_stacked_seeds_that_all_collapse_end_before_the_last_step(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    write_all: Callable[..., Any] = OpenRun.write

    def write(run: OpenRun, images: Any, *, stopping: bool) -> None:
        steps.append(run.step)
        write_all(run, images, stopping=stopping)

    _collapse(monkeypatch, seeds=(0, 1), after=2)
    monkeypatch.setattr(OpenRun, "write", write)
    more = ["--config.train.seeds=2", "--config.train.stacked_seeds=2", "--config.train.stop_on_collapse=2"]
    assert _train(image_folder, tmp_path / "runs", *more) == 0
    assert max(steps) == 6
    assert [manifest_of(tmp_path / "runs" / f"seed-{seed}")["status"] for seed in (0, 1)] == ["collapsed", "collapsed"]


class _OtherProcess(Processes):
    """The second of two processes. It does not see the folder; the primary one has read two collapsed grids there."""

    def on_primary(self, action: Callable[[], bytes | None]) -> bytes:
        del action
        return json.dumps(["", [{"step": step, "diversity": d} for step, d in ((2, 0.9), (4, 0.1), (6, 0.1))]]).encode()


def test_a_process_that_does_not_see_the_folder_stops_where_the_primary_one_does(tmp_path: Path) -> None:
    config = smoke_config(model__gen__width="4", model__disc__width="4", train__stop_on_collapse="2")
    setup = setup_run(config, load_dataset_from_config(config.data), read_existing(RunFolder(tmp_path / "run")))
    setup = replace(setup, processes=_OtherProcess(index=1, count=2))
    checkpoints = SharedCheckpoints(setup.folder, setup.processes, keep=1, identity={})
    run = OpenRun(setup, lambda: None, checkpoints, setup.trainer.init(0))
    assert run.start(environment_of(setup, setup.trainer)) == ""
    assert (run.collapse.step, run.collapse.in_a_row, run.stops_on_collapse) == (4, 2, True)
    assert not setup.folder.root.exists()
