"""Averaged generator weights: the closed form, their place in the state, and off by default."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config

from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.trainer import Trainer
from sharingan_jax.gan.ema import generator_of, update_ema
from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.state import TrainState, digest, named_arrays, pack, unpack
from sharingan_jax.gan.step import sample_images
from sharingan_jax.run.checkpoints import CheckpointManager

TINY = {"model__gen__width": "4", "model__disc__width": "4", "model__nz": "8", "model__conv_impl": "direct"}
HALF_LIFE, BATCH, STEPS = 20.0, 8, 4


def _average(history: list[np.ndarray], *, decay: float) -> np.ndarray:
    """Return d^k p₀ + (1 − d) Σ d^(k−i) pᵢ of p₀, p₁ … p_k."""
    k = len(history) - 1
    weights = [decay**k, *((1 - decay) * decay ** (k - i) for i in range(1, k + 1))]
    return np.sum([weight * p.astype(np.float64) for weight, p in zip(weights, history, strict=True)], axis=0)


def test_the_average_is_its_closed_form() -> None:
    history = [np.asarray(p, np.float32) for p in np.random.default_rng(0).standard_normal((30, 5))]
    ema: Any = {"kernel": jnp.asarray(history[0])}
    for p in history[1:]:
        ema = update_ema(ema, {"kernel": jnp.asarray(p)}, step=jnp.int32(9), images=BATCH, half_life=HALF_LIFE)
    np.testing.assert_allclose(ema["kernel"], _average(history, decay=0.5 ** (BATCH / HALF_LIFE)), rtol=1e-5, atol=1e-6)


def test_half_life_images_replace_half_of_the_average_at_any_batch_size() -> None:
    for batch, steps in ((20, 1), (5, 4), (1, 20)):
        ema: Any = jnp.ones(())
        for _ in range(steps):
            ema = update_ema(ema, jnp.zeros(()), step=jnp.int32(9), images=batch, half_life=HALF_LIFE)
        np.testing.assert_allclose(ema, 0.5, rtol=1e-6)


def test_an_average_of_constant_weights_is_bitwise_identical_to_them() -> None:
    params = {"kernel": jnp.asarray(np.random.default_rng(0).standard_normal(100), jnp.float32)}
    ema = update_ema(params, params, step=jnp.int32(9), images=25, half_life=1000.0)
    assert ema is not None
    np.testing.assert_array_equal(ema["kernel"], params["kernel"])


def test_a_ramp_limits_the_half_life_to_a_share_of_the_images_seen() -> None:
    kept: list[float] = []
    for step in (1, 2, 11, 10_001):
        ema: Any = update_ema(
            {"kernel": jnp.ones(())}, {"kernel": jnp.zeros(())}, step=jnp.int32(step), images=10, half_life=1000.0, ramp_up=0.2
        )
        kept.append(float(ema["kernel"]))
    # 0, 10, 100 and 100,000 images were seen before; the half-life is 0, 2, 20 and 1000 images.
    np.testing.assert_allclose(kept, [0, 0.5 ** (10 / 2), 0.5 ** (10 / 20), 0.5 ** (10 / 1000)], rtol=1e-5)


@pytest.fixture(scope="module")
def trained() -> tuple[TrainState, list[Any]]:
    """The state after four steps with averaged weights, and the generator's parameters before and after each step."""
    trainer = Trainer(smoke_config(**TINY, train__ema_half_life=str(HALF_LIFE)), make_mesh(1, batch_sizes={BATCH}))
    real_u8 = np.random.default_rng(0).integers(0, 256, (STEPS, 1, BATCH, 32, 32, 3), np.uint8)
    state = trainer.init(0)
    history = [jax.device_get(state.gen.params)]
    for images in real_u8:
        state, _ = trainer.run_steps(state, [images])
        history.append(jax.device_get(state.gen.params))
    return jax.device_get(state), history


def test_training_averages_the_generators_parameters_over_the_images_of_each_step(trained: tuple[TrainState, list[Any]]) -> None:
    state, history = trained
    expected = jax.tree.map(lambda *parameter: _average(list(parameter), decay=0.5 ** (BATCH / HALF_LIFE)), *history)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), state.ema, expected)
    assert np.abs(state.ema["to8"]["kernel"] - state.gen.params["to8"]["kernel"]).max() > 1e-5  # type: ignore[index]


def test_the_average_is_in_the_state_under_its_own_names_and_off_by_default(
    trained: tuple[TrainState, list[Any]],
) -> None:
    state, _ = trained
    without = replace(state, ema=None)
    assert set(named_arrays(state)) - set(named_arrays(without)) == {
        name.replace("gen.params.", "ema.") for name in named_arrays(without) if name.startswith("gen.params.")
    }
    assert digest(state) != digest(without)
    assert digest(unpack(pack(state), like=state)) == digest(state)
    assert init_state(build_gan(smoke_config(**TINY)), seed=0).ema is None


def test_a_checkpoint_holds_the_average(trained: tuple[TrainState, list[Any]], tmp_path: Any) -> None:
    for state in (trained[0], replace(trained[0], ema=None)):
        folder = tmp_path / str(state.ema is None)
        with CheckpointManager(folder, keep=1) as checkpoints:
            checkpoints.save(state, {})
            checkpoints.wait()
            assert digest(checkpoints.restore(STEPS, like=state)) == digest(state)


def test_the_generator_to_sample_from_is_the_raw_or_the_averaged_one(trained: tuple[TrainState, list[Any]]) -> None:
    state, _ = trained
    gan, z = build_gan(smoke_config(**TINY)), jnp.ones((3, 8))
    raw, averaged = (
        sample_images(gan, generator_of(state, weights=weights), z, statistics="running")
        for weights in ("raw", "averaged")  # type: ignore[attr-defined]
    )
    np.testing.assert_array_equal(raw, sample_images(gan, state.gen, z, statistics="running"))
    expected = sample_images(gan, replace(state.gen, params=state.ema), z, statistics="running")  # type: ignore[arg-type]
    np.testing.assert_array_equal(averaged, expected)
    assert np.abs(raw - averaged).max() > 1e-5
    assert generator_of(state).params is state.ema
    assert generator_of(replace(state, ema=None)) is state.gen
    with pytest.raises(ValueError, match="no averaged weights in this state"):
        generator_of(replace(state, ema=None), weights="averaged")
