"""Two real processes train one run together: what each prints, and how they end."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ROOT, TINY, environments_of, manifest_of, metrics_of
from faults import FAULTS

import main
from sharingan_jax.devices.processes import started_together

pytestmark = pytest.mark.slow

SETTINGS = [
    "--config", str(ROOT / "configs" / "smoke.py"), *TINY, "--config.data.last_batch=drop", "--config.train.devices=0",
    "--config.train.steps_per_dispatch=2", "--config.checkpoint.every=4", "--config.sample.every=4", "--config.model.classes=20",
]  # fmt: skip


def _start_two(workdir: Path, *more: str, others: tuple[str, ...] = ()) -> list[subprocess.Popen[str]]:
    """Start two processes of four virtual devices each. `others` are arguments of the second process only."""
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    together = [*SETTINGS, "--workdir", str(workdir), "--coordinator", coordinator, "--processes", "2", *more]
    return [
        subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *together, "--process", str(index), *(others if index else ())],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for index in (0, 1)
    ]  # fmt: skip


def _wait_for_steps(workdir: Path, processes: list[subprocess.Popen[str]], *, steps: int) -> None:
    deadline = time.monotonic() + 120
    while len(metrics_of(workdir)) < steps:
        assert all(process.poll() is None for process in processes), [process.communicate() for process in processes]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_processes_stop_together_and_one_process_resumes_the_run(tmp_path: Path) -> None:
    """Eight devices in two processes, then one device in one, then eight devices in one: one run, with each step once."""
    workdir, whole = tmp_path / "run", tmp_path / "whole"
    processes = _start_two(workdir, "--config.train.steps=100000")
    _wait_for_steps(workdir, processes, steps=6)
    processes[1].send_signal(signal.SIGTERM)  # The signal goes to the process that writes nothing.
    ends = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [143, 143], ends
    stopped = manifest_of(workdir)
    step = stopped["step"]
    assert stopped["status"] == "stopped"
    assert environments_of(workdir)[-1]["device"]["count"] == 8
    assert environments_of(workdir)[-1]["device"]["processes"] == 2
    assert [record["step"] for record in metrics_of(workdir)] == list(range(1, step + 1))
    assert FAULTS["process-signal"].is_shown_in(ends[0][0])
    assert "Loss_D" not in ends[1][0]
    assert "stopped by" not in ends[1][0]

    arguments = [*SETTINGS, "--workdir", str(workdir)]
    assert main.main([*arguments, f"--config.train.steps={step + 1}", "--config.train.devices=1"]) == 0
    assert main.main([*arguments, f"--config.train.steps={step + 2}"]) == 0
    assert [record["step"] for record in metrics_of(workdir)] == list(range(1, step + 3))
    assert [environment["device"]["count"] for environment in environments_of(workdir)] == [8, 1, 8]
    assert [start["after_step"] for start in manifest_of(workdir)["starts"]] == [0, step, step + 1]

    assert main.main([*SETTINGS, "--workdir", str(whole), "--config.train.steps=6"]) == 0
    for two, one in zip(metrics_of(workdir)[:6], metrics_of(whole), strict=True):
        # Each process feeds its part of the same batches and latents. The results differ by rounding, which grows.
        np.testing.assert_allclose(two["loss_d"], one["loss_d"], rtol=1e-3)
        np.testing.assert_allclose(two["d_real"], one["d_real"], rtol=1e-3)


def test_if_one_of_two_processes_dies_the_other_exits_and_the_run_can_resume(tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    processes = _start_two(workdir, "--config.train.steps=100000")
    _wait_for_steps(workdir, processes, steps=10)  # So the checkpoint of step 4 or 8 is whole.
    processes[0].kill()
    ends = [process.communicate(timeout=90) for process in processes]
    assert processes[0].returncode == -signal.SIGKILL
    assert processes[1].returncode == 2, ends
    assert ends[1][0] == ""
    assert ends[1][1].startswith("error: ")
    assert ends[1][1].count("\n") == 1
    assert FAULTS["process-lost"].is_shown_in(ends[1][1])
    assert "Gloo" not in ends[0][0]
    more = f"--config.train.steps={len(metrics_of(workdir)) + 2}"
    assert main.main([*SETTINGS, "--workdir", str(workdir), more]) == 0
    assert manifest_of(workdir)["status"] == "complete"
    assert [environment["device"]["processes"] for environment in environments_of(workdir)] == [2, 1]


def test_processes_with_different_settings_are_refused(tmp_path: Path) -> None:
    processes = _start_two(tmp_path / "run", others=("--config.seed=1", "--config.train.steps=5"))
    ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [2, 2], ends
    assert "error: process 1 differs from process 0 (process 0 | here): seed: 0 | 1; train.steps: 12 | 5\n" in ends[1][1]
    assert "error: process 1 has other settings, images or versions than the first; it has listed them\n" in ends[0][1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--processes", "2"], "--coordinator, --process: missing. Give each process --coordinator, --processes and --process."),
        (["--coordinator", "here", "--processes", "2", "--process", "0"], "--coordinator=here: expected HOST:PORT of process 0"),
        (
            ["--coordinator", "h:1", "--processes", "2", "--process", "2"],
            "--process=2 with --processes=2: expected a number from 0 to 1",
        ),
    ],
)
def test_incomplete_process_flags_are_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main([*SETTINGS, "--workdir", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_devices_of_several_processes_without_flags_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert main.main([*SETTINGS, "--workdir", str(tmp_path / "run")]) == 2
    assert "the devices here belong to 2 processes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_devices_are_those_that_jax_finds_first() -> None:
    """A TPU or a GPU is used without a setting: nothing in the package chooses a platform. It may read what the user chose."""
    chooses = re.compile(r"jax_platforms?\b|devices\([\"']|backend=|default_device\b", re.IGNORECASE)
    reads = re.compile(r"environ\.get\(.JAX_PLATFORMS., ..\)|JAX_PLATFORMS=\{|`JAX_PLATFORMS`|PLATFORM_VARIABLES = .*")
    sources = [*(ROOT / "sharingan_jax").rglob("*.py"), ROOT / "main.py", *(ROOT / "configs").glob("*.py")]
    assert not [(path.name, found.group()) for path in sources for found in chooses.finditer(reads.sub("", path.read_text()))]


@pytest.mark.parametrize(
    ("variables", "several"),
    [
        ({}, False),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),  # A hosted notebook's TPU: one host.
        ({"TPU_WORKER_HOSTNAMES": "w0,w1"}, True),
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
    ],
)
def test_a_launchers_variables_show_whether_there_are_several_processes(
    variables: dict[str, str], several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert started_together() == several
