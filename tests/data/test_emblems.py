"""The embedded emblems: the same bytes everywhere, all different, each of a known class."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharingan_jax.data.emblems.draw import CLASSES, draw_emblem, draw_emblems, fill_polygon

# Recorded from this code on x86-64, with Pillow 11.3 and 13.0 (Python 3.11) and 12.0 (Python 3.13), numpy 2.4 and 2.5.
DIGEST = "fed0cb6302801a0c024dc9a5a8fcf65aeb6796644cc00cbd9f6846e61c26a87c"


def test_the_hundred_emblems_are_the_same_bytes_on_every_machine() -> None:
    images, labels = draw_emblems()
    assert images.shape == (100, 64, 64, 3)
    assert images.dtype == np.uint8
    assert hashlib.sha256(images.tobytes()).hexdigest() == DIGEST
    assert labels.tolist() == [i % len(CLASSES) for i in range(100)]


def test_an_emblem_does_not_depend_on_how_many_are_drawn() -> None:
    few, _ = draw_emblems(7)
    np.testing.assert_array_equal(few[6], draw_emblem(6))


def test_each_of_twenty_classes_has_five_emblems() -> None:
    _, labels = draw_emblems()
    assert len(set(CLASSES)) == 20
    assert set(np.bincount(labels)) == {5}


@pytest.mark.parametrize("size", [32, 64, 128])
def test_each_emblem_is_a_red_and_black_disc_on_white(size: int) -> None:
    for image in draw_emblems(20, size=size)[0].astype(int):
        red, green, blue = np.moveaxis(image, -1, 0)
        assert image.shape == (size, size, 3)
        assert (image[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
        assert np.mean((red > 100) & (green < 60) & (blue < 60)) > 0.1
        assert np.mean(image.max(-1) < 80) > 0.03


def test_no_two_emblems_look_alike_even_when_rotated_by_right_angles() -> None:
    images, _ = draw_emblems()
    flat = images.astype(np.float64).reshape(100, -1)
    for turns in range(4):
        turned = np.rot90(images, turns, axes=(1, 2)).astype(np.float64).reshape(100, -1)
        distances = np.sqrt(np.mean((flat[:, None] - turned[None]) ** 2, -1))
        assert distances[~np.eye(100, dtype=bool)].min() > 15.0  # of 255, root mean square


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=3, max_size=6, unique=True))
def test_a_polygon_contains_the_centres_whose_ray_crosses_it_an_odd_number_of_times(points: list[tuple[int, int]]) -> None:
    corners = np.array(points)
    inside = fill_polygon(corners)
    for y, x in np.ndindex(inside.shape):
        crossings = 0
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
            if (y0 <= y) != (y1 <= y):
                crossings += (x0 * (y1 - y0) + (y + 0.5 - y0) * (x1 - x0)) / (y1 - y0) <= x + 0.5
        assert inside[y, x] == (crossings % 2 == 1)
