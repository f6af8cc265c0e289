"""Networks that know classes learn them: an image of a class looks like that class."""

from pathlib import Path

import numpy as np
import pytest
from conftest import TINY

import main
import sharingan_jax as sg

pytestmark = pytest.mark.slow


def test_networks_learn_the_class(tmp_path: Path) -> None:
    """After 240 steps with `crisp`'s loss, images of the white class are far lighter than those of the black one.

    With seeds 0 to 7 they were lighter by 128 to 206, so that a processor's own rounding does not decide.
    """
    y = np.arange(42) % 2
    noise = np.random.default_rng(0).integers(0, 30, (42, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "two.npz", x=np.where(y[:, None, None, None] == 1, 255 - noise, noise).astype(np.uint8), y=y)
    arguments = ["--config", "smoke", "--workdir", str(tmp_path / "run"), *TINY, f"--config.data.path={tmp_path / 'two.npz'}"]
    arguments += [f"--config.{name}.{of}=240" for name, of in (("train", "steps"), ("sample", "every"), ("checkpoint", "every"))]
    arguments += ["--config.model.classes=2", "--config.model.nz=1", "--config.model.gen.norm=pixel"]
    arguments += ["--config.loss.name=relativistic", "--config.loss.r1=1.0"]
    for net in ("gen", "disc"):
        arguments += [f"--config.optim.{net}.lr=2e-3", f"--config.model.{net}.spectral_norm=false"]
    assert main.main(arguments) == 0
    run = sg.load_run(tmp_path / "run")
    black, white = (run.sample(16, label=label, weights="raw").mean() for label in (0, 1))
    assert white > black + 60
