"""Sample grids as torchvision makes them, PNG files and GIFs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sharingan_jax.errors import UserError
from sharingan_jax.reporting import grids as grids_module
from sharingan_jax.reporting.grids import (
    add_caption,
    enlarge_grid,
    lay_on_white,
    make_grid,
    save_png,
    save_training_gif,
    save_walk_gif,
    side_by_side,
    to_u8,
    walk_frame,
)  # fmt: skip


def test_a_grid_is_filled_left_to_right_and_normalised_over_all() -> None:
    # Three grey images of one pixel, two a row, padding 1: by hand.
    images = np.array([-0.5, 0.0, 0.5]).reshape(3, 1, 1, 1)
    expected = np.zeros((5, 5), int)
    expected[1, 1], expected[1, 3], expected[3, 1] = 0, 128, 255  # 0.5 * 255 + 0.5 = 128
    np.testing.assert_array_equal(make_grid(images, columns=2, padding=1)[..., 0], expected)


def test_the_default_grid_has_eight_a_row_and_two_pixels_between() -> None:
    assert make_grid(np.random.default_rng(0).uniform(-1, 1, (25, 64, 64, 3))).shape == (4 * 66 + 2, 8 * 66 + 2, 3)
    assert make_grid(np.random.default_rng(0).uniform(-1, 1, (3, 64, 64, 1))).shape == (66 + 2, 3 * 66 + 2, 3)


def test_equal_values_do_not_divide_by_zero() -> None:
    assert not make_grid(np.full((2, 4, 4, 3), 0.3)).any()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_single_image_has_no_frame_and_no_contrast_of_its_own(channels: int) -> None:
    image = np.random.default_rng(0).uniform(-0.2, 0.3, (1, 8, 8, channels))
    np.testing.assert_array_equal(make_grid(image), np.broadcast_to(to_u8(image[0]), (8, 8, 3)))


def test_images_with_non_finite_values_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        make_grid(np.full((1, 4, 4, 3), np.nan))


@given(st.integers(0, 255))
def test_bytes_survive_scaling_and_back(value: int) -> None:
    assert to_u8(np.float32(value) / np.float32(127.5) - 1) == value


def test_values_outside_the_range_are_clamped() -> None:
    assert to_u8(np.array([-3.0, 3.0])).tolist() == [0, 255]


def test_a_png_holds_the_same_pixels_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    for name in ("a.png", "b.png"):
        save_png(tmp_path / name, image)
    with Image.open(tmp_path / "a.png") as read:
        np.testing.assert_array_equal(np.asarray(read), image)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    save_png(tmp_path / "grey.png", image[..., :1])


def _frames(path: Path) -> list[tuple[np.ndarray, int]]:
    """Return each frame of a GIF as uint8 [H, W, 3], with its milliseconds."""
    with Image.open(path) as gif:
        assert gif.info["loop"] == 0  # for ever
        frames = []
        for i in range(gif.n_frames):  # type: ignore[attr-defined]
            gif.seek(i)
            frames.append((np.asarray(gif.convert("RGB")), gif.info["duration"]))
        return frames


def _grids(folder: Path, values: dict[int, int], *, side: int = 150) -> dict[int, Path]:
    grids = {step: folder / f"step_{step:06d}.png" for step in values}
    for step, path in grids.items():
        save_png(path, np.full((side, side, 3), values[step], np.uint8))
    return grids


def test_a_training_gif_repeats_and_rests_on_its_last_frame(tmp_path: Path) -> None:
    save_training_gif(tmp_path / "training.gif", _grids(tmp_path, {300: 200, 100: 0, 200: 100}))
    frames = _frames(tmp_path / "training.gif")
    assert [duration for _, duration in frames] == [500, 500, 2000]
    # In the order of steps. One palette of few colours serves all.
    assert [int(frame[-1, 0, 0]) for frame, _ in frames] == pytest.approx([0, 100, 200], abs=40)


def test_a_training_gif_is_enlarged_by_a_whole_factor_and_has_a_strip_for_the_step(tmp_path: Path) -> None:
    save_training_gif(tmp_path / "training.gif", _grids(tmp_path, {100: 0, 200: 0}))
    (first, _), (second, _) = _frames(tmp_path / "training.gif")
    assert first.shape == (40 + 450, 450, 3)  # 3 · 150, the first multiple of 150 that is at least 400
    assert not first[40:].any()
    assert first[:40].max() == 255
    assert (first[:40] < 128).any()
    assert (first[:40] != second[:40]).any()  # "step 100", "step 200"


def test_a_training_gif_leaves_out_grids_of_another_size(tmp_path: Path) -> None:
    grids = _grids(tmp_path, {100: 0}, side=90) | _grids(tmp_path, {200: 0})
    save_training_gif(tmp_path / "training.gif", grids)
    assert [frame.shape for frame, _ in _frames(tmp_path / "training.gif")] == [(490, 450, 3)]


def test_a_training_gif_of_many_grids_takes_every_second_or_third_and_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grids_module, "MOST_FRAMES", 3)
    save_training_gif(tmp_path / "training.gif", _grids(tmp_path, {step: 30 * step for step in range(1, 8)}))
    corners = [int(frame[-10, 10, 0]) for frame, _ in _frames(tmp_path / "training.gif")]
    np.testing.assert_allclose(corners, [30, 120, 210], atol=4)  # Steps 1, 4 and 7.


def test_a_training_gif_names_a_grid_that_cannot_be_read(tmp_path: Path) -> None:
    grids = _grids(tmp_path, {100: 0, 200: 0})
    grids[200].write_bytes(grids[200].read_bytes()[:40])
    with pytest.raises(UserError, match=r"step_000200\.png: not a readable PNG"):
        save_training_gif(tmp_path / "training.gif", grids)


@pytest.mark.parametrize(("side", "shown"), [(32, 256), (64, 256), (128, 256)])
def test_a_walk_shows_twelve_images_a_second_without_a_pause_at_256_pixels(tmp_path: Path, side: int, shown: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (24, side, side, 3), np.uint8)
    save_walk_gif(tmp_path / "walk.gif", [walk_frame(image) for image in images])
    frames = _frames(tmp_path / "walk.gif")
    durations = [duration for _, duration in frames]
    assert len(durations) == 24
    assert set(durations) == {80, 90}
    assert sum(durations[:12]) == sum(durations[12:]) == 1000
    assert {frame.shape for frame, _ in frames} == {(shown, shown, 3)}


def test_a_gif_of_grey_images_keeps_their_values(tmp_path: Path) -> None:
    images = np.zeros((2, 32, 32, 1), np.uint8)
    images[0, :16], images[1, 16:] = 255, 255
    save_walk_gif(tmp_path / "walk.gif", [walk_frame(image) for image in images])
    for (frame, _), image in zip(_frames(tmp_path / "walk.gif"), images, strict=True):
        np.testing.assert_array_equal(frame[::8, ::8], np.broadcast_to(image, (32, 32, 3)))


@pytest.mark.parametrize(("side", "enlarged"), [(32, 416), (172, 516), (332, 664), (400, 400), (652, 652)])
def test_a_grid_is_enlarged_by_the_smallest_whole_factor_to_at_least_400_pixels(side: int, enlarged: int) -> None:
    grid = np.random.default_rng(0).integers(0, 256, (side, side // 2, 3), np.uint8)
    large = enlarge_grid(grid)
    assert large.shape[0] == enlarged
    factor = enlarged // side
    np.testing.assert_array_equal(large[factor - 1 :: factor, ::factor], grid)


def test_a_caption_stands_above_an_unchanged_image_and_widens_a_narrow_one() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 420, 3), np.uint8)
    np.testing.assert_array_equal(add_caption(image, "step 100")[40:], image)
    narrow = add_caption(image[:, :10], "step 100000")
    assert narrow.shape[0] == 90
    assert narrow.shape[1] > 100
    left = (narrow.shape[1] - 10) // 2
    np.testing.assert_array_equal(narrow[40:, left : left + 10], image[:, :10])
    assert (narrow[:40, [0, -1]] == 255).all()  # No letter is cut off.


def test_transparent_images_lie_on_a_checkerboard() -> None:
    images = np.full((2, 16, 16, 4), -1, np.float32)  # Clear and black.
    images[0, :8, :8] = [1, -1, -1, 1]  # Opaque and red.
    images[1, :8, :8, 3] = 1  # Opaque and black.
    grid = make_grid(images, columns=2, padding=0)
    assert grid.shape == (16, 32, 3)
    assert grid[0, 0].tolist() == [255, 0, 0]
    assert grid[0, 16].tolist() == [0, 0, 0]
    assert grid[8, 8].tolist() == [255, 255, 255]
    assert grid[0, 8].tolist() == [204, 204, 204]
    clear = np.array([[[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 51]]]], np.uint8)
    assert lay_on_white(clear).tolist() == [[[[255] * 3, [10, 20, 30], [204] * 3]]]
    assert lay_on_white(clear[..., :3]) is not None
    np.testing.assert_array_equal(lay_on_white(clear[..., :3]), clear[..., :3])


def test_pictures_side_by_side_keep_their_pixels_under_their_names() -> None:
    left, right = np.random.default_rng(0).integers(0, 256, (2, 50, 200, 3), np.uint8)
    sheet = side_by_side({"raw": left, "averaged": right[..., :1]})
    assert sheet.shape == (90, 408, 3)
    np.testing.assert_array_equal(sheet[40:, :200], left)
    np.testing.assert_array_equal(sheet[40:, 208:], np.broadcast_to(right[..., :1], (50, 200, 3)))
    assert (sheet[:, 200:208] == 255).all()
    assert (sheet[:40, :200] < 128).any()
