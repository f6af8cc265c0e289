"""Turned and mirrored copies against numpy, distances that are minimised over them, and whether orientation is free."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sharingan_jax.data.emblems.draw import draw_emblems
from sharingan_jax.evaluation.turns import (
    ROUNDING,
    SIDE,
    UNTURNED,
    Orientation,
    Turns,
    align,
    distances,
    find_template,
    measure_orientation,
    shrink,
    soften,
    turn,
)

ALL = Turns()


@pytest.fixture(scope="module")
def emblems() -> np.ndarray:
    """Forty emblems as distances take them, float32 [40, 32, 32, 3]."""
    return soften(draw_emblems(40, size=SIDE)[0])


def _noise(seed: int, count: int, *, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).random((count, side, side, 3), np.float32)


def _turned(images: np.ndarray) -> np.ndarray:
    """Return each image under a random one of 50 turns. Only every fifth of them is among the 72 that distances try."""
    chosen = np.random.default_rng(5).integers(0, 50, len(images))
    return np.concatenate([turn(image[None], int(index), Turns(angles=50)) for image, index in zip(images, chosen, strict=True)])


def test_a_quarter_turn_is_numpys_rot90_counter_clockwise() -> None:
    images = _noise(0, 3)
    for quarter in (1, 2, 3):
        turned = turn(images, quarter * ALL.angles // 4, ALL)
        # A source position is off by at most 1e-14 pixels, and a weight by float32 rounding.
        np.testing.assert_allclose(turned, np.rot90(images, quarter, axes=(1, 2)), rtol=0, atol=1e-6)


def test_the_first_turn_changes_nothing_and_the_first_mirrored_one_mirrors_left_to_right() -> None:
    images = _noise(1, 3)
    assert np.array_equal(turn(images, 0, ALL), images)
    assert np.array_equal(turn(images, ALL.angles, ALL), images[:, :, ::-1])
    quarter = turn(images, ALL.angles + ALL.angles // 4, ALL)
    np.testing.assert_allclose(quarter, np.rot90(images[:, :, ::-1], 1, axes=(1, 2)), rtol=0, atol=1e-6)
    assert (ALL.count, UNTURNED.count, Turns(angles=24).count) == (144, 1, 48)


def test_a_turn_keeps_a_constant_image_and_interpolates_a_ramp() -> None:
    constant = np.full((1, SIDE, SIDE, 1), 0.3, np.float32)
    np.testing.assert_allclose(turn(constant, 7, ALL), constant, rtol=1e-6)
    # Bilinear interpolation of a ramp along x is exact, so inside of the circle it is the ramp along the turned axis.
    at = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    ramp = np.broadcast_to(at[None, None, :, None], (1, SIDE, SIDE, 1))
    angle = np.deg2rad(35)
    expected = np.cos(angle) * at[None, :] - np.sin(angle) * at[:, None]  # [y, x], with y downwards
    inside = np.hypot(at[None, :], at[:, None]) < SIDE / 2 - 1
    np.testing.assert_allclose(turn(ramp, 7, ALL)[0, ..., 0][inside], expected[inside], atol=1e-5)


def test_aligning_turned_copies_to_a_template_brings_them_back() -> None:
    (template,) = soften(draw_emblems(1, size=SIDE)[0])
    turned = np.stack([turn(template[None], index, ALL)[0] for index in range(ALL.count)])
    aligned = align(turned, template, ALL)
    before, after = (np.sqrt(((images - template) ** 2).mean((1, 2, 3))) for images in (turned, aligned))
    # Two interpolations blur a line; turning it to another angle changes far more.
    assert after.max() < 0.05
    assert np.median(before) > 0.1
    assert (after < before + 0.01).all()


@pytest.mark.parametrize("index", [5, 18, 31, 71, 72, 80, 100, 143])
def test_the_turn_that_aligns_undoes_the_turn(index: int) -> None:
    template = soften(draw_emblems(1, size=SIDE)[0])
    aligned = align(turn(template, index, ALL), template[0], ALL)
    undone = index if index >= ALL.angles else ALL.angles - index
    np.testing.assert_array_equal(aligned, turn(turn(template, index, ALL), undone, ALL))


def test_distances_equal_loops_over_their_definition(emblems: np.ndarray) -> None:
    few = Turns(angles=8)
    images, others = emblems[:3], emblems[3:7]
    expected = [
        [min(np.sqrt(((x - turn(y[None], t, few)[0]) ** 2).mean()) for t in range(few.count)) for y in others] for x in images
    ]
    np.testing.assert_allclose(distances(images, others, few), 255 * np.array(expected), rtol=1e-3)


def test_distances_do_not_depend_on_blocks(emblems: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = distances(emblems[:5], emblems, Turns(angles=4))
    for images in (1, 7, 100):  # At a time: 40 images are blocks of 1, of 7 and 5, or of 40 with two turns each.
        monkeypatch.setattr("sharingan_jax.evaluation.turns.BLOCK_BYTES", 4 * images * emblems[0].size)
        np.testing.assert_allclose(distances(emblems[:5], emblems, Turns(angles=4)), whole, rtol=1e-4, atol=0.01)


def test_the_distance_of_an_exact_copy_is_zero_and_of_a_constant_difference_that_difference(emblems: np.ndarray) -> None:
    for images in (emblems, np.full((1, SIDE, SIDE, 3), 0.97, np.float32)):
        assert np.diag(distances(images, images, ALL)).max() == 0
    darker = np.maximum(emblems[:4] - 10 / 255, -1)
    np.testing.assert_allclose(np.diag(distances(darker, emblems[:4], UNTURNED)), 10, rtol=1e-3)
    barely = emblems[:4] - np.float32(0.8 * ROUNDING / 255)
    assert np.diag(distances(barely, emblems[:4], UNTURNED)).max() == 0


def test_a_turned_or_mirrored_copy_is_near_and_without_turns_far(emblems: np.ndarray) -> None:
    for index in (1, 60, 72, 110):
        turned = turn(emblems[:10], index, ALL)
        assert np.diag(distances(turned, emblems[:10], ALL)).max() < 0.5
    between = _turned(emblems)
    near, far = (np.diag(distances(between, emblems, turns)) for turns in (ALL, UNTURNED))
    assert np.median(near) < 4
    assert np.median(far) > 20
    assert distances(emblems, emblems, ALL)[~np.eye(len(emblems), dtype=bool)].min() > 6


def test_distances_over_turns_are_nearly_symmetric_and_never_above_those_without(emblems: np.ndarray) -> None:
    found = distances(emblems, emblems, ALL)
    # Turning y towards x interpolates y; turning x towards y interpolates x.
    np.testing.assert_allclose(found, found.T, rtol=0.1, atol=0.5)
    plain = distances(emblems, emblems, UNTURNED)
    np.testing.assert_allclose(plain, plain.T, rtol=1e-4)
    assert (found <= plain + 0.01).all()


@pytest.mark.parametrize("size", [32, 64, 96])
def test_shrinking_by_a_whole_factor_is_a_box_mean(size: int) -> None:
    images = np.random.default_rng(2).integers(0, 256, (3, size, size, 3), np.uint8)
    factor = size // SIDE
    blocks = images.astype(np.float64).reshape(3, SIDE, factor, SIDE, factor, 3)
    np.testing.assert_allclose(shrink(images), blocks.mean((2, 4)) / 255, rtol=1e-5)


@pytest.mark.parametrize("size", [48, 20, 50])
def test_shrinking_by_another_factor_is_the_area_mean(size: int) -> None:
    images = np.random.default_rng(3).integers(0, 256, (2, size, size, 1), np.uint8)
    # The overlap of each new pixel with each old one, along one axis: [SIDE, size], rows sum to 1.
    new, old = np.arange(SIDE)[:, None] * size / SIDE, np.arange(size)[None]
    overlap = np.clip(np.minimum(new + size / SIDE, old + 1) - np.maximum(new, old), 0, None) * SIDE / size
    expected = np.einsum("ay,bx,nyxc->nabc", overlap, overlap, images / 255)
    found = shrink(images)
    assert (found.shape, found.dtype) == ((2, SIDE, SIDE, 1), np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def _landscapes(count: int, *, mirrored: bool = True) -> np.ndarray:
    """Draw a sky above a ground, with a house on it, uint8 [N, 32, 32, 3]. Unless `mirrored`, a lamp stands on its left."""
    rng, images = np.random.default_rng(4), []
    for i in range(count):
        image = Image.new("RGB", (SIDE, SIDE), (150, 190, 255))
        draw = ImageDraw.Draw(image)
        horizon, left = int(rng.integers(16, 22)), int(rng.integers(8, 14))
        draw.rectangle((0, horizon, SIDE, SIDE), fill=(60, 120, 40))
        draw.rectangle((left, horizon - 8, left + 9, horizon + 3), fill=tuple(int(x) for x in rng.integers(60, 256, 3)))
        if not mirrored:
            draw.rectangle((0, 0, 5, SIDE), fill=(0, 0, 0))
        images.append(np.asarray(image)[:, :: -1 if mirrored and i % 2 else 1])
    return np.stack(images)


def test_the_orientation_of_emblems_is_free(emblems: np.ndarray) -> None:
    found = measure_orientation(emblems)
    assert found.is_free
    assert found.turns == ALL
    assert 0.9 < found.ratio < 1.1
    assert 0.9 < found.mirror_ratio < 1.1


def test_images_with_an_up_and_a_down_may_be_mirrored_and_not_turned() -> None:
    found = measure_orientation(soften(_landscapes(40)))
    assert found.ratio > 2
    assert not found.is_free
    assert found.turns == Turns(angles=1, mirrors=True)


def test_images_with_a_left_and_a_right_too_are_compared_as_they_are() -> None:
    found = measure_orientation(soften(_landscapes(40, mirrored=False)))
    assert found.mirror_ratio > 2
    assert found.turns == UNTURNED
    assert Orientation(ratio=1.0, mirror_ratio=2.0).turns == UNTURNED


def test_the_orientation_is_that_of_the_first_images_of_a_large_set(emblems: np.ndarray) -> None:
    landscapes = soften(_landscapes(20))
    assert not measure_orientation(np.concatenate([landscapes, emblems]), most=20).is_free


def test_the_template_of_turned_copies_is_sharp_and_their_mean_is_not() -> None:
    (image,) = soften(draw_emblems(1, size=SIDE)[0])
    turned = np.stack([turn(image[None], index, ALL)[0] for index in range(0, ALL.count, 3)])
    template = find_template(turned, ALL)
    # The template stands at the angle of one of the copies.
    assert distances(template[None], image[None], ALL)[0, 0] < 5
    assert distances(turned.mean(0)[None], image[None], ALL)[0, 0] > 15
    np.testing.assert_allclose(find_template(turned, UNTURNED), turned.mean(0), atol=1e-6)
