"""A run whose output nobody can read any more trains to its end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, manifest_of, train_arguments
from faults import FAULTS

pytestmark = pytest.mark.slow


@pytest.mark.skipif(os.name != "posix", reason="the shell's redirections")
@pytest.mark.parametrize("where", ["| head -1", ">&-", ">&- 2>&-", "> /dev/full"])
def test_lost_output_never_ends_training(where: str, image_folder: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    command = [sys.executable, str(ROOT / "main.py"), *train_arguments(image_folder, workdir, "--config.train.steps=8")]
    shell = ["bash", "-o", "pipefail", "-c", f'"$@" {where}', "bash"]
    done = subprocess.run([*shell, *command, "--config.log.every=1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert FAULTS["output"].is_shown_in(done.stderr)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert manifest_of(workdir)["status"] == "complete"
    assert manifest_of(workdir)["step"] == 8
