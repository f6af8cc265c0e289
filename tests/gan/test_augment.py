"""Differentiable augmentation: each part against numpy or scipy, its gradient, and what the draws mean."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from conftest import smoke_config

from sharingan_jax.config.schema import AUGMENTATIONS, AugmentConfig
from sharingan_jax.gan.augment import (
    PARTS,
    add_noise,
    brighten,
    build_augment,
    change_contrast,
    cut_out,
    identity,
    mirror,
    noise_std,
    rescale,
    rotate,
    saturate,
    shift,
)

RNG = np.random.default_rng(0)
IMAGE = RNG.uniform(-1, 1, (16, 16, 3)).astype(np.float32)
OFF: AugmentConfig = smoke_config().augment
ALL = replace(
    OFF,
    probability=0.5,
    brightness=0.1,
    saturation=0.2,
    contrast=0.1,
    mirror=True,
    rotation=180.0,
    scale=0.1,
    shift=0.1,
    cutout=0.4,
)


def _draws(*values: float) -> Any:
    return jnp.asarray([*values, 0.5, 0.5, 0.5, 0.5][:4], jnp.float32)


def _smooth(side: int = 32) -> np.ndarray:
    """An image of low frequencies on white, which interpolation hardly changes."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    blob = np.exp(-((x - 0.1) ** 2 + (y + 0.05) ** 2) / 0.02)
    return np.stack([1 - blob, 1 - 0.5 * blob, 1 - 1.5 * blob], 2).astype(np.float32)


def test_off_is_the_identity() -> None:
    assert build_augment(OFF) is identity


def test_a_part_whose_draw_is_zero_changes_no_bit() -> None:
    for name, part in PARTS.items():
        same = part(ALL)(jnp.asarray(IMAGE), jnp.zeros(4))
        np.testing.assert_array_equal(same, IMAGE, err_msg=name)


def test_colours_follow_their_formulas() -> None:
    image = jnp.asarray(IMAGE)
    np.testing.assert_allclose(brighten(image, _draws(-0.5), brightness=0.2), IMAGE - 0.1, atol=1e-6)
    grey = IMAGE.mean(2, keepdims=True)
    np.testing.assert_allclose(saturate(image, _draws(0.5), saturation=0.4), grey + 1.2 * (IMAGE - grey), atol=1e-6)
    mean = IMAGE.mean()
    np.testing.assert_allclose(change_contrast(image, _draws(-1), contrast=0.3), mean + 0.7 * (IMAGE - mean), atol=1e-6)


@pytest.mark.parametrize("name", PARTS)
def test_clear_ground_stays_clear_and_opacity_keeps_to_its_range(name: str) -> None:
    """A disc on a clear white ground: colours change as they do without opacity, and what is uncovered is clear and `fill`."""
    y, x = np.mgrid[:16, :16] - 7.5
    disc = (np.hypot(x, y) < 5)[..., None]
    image = np.concatenate([np.where(disc, IMAGE, 1.0), np.where(disc, 1.0, -1.0)], 2).astype(np.float32)
    settings: AugmentConfig = replace(ALL, fill=1.0)
    for draws in (_draws(0.9, -0.8), _draws(-0.7, 0.6)):
        changed = np.asarray(PARTS[name](settings)(jnp.asarray(image), draws))
        clear = changed[..., 3] == -1
        np.testing.assert_allclose(changed[..., :3], PARTS[name](settings)(jnp.asarray(image[..., :3]), draws), atol=1e-6)
        assert changed[..., 3].min() >= -1 - 1e-5
        assert changed[..., 3].max() <= 1 + 1e-5
        if name in ("brightness", "saturation", "contrast"):
            np.testing.assert_array_equal(changed[..., 3], image[..., 3])
        else:
            assert (changed[:2, :2, 3] <= -1 + 1e-5).all()  # A corner, which the disc never reaches.
            np.testing.assert_allclose(changed[..., :3][clear], 1, atol=1e-5)


def test_mirror_exchanges_left_and_right() -> None:
    np.testing.assert_array_equal(mirror(jnp.asarray(IMAGE), _draws(0.3)), IMAGE[:, ::-1])
    np.testing.assert_array_equal(mirror(jnp.asarray(IMAGE), _draws(-0.3)), IMAGE)


def test_a_shift_moves_whole_pixels_and_fills_the_rest() -> None:
    moved = shift(jnp.asarray(IMAGE), _draws(0.76, -0.51), share=0.25, fill=1.0)  # 16 · 0.25 · 0.76 rounds to 3, · −0.51 to −2.
    expected = np.ones_like(IMAGE)
    expected[3:, :-2] = IMAGE[:-3, 2:]
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_scale_interpolates_as_scipy_does() -> None:
    for draw in (-0.8, 0.6):
        factor, centre = 1 + 0.25 * draw, 7.5
        expected = np.stack(
            [
                scipy.ndimage.affine_transform(
                    IMAGE[..., c], [1 / factor] * 2, offset=centre - centre / factor, order=1, mode="grid-constant", cval=1.0
                )
                for c in range(3)
            ],
            2,
        )
        np.testing.assert_allclose(rescale(jnp.asarray(IMAGE), _draws(draw), scale=0.25, fill=1.0), expected, atol=1e-5)


@pytest.mark.parametrize("degrees", [-170.0, -90.0, -40.0, 10.0, 45.0, 90.0, 130.0, 180.0])
def test_a_turn_is_scipys_turn(degrees: float) -> None:
    image = _smooth()
    turned = rotate(jnp.asarray(image), _draws(degrees / 180), rotation=180.0, fill=1.0)
    expected = scipy.ndimage.rotate(image, degrees, reshape=False, order=1, mode="grid-constant", cval=1.0)
    assert np.abs(np.asarray(turned) - expected).max() < 0.06  # Three shears interpolate three times, scipy once.
    if degrees % 90 == 0:
        np.testing.assert_allclose(turned, np.rot90(image, round(degrees / 90)), atol=1e-5)


def test_cutout_covers_a_square_of_the_share_of_the_side() -> None:
    covered = np.asarray(cut_out(jnp.asarray(IMAGE), _draws(0.0, 0.2), share=0.5, fill=-1.0))
    changed = (covered != IMAGE).any(2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert (len(rows), len(columns)) == (8, 8)
    assert (covered[changed] == -1).all()
    assert changed.sum() == 64


def test_each_change_has_its_own_probability_and_an_image_keeps_its_changes() -> None:
    keys = jax.random.split(jax.random.key(0), 400)
    images = jnp.broadcast_to(jnp.asarray(IMAGE), (400, *IMAGE.shape))
    for name in ("brightness", "shift", "cutout"):
        augment = jax.jit(build_augment(replace(OFF, **{name: 0.3})))
        changed = (np.asarray(augment(images, keys, 0.3)) != IMAGE).any((1, 2, 3))
        assert 0.2 < changed.mean() < 0.4, name  # Four standard deviations are 0.09.
        np.testing.assert_array_equal(augment(images[:7], keys[:7], 0.3), augment(images, keys, 0.3)[:7])


def test_noise_has_its_deviation_falls_and_is_the_same_for_the_same_keys() -> None:
    images, keys = jnp.ones((4, 32, 32, 3)), jax.random.split(jax.random.key(0), 4)
    noise = np.asarray(add_noise(images, keys, std=0.2)) - 1
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 0.2], atol=0.005)  # 12,288 values
    assert len(np.unique(noise)) > 12_000
    np.testing.assert_array_equal(add_noise(images, keys, std=0.2), noise + 1)
    stds = [float(noise_std(jnp.int32(step), start=0.2, steps=100)) for step in (1, 51, 101, 500)]
    np.testing.assert_allclose(stds, [0.2, 0.1, 0, 0], atol=1e-7)
    assert noise_std(jnp.int32(500), start=0.2, steps=0) == 0.2


def test_the_gradient_is_that_of_finite_differences() -> None:
    keys, direction = jax.random.split(jax.random.key(1), 3), RNG.standard_normal((3, 16, 16, 3))
    augment = build_augment(ALL)
    with jax.enable_x64(True):
        images, way = (jnp.asarray(array, jnp.float64) for array in (np.stack([IMAGE] * 3), direction))
        total = jax.jit(lambda x: jnp.sum(jnp.sin(augment(x, keys, 1.0))))
        slope = float(jnp.sum(jax.grad(total)(images) * way))
        numeric = float(total(images + 1e-6 * way) - total(images - 1e-6 * way)) / 2e-6
    np.testing.assert_allclose(slope, numeric, rtol=1e-6)


def test_no_gather_and_no_scatter_is_in_the_program() -> None:
    augment, keys = build_augment(ALL), jax.random.split(jax.random.key(1), 2)
    total = jax.grad(lambda x: jnp.sum(jnp.square(augment(x, keys, 0.5))))
    text = jax.jit(total).lower(jnp.stack([jnp.asarray(IMAGE)] * 2)).as_text()
    assert "stablehlo.scatter" not in text
    assert "stablehlo.gather" not in text


def test_every_setting_of_a_part_is_a_choice() -> None:
    others = {"probability", "fill", "target", "adapt_images", "noise", "noise_steps"}
    assert set(PARTS) == set(AugmentConfig.__dataclass_fields__) - others
    assert tuple(PARTS) == AUGMENTATIONS
    assert isinstance(build_augment(ALL), partial)
