"""`project` from a run's folder: files, references, the same bits twice, and one line for each mistake."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from initial_runs import write_initial_run
from PIL import Image

import main
from sharingan_jax.data.emblems.draw import draw_emblem
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.project import project
from sharingan_jax.evaluation.projection import PRIOR
from sharingan_jax.run.latents import draw_run_latents
from sharingan_jax.run.load import load_run
from sharingan_jax.run.sample import sample

FEW = {"starts": 2, "steps": 20, "samples": 30}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_initial_run(tmp_path_factory.mktemp("runs") / "run", data__source="emblems")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two emblems that no run was trained on."""
    folder = tmp_path_factory.mktemp("images")
    for i in (200, 201):
        Image.fromarray(draw_emblem(i, size=48)).save(folder / f"{i}.png")
    return folder


@pytest.mark.slow
def test_a_projection_is_nearer_than_every_sample_and_sample_draws_it_again(
    run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = project(run, images, tmp_path / "found", **FEW)
    assert [of.name for of in found.images] == ["200.png", "201.png"]
    assert len(found.training) == 4
    for of in (*found.images, *found.training):
        assert of.distance == pytest.approx(of.pixels + of.features)
        start = draw_run_latents(0, count=of.sample + 1, nz=8)[-1]  # The loss falls, and has the prior in it.
        assert of.distance + PRIOR * (of.length - 1) ** 2 <= of.nearest_sample + PRIOR * ((start**2).mean() - 1) ** 2 + 1e-5
    assert (found.latents.shape, found.latents.dtype) == ((2, 8), np.float32)
    assert (found.reconstructions.shape, found.reconstructions.dtype) == ((2, 32, 32, 3), np.uint8)
    again = sample(run, f"{tmp_path}/again/", latents=tmp_path / "found" / "latents.npy", statistics="running")
    drawn = np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / "again").iterdir())])
    np.testing.assert_allclose(drawn.astype(int), found.reconstructions, atol=1)
    np.testing.assert_array_equal(again.latents, found.latents)
    record = json.loads((tmp_path / "found" / "projection.json").read_text())
    assert record["images"][0]["distance"] == found.images[0].distance
    assert (record["format"], record["steps"], record["note"]) == (1, 20, "")
    with Image.open(tmp_path / "found" / "projection.png") as sheet:
        assert sheet.height > 4 * 128
    assert "projecting 2 images and 4 training images" in capsys.readouterr().out


@pytest.mark.slow
def test_an_image_that_the_generator_can_make_is_approached(run: Path) -> None:
    pixels = load_run(run).sample(3, seed=9, statistics="running")
    found = project(run, pixels, **(FEW | {"steps": 60}))
    assert min(of.distance / of.nearest_sample for of in found.images) < 0.9


@pytest.mark.slow
def test_the_nearest_sample_is_the_one_that_sample_draws(run: Path) -> None:
    pixels = load_run(run).sample(30, seed=3, statistics="running")[7:8]
    found = project(run, pixels, seed=3, **FEW)
    assert found.images[0].sample == 7
    assert found.images[0].nearest_sample < 1e-4


@pytest.mark.slow
def test_the_same_command_gives_the_same_bytes(run: Path, images: Path, tmp_path: Path) -> None:
    options = [word for name, value in FEW.items() for word in (f"--{name}", str(value))]
    for name in ("a", "b"):
        command = ["project", "--workdir", str(run), "--images", str(images / "200.png"), "--out", str(tmp_path / name)]
        assert main.main([*command, *options]) == 0
    for name in ("latents.npy", "projection.json", "projection.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("images", {"steps": 0}, "steps=0: expected 1 to 100000. Use 1."),
        ("images", {"starts": 40, "samples": 30}, "starts=40: expected 1 to 30. Use 30."),
        ("none", {}, "images=none: expected a path that exists"),
        ("images", {"weights": "averaged"}, "keeps no averaged weights. Set train.ema_half_life=10000 in a new run."),
        ("images", {"out": "."}, "out=.: exists and is not an empty folder. Give a new folder."),
        (np.zeros((2, 8, 8, 3), np.uint8), {}, "images: expected uint8 [N, 32, 32, 3], got uint8 [2, 8, 8, 3]."),
    ],
)
def test_a_mistake_in_projecting_is_one_line(
    given: Any, options: dict[str, Any], message: str, run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UserError) as refusal:
        project(run, images if isinstance(given, str) and given == "images" else given, **options)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
