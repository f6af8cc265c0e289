"""Plots of short and long runs and of runs with missing values; the same numbers give the same bytes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharingan_jax.gan.losses import LOSSES
from sharingan_jax.reporting.grids import enlarge_grid, make_grid
from sharingan_jax.reporting.plots import _axis_title, _line_key, _running_mean, loss_figure, real_vs_fake_figure


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
    loss_figure(tmp_path / "losses.png", _records(count, n_critic=n_critic), loss=LOSSES["bce"], title="a run")
    with Image.open(tmp_path / "losses.png") as image:
        assert image.size == (990, 935)
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 20


@pytest.mark.parametrize("since", [0, 15, 30])
def test_a_probability_that_adapts_has_a_curve_from_the_step_on_at_which_it_is_recorded(tmp_path: Path, since: int) -> None:
    records = _records(30)
    for record in records[since:]:
        record["augment_probability"] = 0.3
    loss_figure(tmp_path / "losses.png", records, loss=LOSSES["bce"], title="a run")
    with Image.open(tmp_path / "losses.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert (pixels == (0xCC, 0x79, 0xA7)).all(1).any() == (since < 30)


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        loss_figure(tmp_path / name, _records(30), loss=LOSSES["bce"], title="a run")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_axes_speak_of_nats_and_probabilities_only_with_losses_that_have_them() -> None:
    """The unit of a logarithm is the nat. Only cross-entropy trains the sigmoid of single logits towards a probability."""
    titles = {name: (_axis_title("loss", loss), _axis_title("answer", loss)) for name, loss in LOSSES.items()}
    no_probability = "mean sigmoid of D's logits:\nno probability with this loss"
    assert titles == {
        "bce": ("loss (nats)", "D's mean probability"),
        "bce_clamped": ("loss (nats)", "D's mean probability"),
        "relativistic": ("loss (nats)", no_probability),
        **dict.fromkeys(("hinge", "least_squares", "wasserstein"), ("loss", no_probability)),
    }


def test_a_running_mean_takes_fewer_neighbours_at_the_ends() -> None:
    np.testing.assert_allclose(_running_mean(np.array([1.0, 2.0, 6.0, 3.0]), width=3), [1.5, 3.0, 11 / 3, 4.5])


def test_the_title_says_how_many_steps_the_running_mean_covers() -> None:
    assert _line_key(800) == "thin lines: single steps; thick lines: running mean over 20 steps"
    assert _line_key(79) == "lines: single steps"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 4, 25])
def test_real_and_generated_images_are_next_to_each_other_without_an_empty_band(
    tmp_path: Path, channels: int, count: int
) -> None:
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (count, 16, 16, channels), np.uint8)
    fake = rng.uniform(-1, 1, (count, 16, 16, channels))
    real_vs_fake_figure(tmp_path / "pair.png", real, fake, columns=5)
    # 21 pixels a cell and 5 more: 1 image 16 x 16, 4 images 26 x 89, 25 images 110 x 110; enlarged to at least 400.
    height, width = {1: (400, 400), 4: (5 * 26, 5 * 89), 25: (4 * 110, 4 * 110)}[count]
    with Image.open(tmp_path / "pair.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (40 + height + 20, 2 * width + 3 * 20, 3)
    for i, images in enumerate((real / 127.5 - 1.0, fake)):
        left = 20 + i * (width + 20)
        grid = enlarge_grid(make_grid(images, columns=5, padding=5, pad_value=1.0))
        np.testing.assert_array_equal(pixels[40 : 40 + height, left : left + width], grid)


def test_fewer_real_than_generated_images_get_a_panel_of_the_same_pixels(tmp_path: Path) -> None:
    real_vs_fake_figure(tmp_path / "pair.png", np.zeros((2, 16, 16, 3), np.uint8), np.zeros((25, 16, 16, 3)), columns=5)
    with Image.open(tmp_path / "pair.png") as image:
        assert image.size == (2 * 440 + 60, 40 + 440 + 20)
