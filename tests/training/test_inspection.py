"""What is found in a folder, and what is advised: each rule of `training/advice.py` on images made to need it."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import main
from sharingan_jax.config.load import load_config
from sharingan_jax.data.inspect import Colours, DataReport, Directions, Ground, NearDuplicate, Range, Sizes
from sharingan_jax.data.sources.load import load_dataset
from sharingan_jax.training.advice import advise, colour_name, fill_value, recipe_settings
from sharingan_jax.training.inspection import inspect_dataset, measure_directions

CONFIG = load_config("default", {"data.path": "here"})


def _report(**changes: Any) -> DataReport:
    """Return a report on a hundred discs on white, with changes."""
    whole = Range(100, 100, 100)
    report = DataReport(
        place="here", kind="a folder", count=100, image_shape=(64, 64, 3), digest="0" * 64, skipped={}, bad={}, remarks=(),
        classes={}, sizes=Sizes(whole, whole, Range(1, 1, 1), enlarged=0, cut=0, formats={"PNG": 100}), copies={}, measured=100,
        near_duplicates=(), colours=Colours((0.0,) * 3, (0.0,) * 3, 0.5, Ground((254, 255, 255), 0.97, 0.97)),
        directions=Directions(1.0, 1.0, turns_are_free=True, mirrors_are_free=True),
    )  # fmt: skip
    return replace(report, **changes)


def _on(ground: Ground, saturation: float = 0.5) -> Colours:
    return Colours((0.0,) * 3, (0.0,) * 3, saturation, ground)


GREY = _on(Ground((255,) * 3, 0.9, 0.9), 0.01)
PHOTOS = _on(Ground((90, 80, 70), 0.2, 0.0))
UPRIGHT = Directions(3.0, 1.1, turns_are_free=False, mirrors_are_free=True)


@pytest.mark.parametrize(
    ("changes", "settings", "line"),
    [
        ({}, {}, "ground: plain (97% of the border pixels); data.background=white, augment.fill=1"),
        ({"count": 7}, {"train.batch_size": 7}, "batch: train.batch_size=7, all images, since there are few"),
        ({"count": 1000}, {}, "steps: 6,000 with crisp (150 epochs of these images); for a first look 2,400 with quick, at 32"),
        ({"directions": UPRIGHT}, {"data.turns": 1}, "turning: the images have an up and a down and no left and right"),
        ({"directions": None}, {"data.turns": 1, "data.mirrors": False}, "turning: too few different images to measure"),
        (
            {"colours": PHOTOS},
            {"data.turns": 1, "augment.fill": 0.0},
            "turning: free (turned images are 1.00 times as far from the others, mirrored ones 1.00), but on a ground",
        ),
        ({"colours": _on(Ground((0, 2, 0), 0.9, 0.0))}, {"data.background": "black", "augment.fill": -1.0}, "ground: plain (90%"),
        ({"colours": _on(Ground((255, 0, 0), 0.9, 0.0))}, {"data.background": "#ff0000", "augment.fill": -0.4}, "ground: plain"),
        ({"colours": GREY}, {"data.channels": 1, "augment.saturation": 0.0}, "colour: the images are grey"),
        (
            {"colours": GREY},
            {"data.channels": 1, "augment.saturation": 0.0},
            "augmentation: shift 0.1, brightness 0.1, contrast 0.1, cutout 0.3, each for 30% of the images, as measured on discs",
        ),
        ({}, {}, "augmentation: shift 0.1, brightness 0.1, saturation 0.2, contrast 0.1, cutout 0.3, each for 30%"),
        ({"image_shape": (256, 256, 3)}, {"loss.r1": 0.8}, "penalty: loss.r1=0.8"),
        ({"bad": {"a.png": "cut"}}, {"data.on_bad": "skip"}, "bad files: 1 cannot be read"),
        ({"copies": {"b": "a"}}, {}, "copies: 1 of 100 images count more than once"),
        ({"near_duplicates": (NearDuplicate("a", "b", 0.1),)}, {}, "near duplicates: 1 pair; data.holdout keeps"),
        (
            {"sizes": Sizes(Range(9, 9, 9), Range(9, 9, 9), Range(1, 1, 1), enlarged=4, cut=9, formats={})},
            {},
            "fit: 9 of 100 images lose 25% or more of their longer side; data.fit=pad keeps all of it",
        ),
    ],
)  # fmt: skip
def test_each_rule_gives_its_settings_and_its_line(changes: dict[str, Any], settings: dict[str, Any], line: str) -> None:
    report = _report(**changes)
    assert recipe_settings(report, CONFIG) == {"data.source": "folder", "data.path": "here"} | settings
    lines = advise(report, CONFIG)
    assert any(each.startswith(line) for each in lines), lines
    # The command holds the settings, and they are settings that a run accepts.
    words = lines[-1].split(" train --config crisp ")[1].split()
    given = dict(word.removeprefix("--config.").replace("'", "").split("=", 1) for word in words)
    found = load_config("crisp", given)
    assert found == load_config("crisp", recipe_settings(report, CONFIG))


def test_one_image_is_not_enough() -> None:
    (line,) = advise(_report(count=1), CONFIG)
    assert line.startswith("images: one image is not enough")


def test_the_size_and_the_fit_that_were_asked_for_stay() -> None:
    config = load_config("default", {"data.path": "a b", "data.size": 128, "data.fit": "pad", "data.holdout": 0.2})
    assert advise(_report(), config)[-1].endswith(
        " train --config crisp --config.data.path='a b' --config.data.size=128 --config.data.fit=pad --config.data.holdout=0.2"
    )


def test_colours_have_the_names_and_values_that_settings_take() -> None:
    assert [colour_name(colour) for colour in ((255, 253, 252), (3, 0, 0), (1, 2, 200), (128,))] == [
        "white", "black", "#0102c8", "#808080"
    ]  # fmt: skip
    assert [fill_value(colour) for colour in ((252, 255, 255), (0, 0, 0), (128,))] == [1.0, -1.0, 0.0]


def test_discs_may_be_turned_and_a_picture_with_an_up_and_a_down_may_not() -> None:
    discs = measure_directions(load_dataset("emblems", size=32).preview(40))
    assert discs is not None
    assert discs.turns_are_free
    assert discs.mirrors_are_free
    rng = np.random.default_rng(0)
    ramps = np.linspace(0, 255, 32)[None, :, None, None] + rng.normal(0, 4, (40, 32, 32, 1))  # Dark above, bright below.
    upright = measure_directions(np.clip(ramps, 0, 255).astype(np.uint8))
    assert upright is not None
    assert upright.turned_ratio > 10
    assert (upright.turns_are_free, upright.mirrors_are_free) == (False, True)
    same = np.zeros((5, 32, 32, 1), np.uint8)
    assert measure_directions(same) is None


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """A folder of two classes on white, with a copy, a cut file and a text."""
    rng, folder = np.random.default_rng(0), tmp_path / "messy"
    for i in range(12):
        pixels = np.full((60, 40 + 20 * (i == 3), 3), 255, np.uint8)
        pixels[10:50, 10:30] = rng.integers(0, 256, 3)
        place = folder / ("square" if i % 2 else "round") / f"{i:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    (folder / "square" / "copy.png").write_bytes((folder / "round" / "00.png").read_bytes())
    (folder / "square" / "cut.png").write_bytes((folder / "round" / "00.png").read_bytes()[:60])
    (folder / "notes.txt").write_text("hello")
    return folder


def test_a_report_has_every_finding(messy: Path) -> None:
    config = load_config("smoke", {"data.path": str(messy)})
    report = inspect_dataset(load_dataset(messy, size=32, on_bad="skip"), config)
    assert (report.count, report.measured, report.image_shape) == (13, 13, (32, 32, 3))
    assert report.classes == {"round": 6, "square": 7}
    assert report.copies == {"square/copy.png": "round/00.png"}
    near = [{pair.first, pair.second} for pair in report.near_duplicates]  # All but one have one shape, in other colours.
    assert {"round/00.png", "square/01.png"} in near
    assert {"round/00.png", "square/copy.png"} not in near
    assert len(near) == len({frozenset(pair) for pair in near})
    assert (list(report.bad), list(report.skipped)) == (["square/cut.png"], ["notes.txt"])
    assert report.sizes is not None
    assert (report.sizes.width, report.sizes.formats) == (Range(40, 40, 60), {"PNG": 13})
    assert report.sizes.cut == 12  # 40×60; the square one loses nothing.
    assert report.colours.ground.colour == (255, 255, 255)
    json.dumps(asdict(report), allow_nan=False)


def test_the_command_writes_a_report_and_a_sheet_only_if_asked(
    messy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sharingan_jax.training.inspection._costs", lambda report, config: ["one line"])
    before = sorted(tmp_path.rglob("*"))
    small = ["data", str(messy), "--config.data.size=32"]
    assert main.main(small) == 0
    out = capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before
    assert f"images       13 from {messy} (a folder), trained on as 32×32×3; digest " in out
    assert "\nbad files    1: square/cut.png (" in out
    assert "\nskipped      1: notes.txt (not an image)\n" in out
    assert "\ncopies       1: square/copy.png of round/00.png\n" in out
    assert "\nremark       2 classes, by subfolder: round (6), square (7)\n" in out
    assert "\ntime         one line\n" in out
    assert "\nadvice       copies: 1 of 13 images count more than once; remove the copies\n" in out
    assert main.main([*small, "--out", str(messy / "look")]) == 2
    assert f"error: --out: expected a folder outside of the images, got {messy / 'look'} in data.path" in capsys.readouterr().err
    assert main.main([*small, "--out", str(tmp_path / "look")]) == 0
    assert sorted(path.name for path in (tmp_path / "look").iterdir()) == ["contact_sheet.png", "inspection.json"]
    record = json.loads((tmp_path / "look" / "inspection.json").read_text())
    assert record["digest"] == load_dataset(messy, size=32, on_bad="skip").digest
    assert record["copies"] == {"square/copy.png": "round/00.png"}
    with Image.open(tmp_path / "look" / "contact_sheet.png") as sheet:
        assert sheet.size == (7 * (64 + 4) + 4, 2 * 40 + 2 * (64 + 8))


def test_a_path_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["data", "here", "--config.data.path=there"]) == 2
    assert capsys.readouterr().err == "error: here: expected one path, got --config.data.path too. Remove one of them.\n"


@pytest.mark.slow
def test_costs_name_the_steps_of_both_configurations(messy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["data", str(messy), "--config.data.size=32"]) == 0
    out = capsys.readouterr().out
    assert "time         these settings: 200 steps of 13 images, roughly " in out
    assert "time         the recipe, crisp: 6,000 steps of 13 images, roughly " in out
