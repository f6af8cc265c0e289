"""Starts in odd places end in one line, or work as they do elsewhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from conftest import ROOT, TINY, smoke_config, train_arguments
from faults import FAULTS

import main
from sharingan_jax import __main__ as command_line
from sharingan_jax.config.load import load_config, with_absolute_paths
from sharingan_jax.devices.environment import PINNED, SUPPORTED, pin_jax
from sharingan_jax.devices.estimate import TRAFFIC_PER_TEMPORARY, estimate_cost
from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.processes import Processes, report_lost_processes
from sharingan_jax.devices.trainer import Trainer
from sharingan_jax.errors import LostProcessError, UserError
from sharingan_jax.gan.gan import init_state
from sharingan_jax.run.folder import RunFolder, read_config


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("JAX_PLATFORMS", "cuda", "expected platforms that are installed (cpu), got cuda. Install the extra `cuda`, or unset"),
        ("JAX_PLATFORMS", "tpu,cpu", "expected platforms that are installed (cpu), got tpu. Install the extra `tpu`, or unset"),
        ("JAX_PLATFORM_NAME", "gpuu", "JAX_PLATFORM_NAME=gpuu: expected platforms that are installed (cpu), got gpuu. Unset the"),
        ("JAX_PLATFORMS", "gpuu", "expected platforms that are installed (cpu), got gpuu. Unset the variable."),
        ("JAX_DISABLE_JIT", "1", "JAX_DISABLE_JIT=1: expected false. Unset the variable."),
        ("JAX_TRANSFER_GUARD", "disallow", "JAX_TRANSFER_GUARD=disallow: expected allow. Unset the variable."),
        ("JAX_ENABLE_X64", "abc", "JAX_ENABLE_X64=abc: expected false, which every run sets. Unset the variable."),
        ("JAX_RANDOM_SEED_OFFSET", "x", "JAX_RANDOM_SEED_OFFSET=x: expected 0, which every run sets. Unset the variable."),
        ("JAX_NUMPY_DTYPE_PROMOTION", "strict", "JAX_NUMPY_DTYPE_PROMOTION=strict: expected standard. Unset the variable."),
    ],
)
def test_variables_that_cannot_work_are_refused_in_one_line(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sharingan_jax.devices.environment._plugins", list)
    monkeypatch.setenv(name, value)
    assert main.main(["--config", "smoke", "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert FAULTS["variables"].is_shown_in(error)
    assert error.count("\n") == 1
    platforms = {"JAX_PLATFORMS": "cpu", "JAX_PLATFORM_NAME": "cpu"}
    allowed = {name: values[0] for name, values in SUPPORTED.items()} | PINNED | platforms
    monkeypatch.setenv(name, allowed[name])
    pin_jax()


def test_an_installed_plugin_is_a_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharingan_jax.devices.environment._plugins", lambda: ["xla_cuda13"])
    for wanted in ("cuda", "gpu", "cuda,cpu", "CPU"):
        monkeypatch.setenv("JAX_PLATFORMS", wanted)
        pin_jax()


@pytest.mark.parametrize(
    ("name", "value"), [("JAX_DEBUG_NANS", "maybe"), ("JAX_DEFAULT_MATMUL_PRECISION", "silly"), ("JAX_NUM_CPU_DEVICES", "x")]
)
def test_a_variable_that_jax_does_not_take_is_refused_in_one_line(name: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "runs"],
        capture_output=True,
        text=True,
        env={**os.environ, name: value},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert name in done.stderr
    assert "expected values that JAX takes, got: " in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep to the limit")
def test_too_little_address_space_is_one_line_before_jax_aborts(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "main.py"), "--config", "smoke", "--workdir", str(tmp_path / "run")]
    limited = ["sh", "-c", 'ulimit -v 1953125 && exec "$@"', "sh", *command]  # In kB.
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: this process may use 2.0 GB of addresses (ulimit -v), expected at least 3 GB")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_an_error_changes_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise UserError("a name: \x1b[31mred\x07\nand more ×")

    assert command_line.exit_code(fail) == 2
    assert capsys.readouterr().err == "error: a name: \\x1b[31mred\\x07\\nand more ×\n"


@pytest.mark.parametrize("words", [["--config", "smoke"], ["sample", "--workdir", "x", "--out", "x.png"], ["runs"]])
def test_a_python_without_the_requirements_names_the_file_that_lists_them(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-S", str(ROOT / "main.py"), *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    if words == ["runs"]:
        assert "runs: expected a folder of runs, found none." in done.stderr  # It needs no requirement for this.
    else:
        assert FAULTS["requirements"].is_shown_in(done.stderr)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "error: there is not enough memory. Use smaller networks"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), "error: there is not enough memory."),
        (RuntimeError("can't start new thread"), "error: the system allows no more threads."),
        (RuntimeError("Unable to initialize backend 'cuda': no device"), "error: JAX_PLATFORMS="),
        (ModuleNotFoundError("No module named 'jax'", name="jax.numpy"), "error: the package jax is not installed."),
    ],
)
def test_what_a_machine_lacks_is_one_line(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise error

    assert command_line.exit_code(fail) == 2
    assert capsys.readouterr().err.startswith(line)


def test_an_error_of_the_program_keeps_its_traceback() -> None:
    def fail() -> int:
        raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError, match="a mistake of ours"):
        command_line.exit_code(fail)


def test_a_lost_process_ends_this_one_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def train() -> int:
        with report_lost_processes(Processes(0, 2)):
            raise jax.errors.JaxRuntimeError("Gloo all-reduce failed")

    ends: list[int] = []
    monkeypatch.setattr(os, "_exit", ends.append)
    command_line.exit_code(train)
    assert ends == [2]
    assert capsys.readouterr().err.startswith("error: another of the 2 processes has ended; its output says why.")
    with pytest.raises(LostProcessError):
        train()


@pytest.mark.slow
def test_a_relative_path_of_images_is_recorded_as_where_it_was(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(image_folder, tmp_path / "images")
    shutil.copy(tmp_path / "images" / "03.png", tmp_path / "images" / "copy.png")
    monkeypatch.chdir(tmp_path)
    more = ["--config.train.steps=4", "--config.data.last_batch=drop"]
    assert main.main(train_arguments(Path("images"), Path("run"), *more)) == 0
    assert "images: 1 of 21 are copies of others, such as copy.png of 03.png\n" in capsys.readouterr().out
    assert read_config(RunFolder(tmp_path / "run")).data.path == str(tmp_path / "images")
    monkeypatch.chdir("/")
    assert main.main(["verify", "--workdir", str(tmp_path / "run")]) == 0
    assert with_absolute_paths(load_config("smoke")) == load_config("smoke")


@pytest.mark.parametrize("command", [["sample", "--out", "x.png"], ["verify"], ["export", "--format", "trace", "--out", "x.npz"]])
def test_a_folder_of_several_seeds_is_named_as_such(
    command: list[str], whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        (tmp_path / f"seed-{seed}").symlink_to(whole_run)
    assert main.main([*command, "--workdir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error == f"error: {tmp_path} holds the runs seed-0, seed-1: use one, such as {tmp_path}/seed-0\n"


@pytest.mark.parametrize("flag", ["--config", "--branch-from"])
def test_a_folder_of_several_seeds_is_no_configuration_and_no_branch(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        (tmp_path / f"seed-{seed}").mkdir()
        (tmp_path / f"seed-{seed}" / "config.json").write_text("{}")
    assert main.main(["train", flag, str(tmp_path), "--workdir", str(tmp_path / "new")]) == 2
    assert f"error: {tmp_path} holds the runs seed-0, seed-1: use one, such as {tmp_path / 'seed-0'}" in capsys.readouterr().err


def test_a_dry_run_estimates_memory_and_time_and_warns_of_absurd_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--config", "smoke", *TINY, "--workdir", str(tmp_path / "run"), "--dry-run"]
    assert main.main(command) == 0
    out = capsys.readouterr().out
    assert "memory       roughly 0.0 GB" in out
    assert "time         roughly " in out
    assert "warning" not in out
    assert "\nadvice       turning: free (" in out
    assert "\nadvice       recipe: " in out
    assert main.main([*command, "--config.model.gen.width=4096", "--config.train.steps=2000000000"]) == 0
    out = capsys.readouterr().out
    assert "warning      this does not fit into " in out
    assert "warning      this would take " in out
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_estimated_memory_is_roughly_that_of_the_compiled_step() -> None:
    config = smoke_config(model__gen__width="4", model__disc__width="4", model__conv_impl="direct", train__devices="1")
    trainer = Trainer(config, make_mesh(1, batch_sizes={25}))
    state = jax.eval_shape(lambda: init_state(trainer.gan, seed=0))
    shape = (config.data.size, config.data.size, 3)
    lowered = trainer.program.lower(state, jax.ShapeDtypeStruct((1, 25, *shape), "uint8"))
    traffic = lowered.cost_analysis()["bytes accessed"]
    temporary = lowered.compile().memory_analysis().temp_size_in_bytes
    assert 0.25 < traffic / TRAFFIC_PER_TEMPORARY / temporary < 4
    assert estimate_cost(trainer, batch_size=25, image_shape=shape).memory > temporary / 2


def test_errors_name_no_command_of_one_way_to_start(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        load_config(tmp_path / "none.py")
    assert "main.py" not in str(refusal.value)
