"""A mistake in a call from Python is one UserError that names the argument, what was expected and what was found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import smoke_config

import sharingan_jax as sg
from sharingan_jax import __main__ as commands
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.run.listing import list_runs
from sharingan_jax.training import inspection, seeds

EMPTY: dict[str, Callable[[Path], Any]] = {
    "train": lambda run: sg.train(smoke_config(), ""),
    "train_seeds": lambda run: sg.train_seeds(smoke_config(train__seeds="2"), " "),
    "load_run": lambda run: sg.load_run(""),
    "sample": lambda run: sg.sample("", "grid.png"),
    "sample into": lambda run: sg.sample(run, ""),
    "sample from": lambda run: sg.sample(run, "grid.png", latents=""),
    "evaluate": lambda run: sg.evaluate(""),
    "evaluate into": lambda run: sg.evaluate(run, out=""),
    "evaluate images into": lambda run: sg.evaluate_images("emblems", "emblems", size=32, out=" "),
    "project": lambda run: sg.project(run, ""),
    "project into": lambda run: sg.project(run, "emblems", ""),
    "report": lambda run: sg.report(""),
    "report of one of two": lambda run: sg.report([run, ""]),
    "report into": lambda run: sg.report([run], out=""),
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


def compare(configs: Any = ("smoke",), **options: Any) -> Any:
    return sg.compare(configs, **{"seeds": [0], "workdir": "none"} | options)


NO_NUMBER = r"expected a whole number\.$"
MISTAKES: dict[str, tuple[Callable[[sg.Run], Any], str]] = {
    "overrides as a text": (lambda run: sg.load_config("smoke", "a=b"), r"^overrides: expected settings by .* 'a=b'\.$"),
    "overrides as texts": (lambda run: sg.load_config("smoke", ["a=b"]), r"^overrides: expected settings by dotted key"),
    "overrides as a number": (lambda run: sg.load_config("smoke", 5), r"^overrides: expected settings by dotted key"),
    "a setting without a name": (lambda run: sg.load_config("smoke", {"": 5}), r'^"": no such setting\.'),
    "a configuration that is not there": (lambda run: sg.train("smok", "new"), r"^config=smok: .* Did you mean smoke\?"),
    "no latents": (lambda run: run.generator()(np.zeros((0, 8))), r"^latents: .* \[N, 8\], N at least 1, got float64 \[0, 8\]"),
    "latents that are texts": (lambda run: run.generator()([["a"] * 8]), r"^latents: expected numbers of shape"),
    "statistics": (lambda run: run.generator(statistics="foo"), r"^statistics='foo': expected one of batch, running\.$"),
    "weights": (lambda run: run.sample(weights="foo"), r"^weights='foo': expected one of raw, averaged\.$"),
    "a step as a text": (lambda run: run.generator("4"), rf"^step='4': {NO_NUMBER}"),
    "a step as a truth value": (lambda run: run.state(True), rf"^step=True: {NO_NUMBER}"),
    "no samples": (lambda run: run.sample(0), r"^num=0: expected at least 1\.$"),
    "a number of samples": (lambda run: run.sample("a"), rf"^num='a': {NO_NUMBER}"),
    "a seed": (lambda run: run.sample(seed="a"), rf"^seed='a': {NO_NUMBER}"),
    "a truncation": (lambda run: run.sample(truncation="a"), r"^truncation='a': expected a number\.$"),
    "a run to evaluate": (lambda run: sg.evaluate(3), r"^run: expected the name of a file or folder, got int 3\.$"),
    "runs to report": (lambda run: sg.report(3), r"^folders: expected the name of a file or folder, got int 3\.$"),
    "no runs to report": (lambda run: sg.report([]), r"^folders: expected the folders of runs, got none\.$"),
    "a size to evaluate at": (lambda run: sg.evaluate_images("emblems", "emblems", size="x"), rf"^size='x': {NO_NUMBER}"),
    "no feature space": (lambda run: sg.evaluate(run, features=[]), r"^features=\[\]: expected names of feature spaces, such as"),
    "feature spaces": (lambda run: sg.evaluate(run, features=[3]), r"^features=\[3\]: expected names of feature spaces"),
    "samples to evaluate": (lambda run: sg.evaluate(run, samples=100.5), r"^samples=100\.5: expected a whole number from 100 to"),
    "seeds as a text": (lambda run: compare(seeds="0:2"), r"^seeds='0:2': expected whole numbers, such as range\(10\)"),
    "seeds as a number": (lambda run: compare(seeds=3), r"^seeds=3: expected whole numbers, such as range\(10\)"),
    "a configuration to compare": (lambda run: compare([3]), r"^configs: expected names, files or configurations, got 3\.$"),
    "settings to compare": (lambda run: compare(settings=["train.steps=8"]), r"^settings=.*: expected settings by dotted key"),
    "no settings to compare": (lambda run: compare(settings=3), r"^settings=3: expected settings by dotted key"),
    "stacked seeds": (lambda run: compare(stacked="2"), rf"^stacked='2': {NO_NUMBER}"),
    "Inception's weights": (
        lambda run: compare(features=["inception:none.pth"]),
        r"^features=inception:none\.pth: expected a file with the weights of FID's Inception, found none\.$",
    ),
    "a number to write": (lambda run: sg.sample(run.path, "x.png", num="a"), rf"^num='a': {NO_NUMBER}"),
    "a number and a file of latents": (
        lambda run: sg.sample(run.path, "x.png", num=5, latents="z.npy"),
        r"^`num` with `latents`: expected only one of them\. Remove `num` to use the file's latents\.$",
    ),
    "a scale of a walk": (
        lambda run: sg.sample(run.path, "x.gif", scale=2),
        r"^scale=2: expected out=grid\.png or a folder/, got out=x\.gif\. Leave out `scale`\.$",
    ),
    "a name of an export": (
        lambda run: sg.export(run.path, "x.npz", format="pytorch"),
        r"^out=x\.npz: expected a name ending in \.safetensors or \.pth for format=pytorch$",
    ),
    "an option of another format": (
        lambda run: sg.export(run.path, "x.npz", format="trace", step=3),
        r"^step: goes with format=pytorch or stablehlo, not with trace$",
    ),
    "columns": (lambda run: sg.sample(run.path, "x.png", columns=2.5), rf"^columns=2\.5: {NO_NUMBER}"),
    "an image that is not there": (lambda run: _emblems().gather([99, 100]), r"^indices: .* from 0 to 99, got 100\.$"),
    "half an index": (lambda run: _emblems().gather([0.5]), r"^indices: expected whole numbers from 0 to 99, got 0\.5\.$"),
    "the last index": (lambda run: _emblems().subset([-1]), r"^indices: expected whole numbers from 0 to 99, got -1\.$"),
}  # fmt: skip
"""Calls with values that the functions do not take, and the message of each."""


def _emblems() -> ImageDataset:
    return sg.load_dataset("emblems", size=32)


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_value_is_one_line_that_names_the_argument(
    call: Callable[[sg.Run], Any], message: str, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sg.UserError, match=message) as refusal:
        call(sg.load_run(whole_run))
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_no_indices_are_no_images() -> None:
    assert _emblems().gather([]).shape == (0, 32, 32, 3)
    assert _emblems().subset(()).count == 0


NOWHERE: dict[str, Callable[[], Any]] = {
    "load_run": lambda: sg.load_run("nope"),
    "verify": lambda: sg.verify("nope"),
    "evaluate": lambda: sg.evaluate("nope"),
    "diff": lambda: sg.diff("nope", "nope"),
    "command": lambda: _raise_error_of(["diff", "nope", "nope"]),
}
"""Calls with a folder that is not there."""


def _raise_error_of(arguments: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "exit_code", lambda work: work())
        commands.main(arguments)


@pytest.mark.parametrize("call", NOWHERE.values(), ids=NOWHERE)
def test_a_folder_without_a_run_is_named_without_a_flag(
    call: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sg.UserError, match=r"^nope: no config\.json there; expected a run's folder, as `train` makes it$"):
        call()


def test_a_metric_that_was_not_recorded_is_a_key_error_with_the_nearest_name(whole_run: Path) -> None:
    metrics = sg.load_run(whole_run).metrics
    with pytest.raises(sg.UserError, match=r"^los_d: no such metric\. Did you mean loss_d\?$") as refusal:
        metrics["los_d"]
    assert isinstance(refusal.value, KeyError)
    assert metrics.get("los_d") is None
    with pytest.raises(sg.UserError, match=r"^loss_D: no such metric\. Did you mean loss_d\?$"):
        metrics["loss_D"]


def test_a_run_loaded_by_a_relative_path_says_that_the_current_folder_has_changed(
    whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(whole_run.parent)
    run = sg.load_run(whole_run.name)
    monkeypatch.chdir(tmp_path)
    for read in (lambda: run.metrics, lambda: run.manifest, lambda: run.data, lambda: run.steps, run.state):
        with pytest.raises(sg.UserError, match=rf"^{whole_run.name}: expected the run's folder, got nothing there from /"):
            read()
    monkeypatch.chdir(whole_run.parent)
    assert run.metrics["loss_d"].size
    assert run.generator(step=float(run.steps[-1])) is not None


def test_functions_take_a_configuration_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class StopError(Exception):
        pass

    def stop(config: Any, **_: Any) -> Any:
        assert config == sg.load_config("smoke")
        raise StopError

    for module in (seeds, inspection):
        monkeypatch.setattr(module, "pin_environment", stop)
    for call in (lambda: sg.train("smoke", tmp_path / "new"), lambda: sg.inspect_images("smoke")):
        with pytest.raises(StopError):
            call()
    with pytest.raises(sg.UserError, match=r"none\.pth: no such file"):
        sg.import_weights(tmp_path / "none.pth", "smoke", tmp_path / "new")


def test_what_is_no_path_is_named() -> None:
    with pytest.raises(sg.UserError, match=r"^path: expected the name of a file or folder, got int 5\.$"):
        sg.load_run(5)  # type: ignore[arg-type]


def test_a_data_set_is_shown_in_one_short_line(mixed_folder: Path) -> None:
    images = sg.load_dataset(mixed_folder, size=32)
    assert repr(images) == f"<ArrayDataset: 30 images of 32×32×3 from a folder, digest {images.digest[:12]}>"
    assert repr(images.subset([0])).startswith("<ArrayDataset: 1 image of 32×32×3 from a folder, digest ")
