"""A run is repeated from its manifest or resumed on its own devices and images, whatever the shell's variables are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, environments_of, manifest_of, train_arguments
from PIL import Image

import main
from sharingan_jax.devices.environment import PINNED, describe_environment
from sharingan_jax.run.manifest import FORMAT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def on_two(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of twelve steps on two of the eight devices, in batches that eight divides too. Read-only."""
    workdir = tmp_path_factory.mktemp("runs") / "on-two"
    assert main.main(_arguments(image_folder, workdir, "--config.train.devices=2")) == 0
    return workdir


def _arguments(image_folder: Path, workdir: Path, *more: str) -> list[str]:
    """Return arguments without a number of devices, so that all are used (train.devices=0)."""
    arguments = [word for word in train_arguments(image_folder, workdir) if "train.devices" not in word]
    return [*arguments, "--config.data.last_batch=drop", *more]


def test_a_manifest_repeats_a_run_on_its_devices(on_two: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "again"
    assert main.main(["--config", str(on_two / "manifest.json"), "--workdir", str(workdir)]) == 0
    assert environments_of(workdir)[-1]["device"]["count"] == 2
    assert manifest_of(workdir)["digest"] == manifest_of(on_two)["digest"]


def test_resuming_uses_the_initial_devices_and_reports_others(
    on_two: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    assert main.main(_arguments(image_folder, workdir, "--config.train.devices=2", "--config.train.steps=8")) == 0
    capsys.readouterr()
    assert main.main(_arguments(image_folder, workdir, "--config.train.steps=12")) == 0
    assert "rounds differently" not in capsys.readouterr().out
    assert manifest_of(workdir)["digest"] == manifest_of(on_two)["digest"]
    assert main.main(_arguments(image_folder, workdir, "--config.train.steps=13", "--config.train.devices=1")) == 0
    assert "after step 12; it started on 2 devices and continues on 1, which rounds differently\n" in capsys.readouterr().out


def test_verify_uses_other_devices_if_asked(on_two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["verify", "--workdir", str(on_two)]) == 0
    assert main.main(["verify", "--workdir", str(on_two), "--config.train.devices=1"]) == 1
    assert "device.count: 2 | 1" in capsys.readouterr().out


def test_a_manifest_with_other_images_is_refused_unless_their_folder_is_given(
    tmp_path: Path, mixed_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    assert main.main(train_arguments(mixed_folder, workdir, "--config.train.steps=2")) == 0
    Image.new("RGB", (40, 40), "red").save(mixed_folder / "07.png")
    command = ["--config", str(workdir / "manifest.json"), "--workdir", str(tmp_path / "again")]
    assert main.main(command) == 2
    error = capsys.readouterr().err
    assert "the manifest's run had other images (first: then, second: now): 07.png: other contents" in error
    assert "--config.data.path=DIR" in error
    assert not (tmp_path / "again").exists()
    assert main.main([*command, f"--config.data.path={mixed_folder}"]) == 0


def test_settings_changed_since_the_run_are_named_and_not_verified(
    on_two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.json", "manifest.json"):
        settings = json.loads((on_two / name).read_text())
        (settings if name == "config.json" else settings["config"])["loss"]["beta"] = 0.5
        for other in ("config.json", "manifest.json"):
            (tmp_path / other).write_text((on_two / other).read_text())
        (tmp_path / name).write_text(json.dumps(settings))
        assert main.main(["verify", "--workdir", str(tmp_path)]) == 2
        assert "config.json does not have the settings of manifest.json: loss.beta was " in capsys.readouterr().err
    (tmp_path / "manifest.json").write_text("{}")
    assert main.main(["verify", "--workdir", str(tmp_path)]) == 2
    assert f"manifest.json: format=None: expected {FORMAT}" in capsys.readouterr().err


def test_the_shell_does_not_change_what_a_seed_means() -> None:
    program = (
        "import main\n"
        "try: main.main(['--help'])\n"
        "except SystemExit: pass\n"
        "import jax\n"
        "print(jax.config.jax_enable_x64, jax.config.jax_threefry_partitionable, jax.config.jax_random_seed_offset)"
    )
    variables = {"JAX_ENABLE_X64": "1", "JAX_THREEFRY_PARTITIONABLE": "0", "JAX_RANDOM_SEED_OFFSET": "5"}
    assert variables.keys() == PINNED.keys()
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    assert done.stdout.splitlines()[-1] == "False True 0"


def test_other_jax_variables_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PLATFORMS", "JAX_PROCESS_ID"):
        monkeypatch.setenv(name, "1")
    assert describe_environment()["jax_variables"] == ""
    monkeypatch.setenv("JAX_NUMPY_DTYPE_PROMOTION", "strict")
    monkeypatch.setenv("JAX_DISABLE_JIT", "1")
    assert describe_environment()["jax_variables"] == "JAX_DISABLE_JIT=1 JAX_NUMPY_DTYPE_PROMOTION=strict"
