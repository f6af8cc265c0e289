"""The signs of collapse, against closed forms and `measures/kid.py`, and the rule that says where collapse begins."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from sharingan_jax.data.emblems.draw import draw_emblem
from sharingan_jax.evaluation.measures import collapse
from sharingan_jax.evaluation.measures.collapse import (
    ALIVE,
    COLLAPSED,
    IN_A_ROW,
    SIGN_NAMES,
    SIGNS,
    CollapseWatch,
    SignReference,
    best_step,
    find_collapse,
)
from sharingan_jax.evaluation.measures.kid import kid
from sharingan_jax.evaluation.turns import soften

EMBLEMS = np.stack([draw_emblem(i, size=32) for i in range(140)])  # uint8 [140, 32, 32, 3]
REAL, UNSEEN = EMBLEMS[:100], EMBLEMS[100:]


@pytest.fixture(scope="module")
def reference() -> SignReference:
    return SignReference(REAL)


def test_new_real_images_have_a_diversity_and_a_nearest_ratio_near_one(reference: SignReference) -> None:
    signs = reference.signs(UNSEEN)
    assert tuple(signs) == SIGN_NAMES == tuple(sign.name for sign in SIGNS)
    assert signs["diversity"] == pytest.approx(1, abs=0.1)
    assert signs["nearest_ratio"] == pytest.approx(1, abs=0.2)
    assert abs(signs["kid_pixels"] or np.inf) < 5  # In expectation it is 0. Noise has 300 and more.
    noise = np.random.default_rng(0).integers(0, 256, UNSEEN.shape, np.uint8)
    assert (reference.signs(noise)["kid_pixels"] or 0) > 50


def test_one_image_again_and_again_has_no_diversity(reference: SignReference) -> None:
    assert reference.signs(np.repeat(UNSEEN[:1], 25, axis=0))["diversity"] == 0


def test_copies_of_real_images_have_a_nearest_ratio_of_zero(reference: SignReference) -> None:
    signs = reference.signs(REAL[10:40])
    assert signs["nearest_ratio"] == 0
    assert signs["diversity"] == pytest.approx(1, abs=0.1)


def test_diversity_and_nearest_ratio_equal_plain_loops() -> None:
    real, fake = REAL[:6], UNSEEN[:5]

    def distance(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.linalg.norm((one - other).ravel()))

    # At 32 pixels nothing is shrunk: the images are scaled to [0, 1] and blurred.
    soft_real, soft_fake = (
        [gaussian_filter(image.astype(np.float64) / 255, (0.7, 0.7, 0), mode="nearest") for image in images]
        for images in (real, fake)
    )
    between = {
        kind: np.mean([distance(a, b) for i, a in enumerate(images) for b in images[i + 1 :]])
        for kind, images in (("real", soft_real), ("fake", soft_fake))
    }
    nearest = np.median([min(distance(a, b) for b in soft_real) for a in soft_fake])
    own = np.median([min(distance(a, b) for b in soft_real if b is not a) for a in soft_real])
    signs = SignReference(real).signs(fake)
    assert signs["diversity"] == pytest.approx(between["fake"] / between["real"], rel=1e-5)  # Six digits are kept, of float32.
    assert signs["nearest_ratio"] == pytest.approx(nearest / own, rel=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_kid_pixels_is_the_kid_of_softened_pixels(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collapse, "DIGITS", 17)
    real, fake = REAL[..., :channels], UNSEEN[:25, ..., :channels]
    expected = kid(*(soften(images).reshape(len(images), -1) for images in (real, fake)))
    assert SignReference(real).signs(fake)["kid_pixels"] == pytest.approx(expected.value, abs=1e-6)


def test_grey_images_have_the_signs_of_grey_images_in_colour() -> None:
    real, fake = REAL[..., :1], UNSEEN[..., :1]
    grey = SignReference(real).signs(fake)
    colour = SignReference(real.repeat(3, axis=-1)).signs(fake.repeat(3, axis=-1))
    assert grey == pytest.approx(colour, rel=1e-5)


def test_signs_are_taken_of_the_first_images_of_a_large_grid(reference: SignReference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collapse, "MOST_DRAWN", 10)
    assert reference.signs(UNSEEN) == reference.signs(UNSEEN[:10]) != reference.signs(UNSEEN[10:20])


def test_signs_keep_six_digits(reference: SignReference) -> None:
    for value in reference.signs(UNSEEN).values():
        assert value == float(f"{value:.6g}")


@pytest.mark.parametrize(("real", "fake"), [(100, 1), (1, 25), (1, 1)])
def test_a_single_image_has_no_sign(real: int, fake: int) -> None:
    assert SignReference(REAL[:real]).signs(UNSEEN[:fake]) == dict.fromkeys(SIGN_NAMES)


def test_equal_real_images_give_no_ratio() -> None:
    signs = SignReference(np.repeat(REAL[:1], 5, axis=0)).signs(UNSEEN)
    assert (signs["diversity"], signs["nearest_ratio"]) == (None, None)
    assert signs["kid_pixels"] is not None


def _records(*diversities: float | None) -> list[dict[str, Any]]:
    """Return records of the steps 10, 20, ... with these diversities; a step between them, like most, has none."""
    found: list[dict[str, Any]] = []
    for number, diversity in enumerate(diversities, 1):
        found += [{"step": 10 * number - 5}, {"step": 10 * number, "diversity": diversity, "kid_pixels": 5.0}]
    return found


@pytest.mark.parametrize(
    ("diversities", "step"),
    [
        ([], None),
        ([0.1, 0.2, 0.1, 0.0], None),  # It was never alive: G has not learnt yet.
        ([0.1, 0.49, 0.1, 0.1], None),
        ([0.9, 0.2, 0.9, 0.2, 0.9], None),  # Dips of one grid.
        ([0.9, 0.1], None),
        ([0.9, 0.3, 0.3, 0.3], None),  # Not below 0.3.
        ([0.5, 0.2, 0.2], 20),
        ([0.1, 0.9, 0.4, 0.2, 0.1, 0.1], 40),  # The first of the two.
        ([0.9, 0.2, 0.9, 0.2, 0.29], 40),
        ([0.9, 0.2, 0.2, 0.9, 0.9], 20),  # A recovery keeps the mark, and so does a second collapse.
        ([0.9, 0.2, 0.2, 0.9, 0.1, 0.1], 20),
        ([0.9, 0.2, None, 0.2], 20),  # A grid without a sign neither counts nor interrupts.
    ],
)
def test_collapse_begins_at_the_first_of_two_grids_in_a_row_below_the_limit(
    diversities: list[float | None], step: int | None
) -> None:
    assert find_collapse(_records(*diversities)) == step


@pytest.mark.parametrize(
    ("ratios", "step"),
    [
        ([4.0, 3.0, 3.5, 3.6], 30),
        ([4.0, 3.0, 3.5, 3.0, 3.5], None),  # A single grid.
        ([4.0, 3.0, 3.4, 3.4], None),  # Less than 1.15 times.
        ([4.0, 0.8, 1.1, 1.1], None),  # Still near the real images.
        ([4.0, 1.0, 1.2, 1.2], 30),
        ([1.0, None, 3.0, 3.0], 30),
    ],
)
def test_collapse_begins_too_if_varied_grids_leave_the_real_images(ratios: list[float | None], step: int | None) -> None:
    records = [
        {"step": 10 * number, "diversity": 0.8, "nearest_ratio": ratio, "kid_pixels": ratio}
        for number, ratio in enumerate(ratios, 1)
    ]
    assert find_collapse(records) == step
    assert find_collapse([{**record, "diversity": None} for record in records]) is None


def test_a_blob_of_the_first_grids_does_not_count_as_the_nearest_that_a_run_came() -> None:
    blob = {"step": 10, "diversity": 0.46, "nearest_ratio": 1.3, "kid_pixels": 5.0}
    later = {"diversity": 0.9, "nearest_ratio": 1.7, "kid_pixels": 6.0}
    records = [blob, *({"step": step, **later} for step in (20, 30, 40))]
    assert find_collapse(records) is None
    assert find_collapse([{**blob, "diversity": 0.5}, *records[1:]]) == 20


def test_motifs_that_resemble_the_images_less_than_blobs_did_are_no_collapse_while_kid_falls() -> None:
    """The first grids of a healthy run: `quick`, seed 0. Blobs turn into motifs, which are none of the images yet."""
    signs = [(0.209, 0.777, 21.1), (0.557, 1.051, 19.1), (0.932, 1.238, 5.69), (1.076, 1.239, 0.07), (1.097, 1.231, -1.09)]
    records = [
        {"step": 200 * number, "diversity": diversity, "nearest_ratio": nearest, "kid_pixels": kid}
        for number, (diversity, nearest, kid) in enumerate(signs, 1)
    ]
    assert find_collapse(records) is None
    assert find_collapse([*records[:2], *({**record, "kid_pixels": 19.2} for record in records[2:])]) == 600


diversities_of_grids = st.lists(st.one_of(st.none(), st.sampled_from([0.0, 0.29, 0.3, 0.4, 0.5, 1.2])), max_size=12)


@given(diversities_of_grids, st.lists(st.integers(0, 30), max_size=4))
def test_records_in_parts_give_the_same_as_all_at_once(diversities: list[float | None], cuts: list[int]) -> None:
    records = _records(*diversities)
    whole, parts = CollapseWatch(), CollapseWatch()
    step = whole.feed(records)
    for start, end in pairwise([0, *sorted(cuts), len(records)]):
        parts.feed(records[start:end])
    assert (parts.step, parts.in_a_row) == (step, whole.in_a_row)
    assert step == find_collapse(records)


@given(diversities_of_grids)
def test_grids_in_a_row_are_those_at_the_end_after_the_run_was_alive(diversities: list[float | None]) -> None:
    watch = CollapseWatch()
    watch.feed(_records(*diversities))
    known = [value for value in diversities if value is not None]
    alive = next((i for i, value in enumerate(known) if value >= ALIVE), len(known))
    expected = 0
    for value in known[alive:]:
        expected = expected + 1 if value < COLLAPSED else 0
    assert watch.in_a_row == expected
    if watch.in_a_row >= IN_A_ROW:
        assert watch.step is not None


def test_the_best_step_has_the_lowest_kid_or_the_diversity_nearest_to_one() -> None:
    records: list[dict[str, Any]] = [
        {"step": 10, "diversity": 0.7, "kid_pixels": 9.0},
        {"step": 15},
        {"step": 20, "diversity": 1.2, "kid_pixels": -1.0},
        {"step": 30, "diversity": 0.95, "kid_pixels": 3.0},
        {"step": 40, "diversity": None, "kid_pixels": None},
    ]
    assert best_step(records, [10, 20, 30, 40], by="kid_pixels") == 20
    assert best_step(records, [10, 20, 30, 40], by="diversity") == 30
    assert best_step(records, [10, 20], by="diversity") == 20
    assert best_step(records, [15, 40], by="diversity") is None
    assert best_step(records, [10, 20], by="") is None
    assert best_step([*records[:1], {**records[0], "step": 50}], [10, 50], by="kid_pixels") == 10
