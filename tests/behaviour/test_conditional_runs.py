"""Runs that know classes: both feeds, a stop, `verify` and stacked seeds keep the bits; samples show the class asked for."""

from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, manifest_of, metrics_of

import main
import sharingan_jax as sg

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_quickly")]

PARTS = [
    *TINY, "--config.model.classes=2", "--config.train.steps=6", "--config.sample.every=3", "--config.checkpoint.every=3",
    "--config.train.steps_per_dispatch=3", "--config.log.tensorboard=false", "--config.train.ema_half_life=100",
]  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty-two images of two classes, nearly black and nearly white ones. Step 6, the last of an epoch, has a smaller batch."""
    y = np.arange(42) % 2
    noise = np.random.default_rng(0).integers(0, 30, (42, 32, 32, 3), np.uint8)
    path = tmp_path_factory.mktemp("images") / "two.npz"
    np.savez(path, x=np.where(y[:, None, None, None] == 1, 255 - noise, noise).astype(np.uint8), y=y)
    return path


def _arguments(images: Path, workdir: Path, *more: str) -> list[str]:
    return ["--config", "smoke", "--workdir", str(workdir), *PARTS, f"--config.data.path={images}", *more]


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps without a stop. Read-only."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    assert main.main(_arguments(images, workdir)) == 0
    return workdir


def test_a_stop_and_the_other_feed_change_no_bit_and_verify_repeats_them(
    run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "stopped"
    assert main.main(_arguments(images, workdir, "--config.train.steps=3")) == 0
    assert main.main(_arguments(images, workdir, "--config.data.feed=tfdata")) == 0
    assert manifest_of(workdir)["digest"] == manifest_of(run)["digest"]
    assert metrics_of(workdir) == metrics_of(run)
    assert main.main(["verify", "--workdir", str(workdir)]) == 0
    assert "bitwise identical" in capsys.readouterr().out


def test_stacked_seeds_are_single_seeds_to_rounding(run: Path, images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seeds"
    for feed in ("device", "tfdata"):
        more = ("--config.train.seeds=2", "--config.train.stacked_seeds=2", f"--config.data.feed={feed}")
        assert main.main(_arguments(images, folder / feed, *more)) == 0
        for name in ("loss_d", "loss_g", "grad_norm_d"):
            stacked = [record[name] for record in metrics_of(folder / feed / "seed-0")]
            np.testing.assert_allclose(stacked, [record[name] for record in metrics_of(run)], rtol=0.02)


def test_other_classes_of_the_same_images_are_other_data(
    run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(images) as arrays:
        other = tmp_path / "other.npz"
        np.savez(other, x=arrays["x"], y=1 - arrays["y"])
    workdir = tmp_path / "run"
    assert main.main(_arguments(images, workdir, "--config.train.steps=3")) == 0
    assert main.main(_arguments(other, workdir)) == 2
    assert "the same images, with other classes" in capsys.readouterr().err


def test_a_wrong_number_of_classes_is_refused_with_the_right_one(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(_arguments(images, tmp_path / "run", "--config.model.classes=3")) == 2
    expected = "model.classes=3: expected 2, the number of classes of these images. Use --config.model.classes=2."
    assert expected in capsys.readouterr().err
    alone = ["--config", "smoke", "--workdir", str(tmp_path / "run"), "--config.model.classes=2", "--config.train.batch_size=8"]
    without = tmp_path / "without.npy"
    np.save(without, np.zeros((20, 32, 32, 3), np.uint8))
    assert main.main([*alone, f"--config.data.path={without}"]) == 2
    assert "expected 0, since these images have no classes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_samples_are_of_the_class_asked_for(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = sg.load_run(run)
    ones = loaded.sample(6, label="1")
    np.testing.assert_array_equal(ones, loaded.sample(6, label=1))
    in_turn, zeros = loaded.sample(6), loaded.sample(6, label=0)
    assert not np.array_equal(zeros, ones)
    sampler = loaded.sampler(statistics="running")  # So that an image does not depend on the others.
    z = np.random.default_rng(0).standard_normal((4, sampler.nz)).astype(np.float32)
    one_hot = [np.eye(2, dtype=np.float32)[labels] for labels in ([0, 1, 0, 1], [1, 1, 1, 1])]
    mixed, all_ones = (sampler.draw(np.concatenate([z, hot], axis=1)) for hot in one_hot)
    np.testing.assert_array_equal(mixed[1::2], all_ones[1::2])
    assert (mixed[::2] != all_ones[::2]).any(axis=(1, 2, 3)).all()
    assert in_turn.shape == (6, 32, 32, 3)
    assert main.main(["sample", "--workdir", str(run), "--class", "2", "--out", str(tmp_path / "grid.png")]) == 2
    assert "--class=2: expected 0 to 1." in capsys.readouterr().err
    with pytest.raises(
        sg.UserError,
        match=r"latents: expected numbers of shape \[N, 10\], N at least 1, got float32 \[4, 8\]\. They end in the class",
    ):
        loaded.generator()(z)


def test_files_of_latents_walks_and_an_exported_sampler_know_classes(run: Path, tmp_path: Path) -> None:
    z = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    np.save(tmp_path / "z.npy", z)
    np.save(tmp_path / "all.npy", np.concatenate([z, np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]], axis=1))
    model = tmp_path / "gen.stablehlo"
    assert main.main(["export", "--workdir", str(run), "--format", "stablehlo", "--out", str(model)]) == 0
    for name, source in (("plain", "z"), ("with classes", "all"), ("exported", "z")):
        of = ["--model", str(model)] if name == "exported" else ["--workdir", str(run)]
        of += [] if name == "exported" else ["--statistics", "running"]  # The exported one has them.
        drawn = ["sample", *of, "--latents", str(tmp_path / f"{source}.npy"), "--out", str(tmp_path / f"{name}.npy")]
        assert main.main(drawn) == 0
    plain = np.load(tmp_path / "plain.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "with classes.npy"), plain)
    np.testing.assert_allclose(np.load(tmp_path / "exported.npy"), plain, atol=1e-4)
    assert main.main(["sample", "--workdir", str(run), "--num", "2", "--out", str(tmp_path / "walk.gif")]) == 0
    between = ["--latents", str(tmp_path / "z.npy"), "--class", "1", "--between", "0,1,2,3", "--columns", "2", "--num", "4"]
    assert main.main(["sample", "--workdir", str(run), *between, "--out", str(tmp_path / "corners.npy")]) == 0
    given = np.concatenate([z, np.tile(np.float32([0, 1]), (4, 1))], axis=1)
    expected = sg.load_run(run).generator(statistics="running")(given)
    np.testing.assert_allclose(np.load(tmp_path / "corners.npy"), expected, atol=1e-5)


def test_pytorchs_forms_are_refused_with_the_setting(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form, name, *more in (("pytorch", "gen.safetensors"), ("trace", "trace.npz", "--steps", "2")):
        assert main.main(["export", "--workdir", str(run), "--format", form, "--out", str(tmp_path / name), *more]) == 2
        assert "model.classes=2: expected 0 for PyTorch's names" in capsys.readouterr().err


def test_a_projection_keeps_the_class_of_its_start(run: Path, images: Path) -> None:
    found = sg.project(run, images, starts=2, steps=3, samples=10)
    np.testing.assert_array_equal(np.sort(found.latents[:, 8:], axis=1), np.tile([0.0, 1.0], (42, 1)))


def test_evaluation_says_how_many_samples_are_as_asked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (evaluation,) = sg.evaluate(run, features=["pixels"], samples=100)
    assert evaluation.modes is not None
    assert 0 <= evaluation.modes["as_asked"] <= 1
    assert main.main(["evaluate", "--workdir", str(run), "--features", "pixels", "--samples", "100"]) == 0
    assert f"{evaluation.modes['as_asked']:.0%} of the samples are of the class that was asked for" in capsys.readouterr().out
