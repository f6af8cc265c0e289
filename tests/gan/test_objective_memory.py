"""What the objective remembers, against its formulas, and that a step uses and updates it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config

from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.memory import AdaptiveProbability, init_memory, signals_of, update_memory
from sharingan_jax.gan.state import TrainState, named_arrays
from sharingan_jax.gan.step import _flips, scale_images, train_step

pytestmark = pytest.mark.usefixtures("compiled_quickly")

REAL = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
TINY = {"model__gen__width": "4", "model__disc__width": "4", "model__nz": "8", "model__conv_impl": "direct"}


def test_nothing_is_remembered_by_default() -> None:
    assert init_memory(adaptive=None, lecam=False) is None
    state = jax.eval_shape(lambda: init_state(build_gan(smoke_config(**TINY)), seed=0))
    assert not [name for name in named_arrays(state) if name.startswith("memory")]


def test_the_probability_rises_while_d_is_too_sure_and_stays_in_its_range() -> None:
    adaptive = AdaptiveProbability(start=0.2, target=0.6, images=1000)
    up, down, still = (adaptive.update(jnp.asarray(0.2), jnp.asarray(sign), images=25) for sign in (0.7, 0.5, 0.6))
    np.testing.assert_allclose([up, down, still], [0.225, 0.175, 0.2], rtol=1e-6)
    assert adaptive.update(jnp.asarray(0.99), jnp.asarray(1.0), images=25) == 1
    assert adaptive.update(jnp.asarray(0.01), jnp.asarray(-1.0), images=25) == 0


def test_the_signs_are_those_of_logits_or_of_pairs() -> None:
    real, fake = jnp.array([1.0, -2.0, 3.0, 4.0]), jnp.array([2.0, -3.0, 0.0, 0.0])
    assert signals_of(real, fake, pairs=False)["sign"] == 0.5
    assert signals_of(real, fake, pairs=True)["sign"] == 0.5
    assert signals_of(real - 3, fake, pairs=False)["sign"] == -0.25
    assert signals_of(real, fake, pairs=True)["real_mean"] == 1.5


def test_lecams_means_move_by_a_hundredth() -> None:
    memory = init_memory(adaptive=None, lecam=True)
    assert memory is not None
    after = update_memory(memory, signals_of(jnp.ones(4), -2 * jnp.ones(4), pairs=False), adaptive=None, images=4)
    np.testing.assert_allclose([after["real_mean"], after["fake_mean"]], [0.01, -0.02], rtol=1e-5)


def test_pairs_are_flipped_with_their_probability_and_by_their_keys() -> None:
    keys = jax.random.split(jax.random.key(0), 1000)
    flips = np.asarray(_flips(keys, probability=0.2))
    assert 0.15 < flips.mean() < 0.25  # Four standard deviations are 0.05.
    np.testing.assert_array_equal(_flips(keys[:9], probability=0.2), flips[:9])


@pytest.mark.slow
def test_a_step_takes_the_remembered_probability_and_the_penalty_of_the_remembered_means() -> None:
    changes = {"augment__cutout": "0.9", "augment__target": "0.6", "augment__adapt_images": "100", "loss__lecam": "1"}
    gan = build_gan(smoke_config(**TINY, **changes, augment__probability="0"))
    start = jax.jit(lambda: init_state(gan, seed=0))()
    real, z = scale_images(jnp.asarray(REAL)), jnp.ones((8, 8))

    @jax.jit
    def step(memory: Any) -> tuple[TrainState, Any]:
        return train_step(gan, TrainState(start.step, start.key, start.gen, start.disc, start.ema, memory), real, z)

    def memory(probability: float, mean: float) -> Any:
        return {"augment_probability": jnp.float32(probability), "real_mean": jnp.float32(mean), "fake_mean": jnp.float32(mean)}

    state, metrics = step(memory(0, 0))
    assert state.memory is not None
    assert float(state.memory["real_mean"]) != 0
    moved, half = step(memory(0.5, 0))
    assert half["augment_probability"] == 0.5  # the one that the step used
    assert moved.memory is not None
    np.testing.assert_allclose(abs(moved.memory["augment_probability"] - 0.5), 0.08, rtol=1e-5)
    _, covered = step(memory(1, 0))
    assert covered["d_real"] != metrics["d_real"]  # D saw other images,
    _, pulled = step(memory(0, 100))
    assert pulled["d_real"] == metrics["d_real"]  # the same ones,
    assert pulled["grad_norm_d"] > 10 * metrics["grad_norm_d"]  # and another penalty,
    assert pulled["loss_d"] == metrics["loss_d"]  # which is not in the reported loss.
