"""Projection: distances and the prior by their formulas, and a descent that finds a latent it can find."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from sharingan_jax.evaluation.features import random_features, random_kernels, random_maps
from sharingan_jax.evaluation.projection import (
    PRIOR,
    descend,
    descend_from_all,
    describe,
    distance,
    distances_to_samples,
    loss,
    nearest_starts,
    prior,
)

NZ, SIDE = 6, 8
MATRIX = np.random.default_rng(0).standard_normal((NZ, SIDE * SIDE * 3)).astype(np.float32) / 4


def _generate(z: Array) -> Array:
    """Return images [B, 8, 8, 3], a smooth function of each latent."""
    return jnp.tanh(z @ MATRIX).reshape(-1, SIDE, SIDE, 3)


def _latents(*shape: int, seed: int = 1) -> np.ndarray:
    """Return latents [..., nz] of the usual length: ‖z‖² = nz."""
    z = np.random.default_rng(seed).standard_normal((*shape, NZ)).astype(np.float32)
    return np.float32(np.sqrt(NZ)) * z / np.linalg.norm(z, axis=-1, keepdims=True)


def test_distances_follow_their_formulas() -> None:
    black, white = -np.ones((1, SIDE, SIDE, 3), np.float32), np.ones((1, SIDE, SIDE, 3), np.float32)
    found = distance(describe(black), describe(white))
    assert found.pixels.tolist() == [4.0]
    some, others = np.random.default_rng(0).uniform(-1, 1, (2, 3, 16, 16, 3)).astype(np.float32)
    found = distance(describe(some), describe(others))
    np.testing.assert_allclose(found.pixels, ((some - others) ** 2).mean((1, 2, 3)), rtol=1e-5)
    kernels = [jnp.asarray(kernel) for kernel in random_kernels()]
    layers = zip(random_maps(some, kernels), random_maps(others, kernels), strict=True)
    expected = np.mean([np.mean((np.asarray(a) - np.asarray(b)) ** 2, axis=(1, 2, 3)) for a, b in layers], axis=0)
    np.testing.assert_allclose(found.features, expected, rtol=1e-5)
    np.testing.assert_allclose(found.total, found.pixels + found.features)
    assert distance(describe(some), describe(some)).total.tolist() == [0, 0, 0]


def test_the_layers_are_those_of_the_feature_space_random() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    maps = random_maps(images.astype(np.float32) / 127.5 - 1, [jnp.asarray(kernel) for kernel in random_kernels()])
    assert [x.shape for x in maps] == [(2, 16, 16, 32), (2, 8, 8, 64), (2, 4, 4, 128)]
    np.testing.assert_allclose(maps[0].mean((1, 2)), random_features(images)[:, :32], rtol=1e-4)


def test_grey_images_are_repeated_and_transparent_ones_laid_on_white() -> None:
    grey = np.full((1, 8, 8, 1), -0.5, np.float32)
    clear = np.zeros((1, 8, 8, 4), np.float32)
    clear[..., 3] = -1  # Not opaque at all.
    assert describe(grey)[0].tolist() == np.full((1, 8, 8, 3), -0.5).tolist()
    assert describe(clear)[0].tolist() == np.ones((1, 8, 8, 3)).tolist()


def test_the_prior_is_0_at_the_usual_length_and_grows_with_the_distance_from_it() -> None:
    z = _latents(3)
    np.testing.assert_allclose(prior(z), 0, atol=1e-6)
    np.testing.assert_allclose(prior(2 * z), 9.0, rtol=1e-5)  # (4 − 1)²
    np.testing.assert_allclose(prior(0 * z), 1.0)
    target = describe(_generate(z))
    np.testing.assert_allclose(
        loss(_generate, 2 * z, target), distance(describe(_generate(2 * z)), target).total + PRIOR * 9, rtol=1e-5
    )


def test_a_descent_finds_a_latent_near_its_start_and_each_one_alone() -> None:
    wanted = _latents(4)
    start = wanted + 0.3 * _latents(4, seed=2)
    targets = _generate(wanted)
    before = loss(_generate, start, describe(targets))
    run = jax.jit(lambda start, targets: descend(_generate, start, targets, steps=200))
    found, after = run(start, targets)
    assert (np.asarray(after) < 0.01 * np.asarray(before)).all()
    np.testing.assert_allclose(found, wanted, atol=0.05)
    changed = np.concatenate([start[:1], _latents(3, seed=9)])
    np.testing.assert_allclose(run(changed, targets)[0][0], found[0], atol=1e-5)
    np.testing.assert_array_equal(run(start, targets)[0], found)


def test_a_latent_whose_loss_does_not_fall_is_returned_as_it_was() -> None:
    wanted = _latents(2)
    found, losses = jax.jit(lambda z, targets: descend(_generate, z, targets, steps=3))(wanted, _generate(wanted))
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(losses, 0, atol=1e-6)


def test_a_descent_keeps_the_signs_that_choose_a_symmetry() -> None:
    wanted = _latents(16)
    start = wanted.copy()
    start[:, :2] *= np.float32(-0.1)  # The way to the wanted latents leads over 0.
    before = loss(_generate, start, describe(_generate(wanted)))
    descents = {signs: jax.jit(lambda z, t, signs=signs: descend(_generate, z, t, steps=100, signs=signs)) for signs in (0, 2)}
    found, after = descents[2](start, _generate(wanted))
    np.testing.assert_array_equal(np.sign(found[:, :2]), np.sign(start[:, :2]))
    assert (np.asarray(after) <= np.asarray(before)).all()
    free, _ = descents[0](start, _generate(wanted))
    assert (np.sign(free[:, :2]) == np.sign(wanted[:, :2])).mean() > 0.9


def test_the_best_start_wins() -> None:
    wanted = _latents(3)
    starts = np.stack([_latents(3, seed=5), wanted], axis=1)  # [T, R, nz]: the second start is the latent itself.
    found, near = jax.jit(lambda z, targets: descend_from_all(_generate, z, targets, steps=5))(starts, _generate(wanted))
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(near.total, 0, atol=1e-6)


def test_every_target_is_compared_with_every_sample_and_the_nearest_are_chosen() -> None:
    z, targets = _latents(5), np.asarray(_generate(_latents(2, seed=3)))
    found = jax.jit(lambda z, targets: distances_to_samples(_generate, z, targets))(z, targets)
    images = np.asarray(_generate(z))
    for t in range(2):
        for k in range(5):
            pair = distance(describe(images[k : k + 1]), describe(targets[t : t + 1]))
            np.testing.assert_allclose([found.pixels[t, k], found.features[t, k]], [*pair.pixels, *pair.features], rtol=1e-4)
    chosen = nearest_starts(np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 0.0]]), z[:3], count=2)
    np.testing.assert_array_equal(chosen, [[z[1], z[2]], [z[0], z[2]]])


def test_gradients_are_finite_at_flat_images() -> None:
    targets = np.ones((1, SIDE, SIDE, 3), np.float32)
    white = jnp.ones((1, SIDE, SIDE, 3))
    grads = jax.jit(jax.grad(lambda z: loss(lambda z: white * z.mean(), z, describe(targets)).sum()))(_latents(1))
    assert np.isfinite(np.asarray(grads)).all()


@pytest.mark.parametrize("count", [1, 8, 11])
def test_groups_have_one_size_and_every_image(count: int) -> None:
    from sharingan_jax.evaluation.project import _groups

    groups = _groups(count)
    assert {len(group) for group in groups} == {min(count, 8)}
    assert sorted({int(i) for group in groups for i in group}) == list(range(count))
