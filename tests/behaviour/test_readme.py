"""Every command of the README is run: as it stands there, but on networks and pictures so small that it takes seconds."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TINY

import main

README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL = "python3 -m venv .venv && .venv/bin/pip install -r "
WHOLE_BATCHES = "--config.train.batch_size=10"  # A partial batch is one more program to compile.
RUNS_ALONE = ("--help", "sample", "export", "verify", "diff", "runs/short/manifest.json", "configs/smoke.py")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _commands() -> list[str]:
    return [line for block in _blocks("bash") for line in block.splitlines() if line]


def _python_commands() -> list[str]:
    return [line for line in _commands() if line.startswith("python ")]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, prepared_set: str) -> Path:
    """A folder that looks like a checkout, with pictures in it, and in which the README's first command has trained."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("main.py", "configs", "sharingan_jax", "tests", "benchmarks", "experiments", "requirements.txt"):
        (folder / name).symlink_to(ROOT / name)
    _draw_pictures(folder / "my_pictures")
    (first,) = [line for line in _commands() if line.startswith(INSTALL) and "main.py" in line]
    words = shlex.split(first.split(" && ")[-1])
    assert words[0] == ".venv/bin/python"
    subprocess.run([sys.executable, *words[1:], *TINY, WHOLE_BATCHES, "--config.train.steps=4"], cwd=folder, check=True)
    return folder


def _draw_pictures(folder: Path) -> None:
    from PIL import Image

    from sharingan_jax.data.emblems.draw import draw_emblem

    folder.mkdir()
    for i in range(30):
        Image.fromarray(draw_emblem(i, size=32)).save(folder / f"{i}.png")


def _shrunk(words: list[str], *, tfds_folder: str) -> list[str]:
    """The words of a command, with what makes it small behind them."""
    if "benchmarks.train_step" in words:
        return [*words, "--rounds", "1", "--steps", "1", "--width", "4"]
    if any(word in RUNS_ALONE for word in words) or "tell" in words:
        return words
    steps = [] if any("train.steps=" in word for word in words) else ["--config.train.steps=4", "--config.sample.every=2"]
    if "--config.data.source=tfds" in words:  # The same command on a set that needs no download.
        words = [word for word in words if "data.name" not in word and "data.split" not in word]
        steps += ["--config.data.name=tiny_eyes", "--config.data.split=train[:10]", f"--config.data.data_dir={tfds_folder}"]
    return [*words, *TINY, WHOLE_BATCHES, *steps]


def _run(words: list[str]) -> int | None:
    """Runs `python ...` in this process, which saves the seconds of importing for each."""
    assert words.pop(0) == "python"
    if words[0] == "main.py":
        try:
            return main.main(words[1:])
        except SystemExit as end:
            return int(end.code or 0)
    assert words.pop(0) == "-m"
    code: int | None = importlib.import_module(words[0]).command(words[1:])
    return code


def test_every_python_command_ends_well_in_the_readmes_order(
    checkout: Path, prepared_set: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(checkout)
    commands = _python_commands()
    assert len(commands) > 10
    for command in commands:
        words = _shrunk(shlex.split(command), tfds_folder=prepared_set)
        if "benchmarks.train_step" in words:
            pytest.importorskip("torch", reason="the benchmark needs torch; see requirements-dev.txt")
        assert not _run(words), f"{command}\n{capsys.readouterr().err}"
    for left in (
        "grid.png",
        "pictures.npy",
        "walk.gif",
        "walk/00000.png",
        "runs/post/losses.png",
        "runs/folder/seed-0/losses.png",
        "networks.safetensors",
        "runs/imported/config.json",
        "trace.npz",
        "sampler.stablehlo",
    ):
        assert (checkout / left).stat().st_size > 0, left


def test_the_first_command_leaves_what_the_table_promises(checkout: Path) -> None:
    table = README[README.index("## What a run leaves") :]
    names = re.findall(r"^\| `([^`]+)`", table[: table.index("\n\n!")], re.MULTILINE)
    assert len(names) == 9
    for name in names:
        path = checkout / "runs/default/seed-0" / name.replace("000100", "000004")
        assert path.exists(), name
        assert path.is_dir() == name.endswith("/"), name


def test_the_install_commands_name_files_there_are_and_ci_finds_its_own() -> None:
    files = re.findall(r"pip install (?:-q )?-r ([\w.-]+)", README)
    assert {"requirements.txt", "requirements-dev.txt", "requirements.lock"} <= set(files)
    for name in files:
        assert (ROOT / name).is_file(), name
    assert len(re.findall(r"^python3 -m venv .*pytest$", README, re.MULTILINE)) == 1  # what .ci/run looks for


def test_a_colab_runtimes_own_tensorflow_stays_the_only_one(checkout: Path, tmp_path: Path) -> None:
    (line,) = [line for block in _blocks("python") for line in block.splitlines() if line.startswith("!grep")]
    filtering = line.removeprefix("!").split(" && ")[0].replace("/tmp/", f"{tmp_path}/")
    subprocess.run(["bash", "-c", filtering], cwd=checkout, check=True)
    left = (tmp_path / "requirements.txt").read_text()
    assert "tensorflow-datasets" in left
    assert "tensorflow-cpu" not in left


def test_every_file_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
