"""Clipping and Adam against their formulas, and the shapes of the schedules."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from sharingan_jax.config.schema import AdamConfig
from sharingan_jax.gan.optim import build_optimizer, clip_by_global_norm, learning_rate

ADAM = AdamConfig(
    name="adam",
    lr=2e-4,
    b1=0.5,
    b2=0.999,
    eps=1e-8,
    clip_norm=0.0,
    schedule="constant",
    warmup_steps=0,
    decay_steps=0,
    end_lr=0.0,
)


def test_clipping_adds_1e_6_to_the_norm_and_keeps_small_gradients() -> None:
    grads = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([12.0])}  # norm 13
    clipped, _ = clip_by_global_norm(5.0).update(grads, optax.EmptyState())
    np.testing.assert_allclose(clipped["a"], np.array([3.0, 4.0]) * 5 / (13 + 1e-6), rtol=1e-7)
    spared, _ = clip_by_global_norm(14.0).update(grads, optax.EmptyState())
    np.testing.assert_array_equal(spared["b"], grads["b"])


def _adam_by_hand(gradients: list[float], *, lr: float, clip: float) -> float:
    x = m = v = 0.0
    for k, g in enumerate(gradients, 1):
        if clip:
            g *= min(1.0, clip / (abs(g) + 1e-6))
        m, v = 0.5 * m + 0.5 * g, 0.999 * v + 0.001 * g * g
        x -= lr * (m / (1 - 0.5**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
    return x


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_the_optimizer_clips_and_then_takes_adams_step(clip: float) -> None:
    optimizer = build_optimizer(replace(ADAM, clip_norm=clip))
    gradients = [0.3, -2.0, 0.7, 5.0]
    x = jnp.zeros(1)
    state = optimizer.init(x)
    for g in gradients:
        updates, state = optimizer.update(jnp.array([g]), state, x)
        x = optax.apply_updates(x, updates)
    np.testing.assert_allclose(x, [_adam_by_hand(gradients, lr=2e-4, clip=clip)], rtol=1e-5)


def test_sgd_is_pytorchs() -> None:
    optimizer = build_optimizer(replace(ADAM, name="sgd", lr=0.1, b1=0.9))
    theirs = torch.tensor([1.0], requires_grad=True)
    their_optimizer = torch.optim.SGD([theirs], lr=0.1, momentum=0.9)
    x = jnp.ones(1)
    state = optimizer.init(x)
    for g in (0.3, -2.0, 0.7, 5.0):
        updates, state = optimizer.update(jnp.array([g]), state, x)
        x = optax.apply_updates(x, updates)
        theirs.grad = torch.tensor([g])
        their_optimizer.step()
        np.testing.assert_allclose(x, theirs.detach(), rtol=1e-6)


@pytest.mark.parametrize(("name", "middle"), [("linear", 0.55), ("cosine", 0.55)])
def test_schedules_rise_then_fall_to_their_end_and_stay(name: str, middle: float) -> None:
    schedule = learning_rate(replace(ADAM, lr=1.0, schedule=name, warmup_steps=10, decay_steps=100, end_lr=0.1))
    assert callable(schedule)
    values = [float(schedule(count)) for count in (0, 5, 10, 60, 110, 500)]
    np.testing.assert_allclose(values, [0.0, 0.5, 1.0, middle, 0.1, 0.1], atol=1e-6)


def test_a_constant_rate_may_warm_up() -> None:
    schedule = learning_rate(replace(ADAM, lr=1.0, warmup_steps=4))
    assert callable(schedule)
    np.testing.assert_allclose([float(schedule(count)) for count in (0, 2, 4, 99)], [0, 0.5, 1, 1])
