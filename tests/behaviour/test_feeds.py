"""A run may change its feed, and where its images are, when it continues; and it trains on a machine without TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, manifest_of, metrics_of, train_arguments

import main
from sharingan_jax.data import storage
from sharingan_jax.data.pipeline import import_tensorflow
from sharingan_jax.errors import UserError

WITHOUT = "import sys; sys.modules['tensorflow'] = None; import main; sys.exit(main.main(sys.argv[1:]))"
"""A program in which importing TensorFlow fails."""


@pytest.mark.slow
def test_a_run_continues_with_the_other_feed_and_has_the_same_bits(
    image_folder: Path, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MEGABYTE", 1)  # With data.memory_mb=1, all images are in a file.
    workdir = tmp_path / "run"
    for steps, feed, budget in ((4, "tfdata", 2**20), (8, "device", 2**20), (12, "tfdata", 1)):
        places = (f"--config.data.memory_mb={budget}", f"--config.data.cache={tmp_path / 'cache'}")
        more = (f"--config.train.steps={steps}", f"--config.data.feed={feed}", *places)
        assert main.main(train_arguments(image_folder, workdir, *more)) == 0
    assert (tmp_path / "cache").is_dir()
    assert metrics_of(workdir) == metrics_of(whole_run)
    assert manifest_of(workdir)["digest"] == manifest_of(whole_run)["digest"]


def test_a_run_needs_no_tensorflow(image_folder: Path, whole_run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, *train_arguments(image_folder, tmp_path / "run", "--config.train.steps=4")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert manifest_of(tmp_path / "run")["status"] == "complete"
    assert metrics_of(tmp_path / "run") == metrics_of(whole_run)[:4]


def test_a_missing_tensorflow_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(
        UserError, match=r"^data\.feed=tfdata: expected the package tensorflow, got none .* pip install tensorflow"
    ):
        import_tensorflow()
    with pytest.raises(UserError, match=r"^data\.source=tfds: .* or give a folder\.$"):
        import_tensorflow(needed_by="data.source=tfds", instead="give a folder")
