"""Grids as torchvision makes them, and files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sharingan_jax.reporting.grids import make_grid, save_gif, save_png, to_u8


def test_a_grid_is_filled_left_to_right_and_normalised_over_all() -> None:
    # Three grey pictures of one pixel, two a row, padding 1: by hand.
    images = np.array([-0.5, 0.0, 0.5]).reshape(3, 1, 1, 1)
    expected = np.zeros((5, 5), int)
    expected[1, 1], expected[1, 3], expected[3, 1] = 0, 128, 255  # 0.5 * 255 + 0.5 = 128
    np.testing.assert_array_equal(make_grid(images, columns=2, padding=1)[..., 0], expected)


def test_the_default_grid_has_eight_a_row_and_two_pixels_between() -> None:
    assert make_grid(np.random.default_rng(0).uniform(-1, 1, (25, 64, 64, 3))).shape == (4 * 66 + 2, 8 * 66 + 2, 3)
    assert make_grid(np.random.default_rng(0).uniform(-1, 1, (3, 64, 64, 1))).shape == (66 + 2, 3 * 66 + 2, 3)


def test_equal_values_do_not_divide_by_zero() -> None:
    assert not make_grid(np.full((2, 4, 4, 3), 0.3)).any()


def test_pictures_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        make_grid(np.full((1, 4, 4, 3), np.nan))


@given(st.integers(0, 255))
def test_bytes_survive_the_way_there_and_back(value: int) -> None:
    assert to_u8(np.float32(value) / np.float32(127.5) - 1) == value


def test_what_lies_outside_is_clamped() -> None:
    assert to_u8(np.array([-3.0, 3.0])).tolist() == [0, 255]


def test_a_png_holds_the_same_pixels_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    for name in ("a.png", "b.png"):
        save_png(tmp_path / name, image)
    with Image.open(tmp_path / "a.png") as read:
        np.testing.assert_array_equal(np.asarray(read), image)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    save_png(tmp_path / "grey.png", image[..., :1])


def test_a_film_repeats_and_rests_on_its_last_frame(tmp_path: Path) -> None:
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    frames[1], frames[2] = 100, 200
    save_png(tmp_path / "first.png", frames[0])
    save_gif(tmp_path / "film.gif", [tmp_path / "first.png", frames[1], frames[2]], frame_ms=100, last_ms=900)
    with Image.open(tmp_path / "film.gif") as film:
        shown = []
        for i in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(i)
            shown.append((int(np.asarray(film.convert("RGB"))[0, 0, 0]), film.info["duration"]))
        assert film.info["loop"] == 0
    assert [duration for _, duration in shown] == [100, 100, 900]
    assert [value for value, _ in shown] == pytest.approx([0, 100, 200], abs=40)  # One palette of few colours serves all.


def test_frames_of_another_size_are_left_out(tmp_path: Path) -> None:
    save_gif(tmp_path / "film.gif", [np.zeros((4, 4, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)])
    with Image.open(tmp_path / "film.gif") as film:
        assert film.size == (8, 8)
