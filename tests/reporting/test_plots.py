"""Figures are drawn for short, long and gappy runs, and are the same bytes for the same numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharingan_jax.reporting.plots import _running_mean, loss_figure, real_vs_fake_figure


def _records(count: int, *, n_critic: int = 1) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    names = ("loss_d", "loss_g", "d_real", "d_fake_before", "d_fake_after", "grad_norm_d", "grad_norm_g")
    records: list[dict[str, Any]] = []
    for step in range(1, count + 1):
        values = {name: float(rng.uniform(0.01, 1)) for name in names}
        if step % n_critic:
            values.update(dict.fromkeys(("loss_g", "d_fake_after", "grad_norm_g")))  # type: ignore[arg-type]
        records.append({"step": step, "epoch": 1, "time": 0.1 * step, **values})
    return records


@pytest.mark.parametrize(("count", "n_critic"), [(1, 1), (1, 2), (3, 1), (50, 5), (20_000, 1)])
def test_curves_are_drawn_for_any_number_of_steps(tmp_path: Path, count: int, n_critic: int) -> None:
    loss_figure(tmp_path / "losses.png", _records(count, n_critic=n_critic), title="a run")
    with Image.open(tmp_path / "losses.png") as image:
        assert image.size == (990, 935)
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 20


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        loss_figure(tmp_path / name, _records(30), title="a run")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_running_mean_takes_fewer_neighbours_at_the_ends() -> None:
    np.testing.assert_allclose(_running_mean(np.array([1.0, 2.0, 6.0, 3.0]), width=3), [1.5, 3.0, 11 / 3, 4.5])


@pytest.mark.parametrize("channels", [1, 3])
def test_real_and_generated_pictures_stand_side_by_side(tmp_path: Path, channels: int) -> None:
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (25, 16, 16, channels), np.uint8)
    real_vs_fake_figure(tmp_path / "pair.png", real, rng.uniform(-1, 1, (25, 16, 16, channels)))
    with Image.open(tmp_path / "pair.png") as image:
        assert image.size == (1100, 594)
