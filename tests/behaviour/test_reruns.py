"""A run is made again from its manifest, or gone on with, as it was: on its devices and pictures, whatever the shell says."""

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


@pytest.fixture(scope="module")
def on_two(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of twelve steps on two of the eight devices, in batches that eight would divide too. Only to be read."""
    workdir = tmp_path_factory.mktemp("runs") / "on-two"
    assert main.main(_arguments(pictures, workdir, "--config.train.devices=2")) == 0
    return workdir


def _arguments(pictures: Path, workdir: Path, *more: str) -> list[str]:
    """Without a word about devices: the smoke configuration's 0 takes what there is."""
    arguments = [word for word in train_arguments(pictures, workdir) if "train.devices" not in word]
    return [*arguments, "--config.data.last_batch=drop", *more]


def test_the_manifest_brings_the_devices_along(on_two: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "again"
    assert main.main(["--config", str(on_two / "manifest.json"), "--workdir", str(workdir)]) == 0
    assert environments_of(workdir)[-1]["device"]["count"] == 2
    assert manifest_of(workdir)["digest"] == manifest_of(on_two)["digest"]


def test_going_on_takes_the_devices_it_began_on_and_others_are_said(
    on_two: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    assert main.main(_arguments(pictures, workdir, "--config.train.devices=2", "--config.train.steps=8")) == 0
    capsys.readouterr()
    assert main.main(_arguments(pictures, workdir, "--config.train.steps=12")) == 0
    assert "rounds differently" not in capsys.readouterr().out
    assert manifest_of(workdir)["digest"] == manifest_of(on_two)["digest"]
    assert main.main(_arguments(pictures, workdir, "--config.train.steps=13", "--config.train.devices=1")) == 0
    assert "after step 12; it started on 2 devices and continues on 1, which rounds differently\n" in capsys.readouterr().out


def test_verify_takes_other_devices_where_it_is_told_to(on_two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["verify", "--workdir", str(on_two)]) == 0
    assert main.main(["verify", "--workdir", str(on_two), "--config.train.devices=1"]) == 1
    assert "device.count: 2 | 1" in capsys.readouterr().out


def test_a_manifest_on_other_pictures_is_refused_unless_others_are_asked_for(
    tmp_path: Path, picture_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    assert main.main(train_arguments(picture_folder, workdir, "--config.train.steps=2")) == 0
    Image.new("RGB", (40, 40), "red").save(picture_folder / "07.png")
    command = ["--config", str(workdir / "manifest.json"), "--workdir", str(tmp_path / "again")]
    assert main.main(command) == 2
    error = capsys.readouterr().err
    assert "the manifest's run had other images (first: then, second: now): 07.png: other contents" in error
    assert "--config.data.path=DIR" in error
    assert not (tmp_path / "again").exists()
    assert main.main([*command, f"--config.data.path={picture_folder}"]) == 0


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
    assert "manifest.json: format=None: expected 1" in capsys.readouterr().err


def test_the_shell_does_not_change_what_a_seed_means() -> None:
    program = (
        "import main\n"
        "try: main.main(['--help'])\n"
        "except SystemExit: pass\n"
        "import jax\n"
        "print(jax.config.jax_enable_x64, jax.config.jax_threefry_partitionable, jax.config.jax_random_seed_offset)"
    )
    told = {"JAX_ENABLE_X64": "1", "JAX_THREEFRY_PARTITIONABLE": "0", "JAX_RANDOM_SEED_OFFSET": "5"}
    assert told.keys() == PINNED.keys()
    environment = {**os.environ, **told}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    assert done.stdout.splitlines()[-1] == "False True 0"


def test_what_else_jax_is_told_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PLATFORMS", "JAX_PROCESS_ID"):
        monkeypatch.setenv(name, "1")
    assert describe_environment()["jax_variables"] == ""
    monkeypatch.setenv("JAX_NUMPY_DTYPE_PROMOTION", "strict")
    monkeypatch.setenv("JAX_DISABLE_JIT", "1")
    assert describe_environment()["jax_variables"] == "JAX_DISABLE_JIT=1 JAX_NUMPY_DTYPE_PROMOTION=strict"
