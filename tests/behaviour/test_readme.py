"""Every command and every piece of Python in the README and the pages of docs/ runs: on tiny networks, so that it takes seconds.

A command that takes minutes even then is checked against its parser: see `LONG`.
"""

import importlib
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, TINY, WRITE_RUN_REPORT
from PIL import Image

import main
import sharingan_jax as sg
from sharingan_jax.comparison import runs, write
from sharingan_jax.data.emblems.draw import draw_emblem
from sharingan_jax.evaluation import classifier, features, modes
from sharingan_jax.evaluation.turns import Orientation, Turns

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", *sorted(f"docs/{path.relative_to(ROOT / 'docs').as_posix()}" for path in (ROOT / "docs").rglob("*.md"))]
INSTALL = "python3 -m venv .venv && .venv/bin/pip install "
WHOLE_BATCHES = "--config.train.batch_size=10"  # A partial batch is one more program to compile.
SHORT = ["--config.train.steps=4", "--config.sample.every=2"]
NEEDS_DEFAULT = ("docs/equivalence.md",)
"""Pages whose commands read `runs/default/seed-0`. The others read the run of the README's first command, or train their own."""
LONG = (
    "benchmarks.",
    "experiments.study train",
    "experiments.study collect",
    "experiments.drift",
    "experiments.post train",
    "experiments.feature_spaces",
)
"""Modules whose commands take minutes or hours. tests/test_benchmarks.py and tests/experiments/ run their parts."""
OTHER_PROGRAMS = ("pip install ", "python -m pytest ", "python tests/", "mkdocs ", "python3 -m venv ")
"""Beginnings of commands that install, test or write into the repository: the files that they name must exist."""


def _blocks(page: str) -> list[tuple[str, str]]:
    """Return the page's bash and Python blocks, as (language, text), in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```(bash|python)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def _commands(page: str) -> list[str]:
    return [line for language, text in _blocks(page) if language == "bash" for line in text.splitlines() if line]


def _first_command() -> list[str]:
    """Return the words of the training in the README's first command, from `sharingan-jax` on."""
    (line,) = [line for line in _commands("README.md") if line.startswith(INSTALL) and "pytest" not in line]
    program, *words = shlex.split(line.split(" && ")[-1])
    assert program == ".venv/bin/sharingan-jax"
    return ["sharingan-jax", *words]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, compiled_quickly: None) -> Path:
    """A folder that looks like a checkout, with images in it, in which the README's first command has trained."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name not in ("runs", "build"):
            (folder / path.name).symlink_to(path)
    (folder / "my_images").mkdir()
    for i in range(30):
        Image.fromarray(draw_emblem(i, size=32)).save(folder / "my_images" / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(runs, "write_run_report", WRITE_RUN_REPORT)
        assert not _run([*_first_command(), *TINY, WHOLE_BATCHES, *SHORT])
    return folder


def _shrunk(words: list[str], *, tfds_folder: str) -> list[str]:
    """Return the words of a command with arguments that make it small."""
    if words[:2] == ["python", "main.py"]:
        words = ["sharingan-jax", "train", *words[2:]]
    if words[:2] in (["sharingan-jax", "evaluate"], ["sharingan-jax", "compare"], ["sharingan-jax", "report"]):
        return words if "--help" in words else _shrunk_measuring(words)
    if words[0] == "sharingan-jax":
        trains = words[1] in ("train", "import") and "--help" not in words
        if not trains or words[words.index("--config") + 1 if "--config" in words else 0] in ("smoke", "runs/short"):
            return words
    elif "train" not in words:
        return words
    steps = [] if any("train.steps=" in word for word in words) else SHORT
    if "--config.data.source=tfds" in words:  # The same command on a set that needs no download.
        words = [word for word in words if "data.name" not in word and "data.split" not in word]
        steps = [
            *steps, "--config.data.name=tiny_eyes", "--config.data.split=train[:10]", f"--config.data.data_dir={tfds_folder}"
        ]  # fmt: skip
    return [*words, *TINY, WHOLE_BATCHES, *steps]


def _shrunk_measuring(words: list[str]) -> list[str]:
    """Return the words of a command that measures with few samples, one feature space, one seed and tiny networks."""
    for flag, value in (("--samples", "100"), ("--features", "pixels"), ("--seeds", "0:1")):
        if flag == "--seeds" and words[1] != "compare":
            continue
        if flag in words:
            if flag == "--features":  # Inception would fetch weights, and EfficientNet takes a minute: test_features.py runs it.
                names = words[words.index(flag) + 1].split(",")
                value = ",".join(name for name in names if not (name.startswith("inception") or name.endswith(":efficientnet")))
            value = "0" if words[words.index(flag) + 1] == "0" else value
            words = [*words[: words.index(flag)], *words[words.index(flag) + 2 :]]
        if flag != "--samples" or "--images" not in words:
            words = [*words, flag, value]
    if words[1] == "compare":
        varied = [i + 1 for i, word in enumerate(words) if word == "--vary"]
        words = [word.split(",")[0] if i in varied[1:] else word for i, word in enumerate(words)]  # Not every combination.
        steps = [i for i, word in enumerate(words) if word.startswith("train.steps=")]
        words = [word for i, word in enumerate(words) if i not in steps and i + 1 not in steps]
        tiny = [word.removeprefix("--config.") for word in [*TINY, WHOLE_BATCHES, *SHORT] if "train.devices" not in word]
        for setting in dict(pair.split("=") for pair in tiny).items():
            words += ["--set", "=".join(setting)]
    return words


def _run(words: list[str]) -> int | None:
    """Run `sharingan-jax ...` or `python -m ...` in this process, which saves the seconds of importing."""
    program, *words = words
    if program == "python":
        assert words.pop(0) == "-m"
        code: int | None = importlib.import_module(words[0]).command(words[1:])
        return code
    assert program == "sharingan-jax", program
    try:
        return main.main(words)
    except SystemExit as end:
        return int(end.code or 0)


def _check_long(command: str) -> None:
    """Check that a command's module exists, and that its source has each of the flags."""
    words = shlex.split(command)
    assert words[:2] == ["python", "-m"], command
    source = (ROOT / f"{words[2].replace('.', '/')}.py").read_text(encoding="utf-8")
    for word in words[3:]:
        if word.startswith("--"):
            assert f'"{word}"' in source, f"{command}: no flag {word}"


def _check_files(command: str) -> None:
    """Check that the files and folders of the repository that a command names exist."""
    for name in re.findall(r"(?<=\s)[\w./-]+(?:\.py|\.txt|\.lock)\b|(?<=\s)tests/[\w/]+", command):
        assert (ROOT / name).exists(), f"{command}: no {name}"


def _check_loop(command: str) -> None:
    """Check the arguments of a shell loop over the processes of one run. tests/behaviour/test_processes.py starts two."""
    from sharingan_jax.commands.train import make_parser
    from sharingan_jax.config.load import load_config  # `sg.load_config` is patched while a page runs.

    (inner,) = re.findall(r"do sharingan-jax train (.*?) & done; wait$", command)
    flags, overrides = make_parser().parse(shlex.split(inner.replace("$i", "1")))
    assert (flags.processes, flags.process) == (2, 1)
    load_config(flags.config, overrides)


def _without_installing(command: str) -> str | None:
    """Return the part of a command that runs here. None if it is checked in another way."""
    if command.startswith("for "):
        return _check_loop(command)
    if command.startswith((INSTALL, *OTHER_PROGRAMS)):
        return _check_files(command)
    if any(f"python -m {name}" in command for name in LONG):
        return _check_long(command)
    return command


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page)])
def test_every_command_and_every_piece_of_python_runs_in_the_order_of_the_page(
    page: str,
    checkout: Path,
    prepared_set: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(checkout)
    _shrink_load_config(monkeypatch)
    _shrink_evaluation(monkeypatch, checkout)
    if page in NEEDS_DEFAULT:
        assert not _run(["sharingan-jax", "train", "--config", "default", *TINY, WHOLE_BATCHES, *SHORT])
    names: dict[str, Any] = {}
    for language, text in _blocks(page):
        if language == "python":
            exec(compile(text, page, "exec"), names)
            continue
        for line in text.splitlines():
            command = _without_installing(line) if line else None
            if command is not None:
                words = shlex.split(command)
                if "experiments.study" in words:
                    words = [str(checkout / "study.png") if word.startswith("docs/images") else word for word in words]
                if "experiments.post" in words:
                    _train_the_experiments(checkout)
                    words = [str(checkout / "post.png") if word.startswith("docs/images") else word for word in words]
                assert not _run(_shrunk(words, tfds_folder=prepared_set)), f"{command}\n{capsys.readouterr().err}"


def _shrink_load_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `sg.load_config` return tiny networks with 100 latents and few steps, and `sg.compare` train such."""
    load_config = sg.load_config
    small = [word.removeprefix("--config.").split("=") for word in [*TINY, WHOLE_BATCHES, *SHORT]]
    tiny = {key: value for key, value in small if key != "model.nz"}
    monkeypatch.setattr(sg, "load_config", lambda source, overrides: load_config(source, dict(overrides) | tiny))
    # The settings of `_shrunk_measuring`, so that a page's Python finds the runs of its command.
    compare, settings = sg.compare, {key: value for key, value in small if key != "train.devices"}
    less = {"settings": settings, "samples": 100, "features": ("pixels",), "seeds": [0]}
    monkeypatch.setattr(sg, "compare", lambda configs, **options: compare(configs, **options | less))


def _shrink_evaluation(monkeypatch: pytest.MonkeyPatch, checkout: Path) -> None:
    """Measure over few turns, with a classifier that has hardly trained, and leave out plots for a paper: others test these."""
    monkeypatch.setattr(write, "save_paper_plots", lambda report, folder: [])
    monkeypatch.setattr(Orientation, "turns", Turns(angles=8))
    monkeypatch.setattr(classifier, "STEPS", 5)
    monkeypatch.setattr(modes, "MORE_EMBLEMS", 20)
    monkeypatch.setattr(features, "cache_folder", lambda: checkout / "cache")


def _train_the_experiments(checkout: Path) -> None:
    """Run the command of docs/experiments.md that takes an hour, on tiny networks."""
    if not (checkout / "runs" / "post").exists():
        words = ["python", "-m", "experiments.post", "train", "--images", "my_images", "--runs", "runs/post"]
        assert not _run([*words, *TINY, WHOLE_BATCHES, *SHORT])


def test_the_pages_have_as_many_commands_as_a_reader_needs() -> None:
    ran = [command for page in PAGES for command in _commands(page) if command.startswith("sharingan-jax ")]
    assert len(ran) > 30
    named = {words[1] for words in map(shlex.split, ran)}
    assert named == set(importlib.import_module("sharingan_jax.__main__").COMMANDS)


@pytest.mark.slow
def test_the_first_command_leaves_what_the_table_promises(checkout: Path) -> None:
    run = checkout / "runs/quick/seed-0"
    made_later = {"evaluation"}  # by the commands of other tests, in the same folder
    left = {path.name for path in run.iterdir() if not path.name.startswith(".")} - made_later
    for page in ("README.md", "docs/runs.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        table = text[text.index("## What a run leaves") :]
        cells = re.findall(r"^\| (`[^|]+)\|", table[: table.index("\n\n", table.index("|---|"))], re.MULTILINE)
        names = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
        assert sorted(name.split("/")[0] for name in names) == sorted(left), page
        for name in names:
            path = run / name.replace("000200", "000004")
            assert path.exists(), name
            assert path.is_dir() == name.endswith("/"), name
    keys = re.search(r"has the keys `([^`]+)`", (ROOT / "docs" / "runs.md").read_text(encoding="utf-8"))
    assert keys is not None
    first = (checkout / "runs/quick/seed-0/metrics.jsonl").read_text().splitlines()[0]
    assert set(json.loads(first)) == set(keys[1].split(", "))


def test_the_readme_lists_every_command_with_its_purpose() -> None:
    table = README[README.index("## Commands") : README.index("## What you can rely on")]
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.+) \|$", table, re.MULTILINE))
    commands = importlib.import_module("sharingan_jax.__main__").COMMANDS
    assert rows == {name: purpose for name, (_, purpose) in commands.items()}


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 140


@pytest.mark.slow
def test_the_shapes_in_the_readmes_python_are_right(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    _shrink_load_config(monkeypatch)
    names: dict[str, Any] = {}
    compared = 0
    for language, text in _blocks("README.md"):
        if language == "python":
            for statement in text.splitlines():
                code, _, comment = statement.partition("  # ")
                promised = re.match(r"(?:numpy )?(uint8|float32|float64) \[([\w, ]+)\]", comment)
                if promised is None:
                    exec(code, names)
                    continue
                value = eval(code, names)
                assert value.dtype == np.dtype(promised[1]), statement
                sizes = [int(size) if size.isdigit() else len(names["run"].metrics["step"]) for size in promised[2].split(", ")]
                assert list(value.shape) == sizes, statement
                compared += 1
    assert compared == 4


def test_the_install_commands_name_files_that_exist_and_ci_finds_its_own() -> None:
    files = re.findall(
        r"pip install\s(?:-q )?-r\s+([\w.-]+)", "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    )
    assert {"requirements-dev.txt", "requirements-docs.txt", "requirements.lock"} <= set(files)
    for name in files:
        assert (ROOT / name).is_file(), name
    assert len(re.findall(r"^python3 -m venv .*pytest$", README, re.MULTILINE)) == 1  # what .ci/run looks for
    assert sys.version_info >= (3, 11)
