"""Each loss against a formula in numpy."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from sharingan_jax.gan.losses import LOSSES, SMOOTHED, apart, bce_disc, bce_gen, logits_of_images, modified_d_term

REAL, FAKE = np.array([0.3, -1.2, 2.0]), np.array([-0.7, 0.1, 1.5])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_bce_of_d_is_the_cross_entropy_of_probabilities() -> None:
    expected = -np.log(_sigmoid(REAL)).mean() - np.log(1 - _sigmoid(FAKE)).mean()
    np.testing.assert_allclose(bce_disc(jnp.asarray(REAL, jnp.float32), jnp.asarray(FAKE, jnp.float32)), expected, rtol=1e-6)


def test_bce_of_g_is_non_saturating() -> None:
    np.testing.assert_allclose(bce_gen(jnp.asarray(FAKE, jnp.float32)), -np.log(_sigmoid(FAKE)).mean(), rtol=1e-6)
    assert np.isclose(jax.grad(bce_gen)(jnp.array([-40.0]))[0], -1.0)


def test_bce_is_exact_if_a_sigmoid_is_saturated() -> None:
    np.testing.assert_allclose(bce_disc(jnp.array([-300.0]), jnp.array([200.0])), 500.0)


def test_the_clamped_loss_is_the_exact_one_if_no_sigmoid_is_saturated() -> None:
    real, fake = jnp.asarray(REAL, jnp.float32), jnp.asarray(FAKE, jnp.float32)
    exact, clamped = (jax.value_and_grad(LOSSES[name].disc, argnums=(0, 1))(real, fake) for name in ("bce", "bce_clamped"))
    np.testing.assert_allclose(clamped[0], exact[0], rtol=1e-6)
    np.testing.assert_allclose(clamped[1], exact[1], rtol=1e-5)
    exact, clamped = (jax.value_and_grad(LOSSES[name].gen)(fake) for name in ("bce", "bce_clamped"))
    np.testing.assert_allclose(clamped[0], exact[0], rtol=1e-6)
    np.testing.assert_allclose(clamped[1], exact[1], rtol=1e-5)


def test_the_clamped_loss_is_a_hundred_without_gradient_if_a_sigmoid_is_saturated() -> None:
    value, grad = jax.value_and_grad(LOSSES["bce_clamped"].disc, argnums=(0, 1))(jnp.array([-300.0]), jnp.array([200.0]))
    assert float(value) == 200.0
    assert [float(part[0]) for part in grad] == [0.0, 0.0]


def test_the_modified_term_sums_over_pixels_and_averages_over_the_batch() -> None:
    rng = np.random.default_rng(0)
    fake, real = rng.uniform(-1, 1, (2, 3, 4, 4, 3))
    expected = 0.01 * np.mean([np.sum((f - r) ** 2) for f, r in zip(fake, real, strict=True)])
    np.testing.assert_allclose(
        modified_d_term(jnp.asarray(fake, jnp.float32), jnp.asarray(real, jnp.float32), beta=0.01), expected, rtol=1e-6
    )


def test_each_named_loss_is_finite_and_pulls_the_right_way() -> None:
    for loss in LOSSES.values():
        real_grad, fake_grad = jax.grad(loss.disc, argnums=(0, 1))(jnp.array([0.2, -0.3]), jnp.array([0.1, 0.4]))
        assert (real_grad < 0).all()
        assert (fake_grad > 0).all()
        real = jnp.array([0.2, -0.3]) if loss.gen_needs_real else None
        assert (jax.grad(loss.gen)(jnp.array([0.1, 0.4]), real) < 0).all()


def test_the_losses_of_the_papers_follow_their_formulas() -> None:
    real, fake = jnp.asarray(REAL, jnp.float32), jnp.asarray(FAKE, jnp.float32)
    relativistic = np.log1p(np.exp(FAKE - REAL)).mean()
    expected = {
        "hinge": (np.maximum(0, 1 - REAL).mean() + np.maximum(0, 1 + FAKE).mean(), -FAKE.mean()),
        "wasserstein": (FAKE.mean() - REAL.mean(), -FAKE.mean()),
        "least_squares": (0.5 * ((REAL - 1) ** 2).mean() + 0.5 * (FAKE**2).mean(), 0.5 * ((FAKE - 1) ** 2).mean()),
        "relativistic": (relativistic, np.log1p(np.exp(REAL - FAKE)).mean()),
    }
    assert set(expected) == set(LOSSES) - {"bce", "bce_clamped"}
    for name, (disc, gen) in expected.items():
        np.testing.assert_allclose(LOSSES[name].disc(real, fake), disc, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(LOSSES[name].gen(fake, real), gen, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("label", [0.6, 0.9])
def test_a_smoothed_label_moves_the_target_of_real_images_only(label: float) -> None:
    real, fake = torch.tensor(REAL, requires_grad=True), torch.tensor(FAKE, requires_grad=True)
    bce, squares = torch.nn.BCEWithLogitsLoss(), torch.nn.MSELoss()
    theirs = {
        "bce": bce(real, torch.full_like(real, label)) + bce(fake, torch.zeros_like(fake)),
        "least_squares": 0.5 * squares(real, torch.full_like(real, label)) + 0.5 * squares(fake, torch.zeros_like(fake)),
    }
    assert set(theirs) == set(SMOOTHED)
    for name, loss in theirs.items():
        ours = partial(SMOOTHED[name], real_label=label)
        value, grads = jax.value_and_grad(ours, argnums=(0, 1))(jnp.asarray(REAL, jnp.float32), jnp.asarray(FAKE, jnp.float32))
        np.testing.assert_allclose(value, loss.item(), rtol=1e-6)
        for mine, other in zip(grads, torch.autograd.grad(loss, (real, fake)), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batchs_logit_adds_the_same_loss_of_its_own(name: str) -> None:
    loss, real, fake = LOSSES[name], jnp.asarray(REAL, jnp.float32), jnp.asarray(FAKE, jnp.float32)
    both = [jnp.stack([images, -2 * images], 1) for images in (real, fake)]
    np.testing.assert_allclose(apart(loss).disc(*both), loss.disc(real, fake) + loss.disc(-2 * real, -2 * fake), rtol=1e-6)
    given = (both[0], real, -2 * real) if loss.gen_needs_real else (None, None, None)
    expected = loss.gen(fake, given[1]) + loss.gen(-2 * fake, given[2])
    np.testing.assert_allclose(apart(loss).gen(both[1], given[0]), expected, rtol=1e-6)
    assert replace(apart(loss), disc=loss.disc, gen=loss.gen) == loss
    np.testing.assert_array_equal(logits_of_images(both[0]), real)
    assert logits_of_images(real) is real
