"""A mistake in a call from Python is one UserError that names the argument, what was expected and what was found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import smoke_config

import sharingan_jax as sg
from sharingan_jax.run.listing import list_runs

EMPTY: dict[str, Callable[[Path], Any]] = {
    "train": lambda run: sg.train(smoke_config(), ""),
    "train_seeds": lambda run: sg.train_seeds(smoke_config(train__seeds="2"), " "),
    "load_run": lambda run: sg.load_run(""),
    "sample": lambda run: sg.sample("", "grid.png"),
    "sample into": lambda run: sg.sample(run, ""),
    "sample from": lambda run: sg.sample(run, "grid.png", latents=""),
    "evaluate": lambda run: sg.evaluate(""),
    "project": lambda run: sg.project(run, ""),
    "compare": lambda run: sg.compare(["smoke"], seeds=[0], workdir=""),
    "inspect_images into": lambda run: sg.inspect_images(smoke_config(), out=""),
    "export": lambda run: sg.export("", "G.pth", format="pytorch"),
    "export to": lambda run: sg.export(run, "", format="pytorch"),
    "import_weights": lambda run: sg.import_weights("", smoke_config(), "new"),
    "import_weights into": lambda run: sg.import_weights("G.pth", smoke_config(), ""),
    "branch": lambda run: sg.branch("", "new", smoke_config()),
    "branch into": lambda run: sg.branch(run, "", smoke_config()),
    "verify": lambda run: sg.verify(""),
    "diff": lambda run: sg.diff(run, ""),
    "list_runs": lambda run: list_runs(""),
}
"""Calls with an empty text in place of a path."""


@pytest.mark.parametrize("call", EMPTY.values(), ids=EMPTY)
def test_an_empty_path_is_refused_and_nothing_is_written(
    call: Callable[[Path], Any], whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sg.UserError, match=r"^[\w-]+: expected the name of a file or folder, got an empty text\.$"):
        call(whole_run)
    assert not list(tmp_path.iterdir())


def test_what_is_no_path_is_named() -> None:
    with pytest.raises(sg.UserError, match=r"^path: expected the name of a file or folder, got int 5\.$"):
        sg.load_run(5)  # type: ignore[arg-type]
