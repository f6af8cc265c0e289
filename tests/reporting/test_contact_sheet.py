"""A contact sheet shows every pixel as the network sees it."""

import numpy as np

from sharingan_jax.reporting.contact_sheet import COLUMNS, GAP, PAPER, contact_sheet


def test_images_stand_in_rows_unchanged_below_their_caption() -> None:
    images = np.random.default_rng(0).integers(0, 256, (COLUMNS + 2, 64, 64, 3), np.uint8)
    sheet = contact_sheet([("cats", images)])
    side, caption = 64 + GAP, 40
    assert sheet.shape == (caption + 2 * side + GAP, COLUMNS * side + GAP, 3)
    for i in (0, COLUMNS - 1, COLUMNS + 1):
        top, left = caption + GAP + i // COLUMNS * side, GAP + i % COLUMNS * side
        np.testing.assert_array_equal(sheet[top : top + 64, left : left + 64], images[i])
    assert (sheet[caption : caption + GAP] == PAPER).all()
    assert (sheet[caption + side :, 2 * side + GAP :] == PAPER).all()  # No image: paper.


def test_small_images_are_enlarged_and_transparent_ones_lie_on_a_checkerboard() -> None:
    images = np.zeros((1, 32, 32, 4), np.uint8)
    images[0, :, 16:] = [10, 20, 30, 255]
    sheet = contact_sheet([("a", images), ("b", images[..., :1])])
    tile = sheet[40 + GAP : 40 + GAP + 64]
    left = int(np.flatnonzero((tile[0] == [10, 20, 30]).all(1))[0]) - 32
    assert (tile[:, left + 32 : left + 64] == [10, 20, 30]).all()
    assert {tuple(pixel) for pixel in tile[:, left : left + 32].reshape(-1, 3).tolist()} == {(255,) * 3, (204,) * 3}
