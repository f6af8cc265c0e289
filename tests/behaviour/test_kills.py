"""kill -9 at random moments of a run: every file is whole afterwards, and the final bits are those of an uninterrupted run.

`python -m pytest -m slow tests/behaviour/test_kills.py --kills 30` kills thirty times in place of the default three.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, TINY, manifest_of, metrics_of
from faults import FAULTS
from PIL import Image

import main
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.load import load_run
from sharingan_jax.run.metrics import read_metrics

pytestmark = pytest.mark.slow

STEPS = 40
SETTINGS = [
    "--config", str(ROOT / "configs" / "smoke.py"), *TINY, "--config.train.batch_size=25", f"--config.train.steps={STEPS}",
    "--config.sample.every=2", "--config.checkpoint.every=2", "--config.train.steps_per_dispatch=2",
]  # fmt: skip


def _check_whole(workdir: Path) -> None:
    """Check that every file that a reader would open can be read to its end."""
    for path in workdir.glob("*.json"):
        assert json.loads(path.read_text()), path
    for path in [*workdir.glob("*.png"), *workdir.glob("samples/*.png"), *workdir.glob("*.gif")]:
        if path.name.startswith("."):
            continue  # The kill interrupted its writing. No reader opens it.
        with Image.open(path) as image:
            for frame in range(getattr(image, "n_frames", 1)):
                image.seek(frame)
                image.load()
    steps = [record["step"] for record in read_metrics(RunFolder(workdir))]
    assert steps == list(range(1, len(steps) + 1))
    saved = sorted(int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit())
    if saved:
        assert int(load_run(workdir).state(saved[-1]).step) == saved[-1]  # This checks its digest.
        assert len(steps) >= saved[-1]


def test_a_run_killed_repeatedly_is_bitwise_identical_to_an_uninterrupted_one(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    whole, victim = tmp_path / "whole", tmp_path / "victim"
    assert main.main([*SETTINGS, "--workdir", str(whole)]) == 0
    command = [sys.executable, str(ROOT / "main.py"), *SETTINGS, "--workdir", str(victim)]
    # Its own cache, because a kill may leave half an entry, and JAX warns about it.
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    moments, reached = random.Random(5), []
    for number in range(pytestconfig.getoption("--kills")):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
        # Half of the kills come at any moment, mostly during imports and compiling. The others come during steps and writing.
        if number % 2 == 0:
            _wait_for_a_step(process, victim)
            time.sleep(moments.uniform(0, 0.3))
        else:
            time.sleep(moments.uniform(0, 8))
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (-signal.SIGKILL, 0), errors.decode()
        _check_whole(victim)
        reached.append(len(metrics_of(victim)))
    assert any(0 < step < STEPS for step in reached), reached
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    # If all kills came before the first checkpoint, there is nothing to resume, and the run starts at the first step.
    assert FAULTS["kill"].is_shown_in(done.stdout) or f"step 4/{STEPS}" in done.stdout
    digests = [manifest_of(folder)["digest"] for folder in (whole, victim)]
    assert digests[0] == digests[1]
    assert metrics_of(victim) == metrics_of(whole)
    assert sorted(path.name for path in (victim / "samples").glob("step_*.png")) == [
        f"step_{step:06d}.png" for step in range(2, STEPS + 1, 2)
    ]


def _wait_for_a_step(process: subprocess.Popen[bytes], workdir: Path) -> None:
    """Wait until the process has trained a step that no earlier start had, or has ended."""
    before = len(metrics_of(workdir))
    while process.poll() is None and len(metrics_of(workdir)) <= before:
        time.sleep(0.02)
