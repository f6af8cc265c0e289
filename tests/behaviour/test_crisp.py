"""`crisp` on tiny networks: its new parts resume, repeat, stack and export as exactly as the old ones do."""

from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, manifest_of, metrics_of

import main

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_quickly")]

PARTS = [
    *TINY, "--config.train.steps=6", "--config.sample.every=3", "--config.checkpoint.every=3", "--config.data.turns=4",
    "--config.loss.r2=0.5", "--config.loss.penalty_every=2", "--config.augment.rotation=180", "--config.augment.mirror=true",
    "--config.augment.scale=0.1", "--config.augment.target=0.1", "--config.augment.adapt_images=100",
    "--config.augment.noise=0.1", "--config.augment.noise_steps=5", "--config.loss.lecam=0.1", "--config.loss.consistency=0.1",
    "--config.loss.flip=0.1", "--config.model.dropout=0.1", "--config.model.gen.arch=resnet", "--config.optim.disc.name=sgd",
    "--config.log.tensorboard=false", "--config.train.steps_per_dispatch=3",
]  # fmt: skip


def _arguments(folder: Path, workdir: Path, *more: str) -> list[str]:
    data = ["--config.data.source=folder", f"--config.data.path={folder}"]
    return ["--config", "crisp", "--workdir", str(workdir), *PARTS, *data, *more]


@pytest.fixture(scope="module")
def run(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps of a tiny `crisp`, without a stop. Read-only."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    assert main.main(_arguments(image_folder, workdir)) == 0
    return workdir


def test_a_stopped_run_continues_bit_for_bit(run: Path, image_folder: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "stopped"
    assert main.main(_arguments(image_folder, workdir, "--config.train.steps=3")) == 0
    assert main.main(_arguments(image_folder, workdir)) == 0
    assert manifest_of(workdir)["digest"] == manifest_of(run)["digest"]
    assert metrics_of(workdir) == metrics_of(run)
    probabilities = [record["augment_probability"] for record in metrics_of(run)]
    assert probabilities[0] == pytest.approx(0.3)
    assert len(set(probabilities)) > 1
    for step in (3, 6):
        grid = f"samples/step_{step:06d}.png"
        assert (workdir / grid).read_bytes() == (run / grid).read_bytes()


def test_verify_repeats_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["verify", "--workdir", str(run)]) == 0
    assert "bitwise identical" in capsys.readouterr().out


def test_stacked_seeds_are_single_seeds_to_rounding(run: Path, image_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seeds"
    assert main.main(_arguments(image_folder, folder, "--config.train.seeds=2", "--config.train.stacked_seeds=2")) == 0
    alone, stacked = metrics_of(run), metrics_of(folder / "seed-0")
    for name in ("loss_d", "loss_g", "grad_norm_d"):
        np.testing.assert_allclose([record[name] for record in stacked], [record[name] for record in alone], rtol=0.02)


def test_a_sampler_is_exported_and_pytorchs_names_are_refused_with_the_setting(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "gen.stablehlo"
    assert main.main(["export", "--workdir", str(run), "--format", "stablehlo", "--out", str(model)]) == 0
    assert main.main(["sample", "--workdir", str(run), "--num", "4", "--out", str(tmp_path / "ours.npy")]) == 0
    assert main.main(["sample", "--model", str(model), "--num", "4", "--out", str(tmp_path / "theirs.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "theirs.npy"), np.load(tmp_path / "ours.npy"), atol=1e-4)
    capsys.readouterr()
    assert main.main(["export", "--workdir", str(run), "--format", "pytorch", "--out", str(tmp_path / "gen.safetensors")]) == 2
    assert "model.gen.arch=resnet: expected dcgan for PyTorch's names" in capsys.readouterr().err
    assert not (tmp_path / "gen.safetensors").exists()


def test_a_symmetric_generator_and_a_batchs_own_logit_resume_and_stack(image_folder: Path, tmp_path: Path) -> None:
    # Apart from the other parts, which make six steps of so small a system chaotic: there rounding alone grows to tenths.
    settings = [
        *TINY, "--config.train.steps=4", "--config.sample.every=2", "--config.checkpoint.every=2", "--config.data.turns=4",
        "--config.model.symmetry=auto", "--config.model.minibatch_logit=true", "--config.log.tensorboard=false",
        "--config.train.steps_per_dispatch=2", "--config.data.source=folder", f"--config.data.path={image_folder}",
    ]  # fmt: skip
    train = ["--config", "crisp", *settings]
    whole, stopped, seeds = (tmp_path / name for name in ("whole", "stopped", "seeds"))
    assert main.main([*train, "--workdir", str(whole)]) == 0
    for steps in (2, 4):
        assert main.main([*train, "--workdir", str(stopped), f"--config.train.steps={steps}"]) == 0
    assert manifest_of(stopped)["digest"] == manifest_of(whole)["digest"]
    assert metrics_of(stopped) == metrics_of(whole)
    assert main.main([*train, "--workdir", str(seeds), "--config.train.seeds=2", "--config.train.stacked_seeds=2"]) == 0
    alone, stacked = metrics_of(whole), metrics_of(seeds / "seed-0")
    for name in ("loss_d", "loss_g", "grad_norm_d"):
        np.testing.assert_allclose([record[name] for record in stacked], [record[name] for record in alone], rtol=1e-3)
