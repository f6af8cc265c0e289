"""Faults from outside: disks, folders, clocks, hostile files, and thousands of steps. The table is in faults.py."""

import gc
import json
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import ROOT, contents_of, manifest_of, metrics_of, train_arguments
from faults import FAULTS

import main
from sharingan_jax.config.load import load_config
from sharingan_jax.devices.trainer import Trainer
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.load import load_run
from sharingan_jax.run.metrics import MetricsFile, read_metrics
from sharingan_jax.training import recorder
from sharingan_jax.training.seeds import train_seeds

pytestmark = pytest.mark.slow

STEPS = 12


def _check_readable(workdir: Path) -> None:
    """Check each record, the last checkpoint (by its digest), and that every step up to it has a record."""
    saved = int(load_run(workdir).state().step)
    steps = [record["step"] for record in read_metrics(RunFolder(workdir))]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= saved


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    try:
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a tmpfs is not allowed here")
    except FileNotFoundError:
        pytest.skip("there is no `mount` command here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_loses_nothing_already_written(
    image_folder: Path, whole_run: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir, ballast = small_disk / "run", small_disk / "ballast"
    assert main.main(train_arguments(image_folder, workdir, "--config.train.steps=4")) == 0
    met = set()
    for left in (0, 24, 120, 500, 1200):  # KB
        ballast.write_bytes(b"")
        free = shutil.disk_usage(small_disk).free
        ballast.write_bytes(bytes(max(0, free - left * 1024)))
        capsys.readouterr()
        assert main.main(train_arguments(image_folder, workdir)) == 2, left
        error = capsys.readouterr().err
        assert FAULTS["disk-full"].is_shown_in(error), error
        assert error.count("\n") == 1
        met.add(error.partition(";")[0].partition("/run/")[2].partition("'")[0].partition(":")[0])
        _check_readable(workdir)
    assert len(met) >= 3, met  # It was full while different files were written.
    assert "checkpoints" in met
    ballast.unlink()
    assert main.main(train_arguments(image_folder, workdir)) == 0
    assert manifest_of(workdir)["digest"] == manifest_of(whole_run)["digest"]


def test_a_read_only_folder_is_reported_and_can_still_be_read(
    image_folder: Path, small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = small_disk / "run"
    assert main.main(train_arguments(image_folder, workdir, "--config.train.steps=4")) == 0
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    before = contents_of(workdir)
    for folder in (workdir, small_disk / "new"):
        assert main.main(train_arguments(image_folder, folder)) == 2
        error = capsys.readouterr().err
        assert FAULTS["read-only"].is_shown_in(error), error
        assert error.count("\n") == 1
    assert main.main(["sample", "--workdir", str(workdir), "--out", str(tmp_path / "grid.png")]) == 0
    assert main.main(["verify", "--workdir", str(workdir)]) == 0
    assert contents_of(workdir) == before


def test_descriptions_that_are_removed_while_a_run_trains_are_written_again(
    image_folder: Path, whole_run: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole_run, workdir)

    def remove(step: int) -> None:
        for name in ("config.json", "data.json"):
            (workdir / name).unlink(missing_ok=True)

    config = load_config(workdir, {"train.steps": 16})
    train_seeds(config, workdir, watch=remove)
    for name in ("config.json", "data.json"):
        assert (workdir / name).is_file()
    assert manifest_of(workdir)["status"] == "complete"


def test_a_moved_folder_is_not_created_again(
    image_folder: Path, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir, away = tmp_path / "run", tmp_path / "away"
    append = MetricsFile.append

    def append_and_move(metrics: MetricsFile, records: list[dict[str, Any]]) -> bool:
        lost = append(metrics, records)
        if records and records[-1]["step"] == 8 and not away.exists():
            workdir.rename(away)
        return lost

    assert main.main(train_arguments(image_folder, workdir, "--config.train.steps=4")) == 0
    monkeypatch.setattr(MetricsFile, "append", append_and_move)
    more = ["--config.sample.every=100", "--config.checkpoint.every=100", "--config.train.steps_per_dispatch=2"]
    assert main.main(train_arguments(image_folder, workdir, *more)) == 2
    error = capsys.readouterr().err
    assert FAULTS["deleted"].is_shown_in(error), error
    assert error.count("\n") == 1
    assert not workdir.exists()
    _check_readable(away)
    away.rename(workdir)
    monkeypatch.undo()
    assert main.main(train_arguments(image_folder, workdir)) == 0
    assert manifest_of(workdir)["digest"] == manifest_of(whole_run)["digest"]


@pytest.mark.parametrize("step", [4, STEPS])
def test_deleted_metrics_are_written_again(
    step: int,
    image_folder: Path,
    whole_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    workdir = tmp_path / "p [1]" / "run"
    append = MetricsFile.append

    def append_and_delete(metrics: MetricsFile, records: list[dict[str, Any]]) -> bool:
        lost = append(metrics, records)
        if records and records[-1]["step"] == step:
            (workdir / "metrics.jsonl").unlink()
        return lost

    monkeypatch.setattr(MetricsFile, "append", append_and_delete)
    assert str(main.main(train_arguments(image_folder, workdir))) == FAULTS["lost-records"].code
    out = capsys.readouterr().out
    assert FAULTS["lost-records"].is_shown_in(out)
    assert metrics_of(workdir) == metrics_of(whole_run)
    assert main.main(["verify", "--workdir", str(workdir)]) == 0
    (suggested,) = re.findall(r"^sample    .* (sample --workdir .*) --out grid\.png$", out, re.MULTILINE)
    assert main.main([*shlex.split(suggested), "--out", str(tmp_path / "grid.png")]) == 0


def test_a_checkpoint_of_other_shapes_is_refused_and_left_unchanged(
    image_folder: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole_run, workdir)
    settings = json.loads((workdir / "config.json").read_text())
    settings["model"]["gen"]["width"] *= 2
    (workdir / "config.json").write_text(json.dumps(settings))
    before = contents_of(workdir)
    assert main.main(train_arguments(image_folder, workdir, f"--config.model.gen.width={settings['model']['gen']['width']}")) == 2
    error = capsys.readouterr().err
    assert FAULTS["shapes"].is_shown_in(error), error
    assert main.main(["sample", "--workdir", str(workdir), "--out", str(tmp_path / "grid.png")]) == 2
    error = capsys.readouterr().err
    assert "the checkpoint of step 12 does not fit this configuration, or is damaged: gen.params." in error
    assert error.count("\n") == 1
    assert contents_of(workdir) == before


def test_a_clock_that_goes_backwards_changes_nothing(
    image_folder: Path, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = tmp_path / "run"
    now = 2e9

    def an_hour_back() -> float:
        nonlocal now
        now -= 3600
        return now

    monkeypatch.setattr(time, "time", an_hour_back)
    monkeypatch.setattr(time, "time_ns", lambda: int(an_hour_back() * 1e9))
    for steps in (8, STEPS):
        assert str(main.main(train_arguments(image_folder, workdir, f"--config.train.steps={steps}"))) == FAULTS["clock"].code
        for age, path in enumerate(sorted((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name))):
            os.utime(path, (1e9 - 3600 * age,) * 2)  # The newest checkpoint gets the oldest time.
    monkeypatch.undo()
    assert manifest_of(workdir)["digest"] == manifest_of(whole_run)["digest"]
    assert int(load_run(workdir).state().step) == STEPS
    times = [record["time"] for record in read_metrics(RunFolder(workdir))]
    assert all(list(part) == sorted(part) for part in (times[:8], times[8:]))
    assert times[0] > 0


class _Trap:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._folder),)


@pytest.mark.parametrize(
    "place", ["checkpoint", "manifest.json", "config.json", "metrics.jsonl", "--config", "--latents", "weights.pth"]
)
def test_reading_a_file_runs_no_code(
    place: str, image_folder: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trap, workdir = tmp_path / "sprung", tmp_path / "run"
    shutil.copytree(whole_run, workdir)
    content = pickle.dumps(_Trap(trap))
    pickle.loads(content)  # The trap works here,
    trap.rmdir()
    arguments = train_arguments(image_folder, workdir, "--config.train.steps=16")
    if place == "checkpoint":
        for path in (workdir / "checkpoints").rglob("*"):
            if path.is_file():
                path.write_bytes(content)
    elif place.startswith("--") or place.endswith(".pth"):
        file = tmp_path / {"--config": "evil.json", "--latents": "evil.npy"}.get(place, place)
        file.write_bytes(content)
        arguments = {
            "--config": ["--config", str(file), "--workdir", str(tmp_path / "new")],
            "--latents": ["sample", "--workdir", str(workdir), "--latents", str(file), "--out", str(tmp_path / "a.npy")],
        }.get(place, ["import", "--from", str(file), *train_arguments(image_folder, tmp_path / "new")])
    else:
        (workdir / place).write_bytes(content)
    assert main.main(arguments) == 2
    error = capsys.readouterr().err
    assert FAULTS["pickle"].is_shown_in(error)
    assert error.count("\n") == 1
    assert not trap.exists()  # and is not sprung by the command.


def test_an_archive_writes_nothing_outside_itself(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    with zipfile.ZipFile("weights.pth", "w") as archive:
        for name in ("../../out", str(tmp_path / "out"), "weights/data.pkl", "weights/../../../out"):
            archive.writestr(name, b"x")
    before = sorted(tmp_path.rglob("*"))
    assert main.main(["import", "--from", "weights.pth", *train_arguments(image_folder, inside / "new")]) == 2
    error = capsys.readouterr().err
    assert FAULTS["archive"].is_shown_in(error)
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_second_ctrl_c_exits_at_once_and_keeps_the_checkpoints(image_folder: Path, whole_run: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole_run, workdir)
    # A chunk of three steps is in no test's cache, so compiling it takes seconds.
    command = train_arguments(image_folder, workdir, "--config.train.steps=1000", "--config.train.steps_per_dispatch=3")
    process = subprocess.Popen([sys.executable, str(ROOT / "main.py"), *command], stdout=subprocess.DEVNULL)
    try:
        while manifest_of(workdir)["status"] != "running":
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert str(process.wait(timeout=5)) == FAULTS["second-signal"].code
    finally:
        process.kill()
        process.wait()
    _check_readable(workdir)
    assert manifest_of(workdir)["status"] == "running"


def _resources() -> tuple[int, int, int]:
    """Return how many threads and children this process has, its open files, and its memory in bytes."""
    gc.collect()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return threading.active_count() + len(children), len(os.listdir("/proc/self/fd")), resident


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_long_run_leaks_nothing(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps, grids and checkpoints leak no threads, open files or memory, and a finished start releases what it used."""
    workdir = tmp_path / "run"
    more = ["--config.train.steps_per_dispatch=20", "--config.train.batch_size=10", "--config.log.every=1000"]
    more += ["--config.sample.every=60", "--config.checkpoint.every=60"]
    save, measured = recorder.save_sample, []

    def save_and_measure(*arguments: Any) -> np.ndarray:
        measured.append(_resources())
        return save(*arguments)

    monkeypatch.setattr(recorder, "save_sample", save_and_measure)
    assert main.main(train_arguments(image_folder, workdir, *more, "--config.train.steps=60")) == 0
    before = _resources()
    assert str(main.main(train_arguments(image_folder, workdir, *more, "--config.train.steps=1200"))) == FAULTS["soak"].code
    after = _resources()
    assert len(measured) == 20
    early, late = measured[3:8], measured[-5:]
    for kind in (0, 1):
        assert after[kind] <= before[kind]
        assert max(used[kind] for used in late) <= max(used[kind] for used in early)
    grown = np.median([used[2] for used in late]) - np.median([used[2] for used in early])
    assert grown < 720 * 10_000  # Bytes over the 720 steps in between. A batch has 30 KB, the state 130 KB.
    assert sorted(int(path.name) for path in (workdir / "checkpoints").iterdir()) == [1080, 1140, 1200]
    assert len(list((workdir / "samples").iterdir())) == 20
    assert not [path for path in workdir.rglob(".*") if path.name != ".lock"]


def test_a_step_that_does_not_fit_into_memory_ends_in_one_line(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_steps(*_: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes")

    monkeypatch.setattr(Trainer, "run_steps", run_steps)
    assert main.main(train_arguments(image_folder, tmp_path / "run", "--config.train.steps=4")) == 2
    assert FAULTS["memory"].is_shown_in(capsys.readouterr().err)
    assert manifest_of(tmp_path / "run")["status"] == "failed"
