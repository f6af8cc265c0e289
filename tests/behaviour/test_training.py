"""A run from the command line: the files it leaves, how it resumes, and how it ends."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import ROOT, environments_of, manifest_of, metrics_of, smoke_config, train_arguments
from faults import FAULTS
from PIL import Image

import main
from sharingan_jax.data.sources.load import load_dataset_from_config
from sharingan_jax.errors import UserError
from sharingan_jax.run.checkpoints import SharedCheckpoints
from sharingan_jax.run.continuation import read_existing
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.lock import lock_folder
from sharingan_jax.training.recorder import OpenRun
from sharingan_jax.training.setup import setup_run

STEPS = 12


def _metrics(workdir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_every_promised_file(whole_run: Path) -> None:
    for name in ("config.json", "manifest.json", "metrics.jsonl", "losses.png", "real_vs_fake.png", "training.gif"):
        assert (whole_run / name).stat().st_size > 0, name
    assert [path.name for path in sorted((whole_run / "samples").iterdir())] == [
        f"step_0000{step:02d}.png" for step in (4, 8, 12)
    ]
    assert sorted(int(path.name) for path in (whole_run / "checkpoints").iterdir() if path.name.isdigit()) == [4, 8, 12]
    assert list((whole_run / "events").glob("*tfevents*"))
    assert not [path for path in whole_run.rglob(".*") if path.is_file() and path.suffix in (".png", ".json", ".gif")]
    with Image.open(whole_run / "training.gif") as gif:
        assert gif.n_frames == 3  # type: ignore[attr-defined]


def test_every_step_has_one_line_of_metrics(whole_run: Path) -> None:
    records = _metrics(whole_run)
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    assert [record["epoch"] for record in records] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert set(records[0]) == {
        "step", "epoch", "time", "loss_d", "loss_g", "d_real", "d_fake_before", "d_fake_after", "grad_norm_d", "grad_norm_g",
    }  # fmt: skip
    times = [record["time"] for record in records]
    assert times == sorted(times)


def test_the_manifest_describes_the_run(whole_run: Path, image_folder: Path) -> None:
    manifest = manifest_of(whole_run)
    assert manifest["status"] == "complete"
    assert manifest["step"] == STEPS
    assert manifest["seed"] == 0
    assert len(manifest["digest"]) == 64
    (environment,) = environments_of(whole_run)
    assert environment["device"]["count"] == 1
    assert environment["versions"]["jax"]
    assert environment["versions"]["tensorflow"] != "not installed"
    assert manifest["images_seen"] == 4 * 20  # Four epochs of 8, 8 and 4 images.
    assert manifest["wall_seconds"] > 0
    assert environment["host_threads"] == manifest["config"]["train"]["host_threads"] > 0
    assert environment["xla_flags"] == os.environ["XLA_FLAGS"]
    assert environment["git"] is None or len(environment["git"]["commit"]) == 40
    assert manifest["data"]["count"] == 20
    assert manifest["data"]["skipped"] == 1
    assert sorted(json.loads((whole_run / "data.json").read_text())["files"]) == sorted(
        path.name for path in image_folder.glob("*.png")
    )


def test_a_manifest_alone_repeats_the_run(whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = tmp_path / "again"
    assert main.main(["--config", str(whole_run / "manifest.json")]) == 2
    assert "expected --workdir too, since this is a run's record. Give a new folder" in capsys.readouterr().err
    assert main.main(["--config", str(whole_run / "manifest.json"), "--workdir", str(again)]) == 0
    assert manifest_of(again)["digest"] == manifest_of(whole_run)["digest"]
    assert metrics_of(again) == metrics_of(whole_run)


def test_diff_compares_settings_images_and_metrics(
    whole_run: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twin, other = tmp_path / "twin", tmp_path / "other"
    shutil.copytree(whole_run, twin)
    assert main.main(["diff", str(whole_run), str(twin)]) == 0
    assert "metrics: the same floats at all 12 common steps, 1 to 12\n" in capsys.readouterr().out
    assert main.main(train_arguments(image_folder, other, "--config.seed=1", "--config.train.steps=4")) == 0
    capsys.readouterr()
    assert main.main(["diff", str(whole_run), str(other)]) == 1
    out = capsys.readouterr().out
    assert "  seed: 0 | 1\n" in out
    assert "images: the same\n" in out
    assert "metrics: the same at 0 steps, different from step 1 on:\n" in out
    assert main.main(["diff", str(whole_run), str(tmp_path / "none")]) == 2


def test_a_log_has_the_originals_lines(image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(train_arguments(image_folder, tmp_path / "run", "--config.train.steps=4", "--config.log.every=2")) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith(": 1 file is not an image and was skipped: notes.txt (not an image)")
    first = ["training", "config", "images", "steps", "device", "folder", "compiling"]
    assert [line.split()[0] for line in out[1:8]] == first
    assert out[8].startswith("[1/2][2/3]  Loss_D: ")
    assert "step 4/4" in out[9]
    assert out[10] == f"step 4: {tmp_path / 'run' / 'samples' / 'step_000004.png'}"
    assert re.fullmatch(r"complete: step 4 of 4 after \d+:\d\d, digest [0-9a-f]{12}", out[11])
    assert [line.split()[0] for line in out[12:]] == ["look", "sample"]


def test_a_run_extended_twice_is_bitwise_identical_to_one_run(image_folder: Path, whole_run: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    for steps in (5, 7, STEPS):
        assert main.main(train_arguments(image_folder, workdir, f"--config.train.steps={steps}")) == 0
    assert manifest_of(workdir)["digest"] == manifest_of(whole_run)["digest"]
    assert metrics_of(workdir) == metrics_of(whole_run)
    last = "samples/step_000012.png"
    assert (workdir / last).read_bytes() == (whole_run / last).read_bytes()


def test_writing_files_at_other_steps_changes_no_bit(image_folder: Path, whole_run: Path, tmp_path: Path) -> None:
    quiet = ["--config.sample.every=100", "--config.checkpoint.every=7", "--config.log.tensorboard=False"]
    arguments = train_arguments(image_folder, tmp_path / "run", *quiet, "--config.train.steps_per_dispatch=3")
    assert main.main(arguments) == 0
    assert manifest_of(tmp_path / "run")["digest"] == manifest_of(whole_run)["digest"]
    assert not (tmp_path / "run" / "events").exists()


@pytest.mark.slow
def test_eight_devices_equal_one_from_the_command_line(image_folder: Path, tmp_path: Path) -> None:
    for devices in (1, 8):
        more = [f"--config.train.devices={devices}", "--config.data.last_batch=drop", "--config.train.steps=4"]
        assert main.main(train_arguments(image_folder, tmp_path / str(devices), *more)) == 0
        assert environments_of(tmp_path / str(devices))[-1]["device"]["count"] == devices
    for one, eight in zip(_metrics(tmp_path / "1"), _metrics(tmp_path / "8"), strict=True):
        # Rounding differences grow from step to step: 1e-7 at the first, still below a thousandth at the fourth.
        np.testing.assert_allclose(eight["loss_d"], one["loss_d"], rtol=1e-3)
        np.testing.assert_allclose(eight["loss_g"], one["loss_g"], rtol=1e-3)


def test_a_finished_run_started_again_stays_as_it_is(whole_run: Path, image_folder: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole_run, workdir)
    assert main.main(train_arguments(image_folder, workdir, "--config.train.devices=2")) == 0
    for key in ("digest", "starts"):  # No step was made on two devices.
        assert manifest_of(workdir)[key] == manifest_of(whole_run)[key]
    assert _metrics(workdir) == _metrics(whole_run)


def test_a_second_start_during_training_is_refused(
    image_folder: Path, whole_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lock_folder(RunFolder(whole_run)):
        assert main.main(train_arguments(image_folder, whole_run)) == 2
    assert FAULTS["second-start"].is_shown_in(capsys.readouterr().err)


def test_non_finite_samples_stop_the_run(image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--config.optim.gen.lr=1e38", "--config.sample.every=1", "--config.checkpoint.every=1"]
    assert main.main(train_arguments(image_folder, tmp_path / "run", *more)) == 2
    assert "step 1: G's images are not finite after it" in capsys.readouterr().err
    assert manifest_of(tmp_path / "run")["status"] == "failed"
    assert not [path for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit()]


def test_non_finite_weights_are_named_and_not_saved(image_folder: Path, tmp_path: Path) -> None:
    config = smoke_config(data__source="folder", data__path=str(image_folder), train__batch_size="8")
    setup = setup_run(config, load_dataset_from_config(config.data), read_existing(RunFolder(tmp_path / "run")))
    state = jax.device_get(setup.trainer.init(0))
    checkpoints = SharedCheckpoints(setup.folder, setup.processes, keep=1, identity={})
    run = OpenRun(setup, lambda: None, checkpoints, state)
    assert run.draw(replace(state, step=np.int32(7))) is None
    kernel = state.disc.params["to1"]["kernel"].copy()
    kernel[0, 0, 0, 0] = np.inf
    broken = replace(state, step=np.int32(7), disc=replace(state.disc, params={**state.disc.params, "to1": {"kernel": kernel}}))
    with pytest.raises(UserError, match=r"step 7: disc\.params\.to1\.kernel is not finite after it"):
        run.draw(broken)
    assert not setup.folder.checkpoints.exists()


def test_other_files_among_the_samples_are_ignored(image_folder: Path, whole_run: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole_run, workdir)
    (workdir / "samples" / "step_best.png").write_bytes(b"mine")
    assert main.main(train_arguments(image_folder, workdir)) == 0


def test_a_dry_run_refuses_what_the_run_would_refuse(
    image_folder: Path, whole_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(train_arguments(image_folder, whole_run, "--dry-run", "--config.train.steps=5")) == 2
    assert "is at step 12, past train.steps=5" in capsys.readouterr().err
    assert main.main(train_arguments(image_folder, whole_run / "config.json", "--dry-run")) == 2
    assert "config.json is a file; give the name of a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--config.seed=1", "seed was 0 and is now 1"),
        ("--config.optim.gen.lr=0.1", "optim.gen.lr was 0.0002 and is now 0.1"),
        ("--config.train.steps=5", "is at step 12, past train.steps=5"),
        ("--config.train.seeds=2", "expected a folder for the runs of 2 seeds, got a run's"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(
    image_folder: Path, whole_run: Path, capsys: pytest.CaptureFixture[str], change: str, message: str
) -> None:
    assert main.main(train_arguments(image_folder, whole_run, change)) == 2
    assert message in capsys.readouterr().err


def test_changed_images_are_refused(
    image_folder: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in image_folder.glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    Image.new("RGB", (40, 40)).save(tmp_path / "07.png")
    assert main.main(train_arguments(tmp_path, whole_run)) == 2
    error = capsys.readouterr().err
    assert "the images have changed since the run started (first: then, second: now): 07.png: other contents; put them" in error
    assert FAULTS["images"].is_shown_in(error)


def test_a_non_finite_loss_stops_the_run_and_keeps_the_last_good_checkpoint(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    more = ["--config.optim.disc.lr=1e8", "--config.checkpoint.every=1", "--config.sample.every=1"]
    assert main.main(train_arguments(image_folder, workdir, *more)) == 2
    error = capsys.readouterr().err
    records = _metrics(workdir)
    failed = len(records) + 1
    assert f"step {failed}: " in error
    assert FAULTS["nan"].is_shown_in(error)
    assert "the first tensor that is not finite after step" in error or ".params." in error
    assert sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())[-1] == failed - 1
    assert manifest_of(workdir)["status"] == "failed"


@pytest.mark.slow
def test_a_run_with_partial_last_batches_resumes_to_the_same_bits(image_folder: Path, tmp_path: Path) -> None:
    digests = []
    for name, stops in (("one", [6]), ("two", [4, 6])):
        for steps in stops:
            more = ["--config.train.batch_size=9", "--config.train.steps_per_dispatch=1", f"--config.train.steps={steps}"]
            assert main.main(train_arguments(image_folder, tmp_path / name, *more)) == 0
        digests.append(manifest_of(tmp_path / name)["digest"])
    assert digests[0] == digests[1]
    assert _metrics(tmp_path / "one")[2]["epoch"] == 1


SIGNALS = [signal.SIGTERM, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGHUP))]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_saves_and_the_same_command_resumes(image_folder: Path, tmp_path: Path, number: signal.Signals) -> None:
    if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("these tests were started with nohup")
    workdir = tmp_path / "run"
    command = [sys.executable, str(ROOT / "main.py"), *train_arguments(image_folder, workdir, "--config.checkpoint.every=100000")]
    command += ["--config.train.steps=100000", "--config.sample.every=100000"]
    process = subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (workdir / "metrics.jsonl").exists() or len(_metrics(workdir)) < 8:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert FAULTS["signal"].is_shown_in(out)
    assert f"stopped by {number.name}; " in out
    stopped = len(_metrics(workdir))
    assert manifest_of(workdir)["step"] == stopped
    assert manifest_of(workdir)["status"] == "stopped"
    total = f"--config.train.steps={stopped + 3}"
    assert main.main(train_arguments(image_folder, workdir, total)) == 0
    assert main.main(train_arguments(image_folder, tmp_path / "whole", total)) == 0
    assert manifest_of(workdir)["digest"] == manifest_of(tmp_path / "whole")["digest"]
