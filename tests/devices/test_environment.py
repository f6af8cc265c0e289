"""The environment that decides rounding: threads and flags are pinned before JAX starts, and the commit is recorded."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from conftest import ROOT, smoke_config

from sharingan_jax.devices import environment
from sharingan_jax.errors import UserError
from sharingan_jax.run.load import load_run


def test_threads_are_the_setting_or_the_recorded_number_or_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NPROC", raising=False)
    cores = environment.host_threads()
    assert cores == len(os.sched_getaffinity(0))
    assert environment.pin_environment(smoke_config(), recorded=0).train.host_threads == cores
    assert os.environ["NPROC"] == str(cores)
    asked = smoke_config(train__host_threads=str(cores))
    assert environment.pin_environment(asked, recorded=cores + 1).train.host_threads == cores


def test_another_number_after_jax_has_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPROC", "3")
    jax.devices()
    with pytest.raises(UserError, match=r"train\.host_threads=5, but JAX has started in this process with 3"):
        environment.pin_environment(smoke_config(), recorded=5)


def test_a_gpu_flag_that_comes_too_late_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "has_gpu_plugin", lambda: True)
    jax.devices()
    with pytest.raises(UserError, match=r"JAX has started in this process without --xla_gpu_deterministic_ops=true"):
        environment.pin_environment(smoke_config(), recorded=0)


def test_a_jax_with_other_settings_is_refused_by_name() -> None:
    with jax.enable_x64(True), pytest.raises(UserError, match=r"jax_enable_x64=true: expected false, as in every run"):
        environment.pin_jax()
    with jax.enable_x64(True), pytest.raises(UserError, match=r"jax_enable_x64=true: expected false, as in every run"):
        load_run("nowhere")
    environment.pin_jax()


@pytest.mark.parametrize(
    ("plugins", "asked", "before", "after"),
    [
        (["xla_cuda13"], "True", "", "--xla_gpu_deterministic_ops=true"),
        (["xla_cuda13"], "True", "--xla_a=1", "--xla_a=1 --xla_gpu_deterministic_ops=true"),
        (["xla_cuda13"], "True", "--xla_gpu_deterministic_ops=false", "--xla_gpu_deterministic_ops=false"),
        (["xla_cuda13"], "False", "", ""),
        ([], "True", "", ""),
    ],
)
def test_gpus_are_made_deterministic_if_a_gpu_plugin_is_installed(
    plugins: list[str], asked: str, before: str, after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in plugins:
        (tmp_path / "jax_plugins" / name).mkdir(parents=True)
        (tmp_path / "jax_plugins" / name / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "jax_plugins", raising=False)
    monkeypatch.setattr(environment, "_jax_has_started", lambda: False)
    monkeypatch.setenv("XLA_FLAGS", before)
    monkeypatch.setenv("NPROC", "2")
    config = smoke_config(train__deterministic=asked, train__host_threads="2")
    environment.pin_environment(config, recorded=0)
    assert os.environ["XLA_FLAGS"] == after


@pytest.mark.skipif(shutil.which("taskset") is None or environment.host_threads() == 1, reason="needs taskset and two cores")
@pytest.mark.slow
def test_a_run_has_the_same_bits_on_fewer_cores(tmp_path: Path) -> None:
    """The number of threads changes the bits, so a run sets and records it. Then a machine with other cores can repeat it."""
    # With the tests' eight virtual devices the pool always has eight threads.
    inside = ("XLA_FLAGS", "NPROC", "JAX_COMPILATION_CACHE_DIR")
    outside = {name: value for name, value in os.environ.items() if name not in inside}

    def digest_of(name: str, *before: str, threads: int) -> str:
        settings = {
            "train.steps": 1,
            "model.gen.width": 16,
            "model.disc.width": 16,
            "model.conv_impl": "direct",
            "train.host_threads": threads,
        }
        sizes = [f"--config.{key}={value}" for key, value in settings.items()]
        command = [*before, sys.executable, str(ROOT / "main.py"), "--config", str(ROOT / "configs" / "smoke.py"), *sizes]
        workdir = ["--workdir", str(tmp_path / name), "--config.log.tensorboard=False"]
        done = subprocess.run([*command, *workdir], capture_output=True, text=True, check=True, cwd=ROOT, env=outside)
        return done.stdout.split("digest ")[1].split()[0]

    two = digest_of("two", threads=2)
    assert digest_of("pinned", "taskset", "--cpu-list", "0", threads=2) == two
    assert digest_of("one", threads=1) != two


def test_a_checkout_knows_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    assert environment._git_state(tmp_path) is None
    git("init")
    (tmp_path / "a.txt").write_text("a")
    git("add", "-A")
    git("commit", "-m", "first")
    clean = environment._git_state(tmp_path)
    assert clean is not None
    assert len(clean["commit"]) == 40
    assert not clean["dirty"]
    (tmp_path / "a.txt").write_text("b")
    assert environment._git_state(tmp_path) == {**clean, "dirty": True}
    (tmp_path / "inside").mkdir()
    assert environment._git_state(tmp_path / "inside") is None
