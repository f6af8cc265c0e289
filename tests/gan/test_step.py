"""The training step: its order, the buffers it changes, and the same bits for any split of a run into chunks of steps."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config

from pytorch_reference.replay import PRE_ACTIVATION
from sharingan_jax.config.schema import Config
from sharingan_jax.devices.mesh import make_mesh, replicated
from sharingan_jax.devices.trainer import Trainer, sharded_step
from sharingan_jax.gan.gan import Gan, build_gan, init_state
from sharingan_jax.gan.objective import build_objective
from sharingan_jax.gan.state import TrainState, digest
from sharingan_jax.gan.step import _update_disc, sample_images, scale_images, train_step
from sharingan_jax.model.rng import draw_latents

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_quickly")]

REAL_U8 = np.random.default_rng(0).integers(0, 256, (4, 8, 32, 32, 3), np.uint8)


def _config(**changes: str) -> Config:
    # The direct convolutions compile in half the time, and tests/model/test_convolutions.py shows that all are equal.
    tiny = {"model__gen__width": "4", "model__disc__width": "4", "model__nz": "8", "model__conv_impl": "direct"}
    return smoke_config(**{**tiny, **changes})


@cache
def _gan(**changes: str) -> Gan:
    return build_gan(_config(**changes))


@cache
def _state(gan: Gan) -> TrainState:
    return jax.jit(lambda: init_state(gan, seed=0))()


@cache
def _one_step(gan: Gan) -> Callable[..., Any]:
    def step(state: TrainState, real: jax.Array) -> Any:
        z = draw_latents(state.key, step=state.step + 1, count=len(real), nz=gan.nz)
        return train_step(gan, state, real, z)

    return jax.jit(step)


@cache
def _trainer(devices: int = 1, **changes: str) -> Trainer:
    return Trainer(_config(**changes), make_mesh(devices, batch_sizes={8}))


def _run(trainer: Trainer, cuts: list[int], real_u8: np.ndarray = REAL_U8) -> tuple[TrainState, dict[str, np.ndarray]]:
    state, first, parts = trainer.init(0), 0, []
    for length in cuts:
        state, metrics = trainer.run_steps(state, [real_u8[first : first + length]])
        parts.append(jax.device_get(metrics))
        first += length
    return state, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_uint8_becomes_minus_one_to_one() -> None:
    np.testing.assert_allclose(scale_images(jnp.array([0, 51, 255], jnp.uint8)), [-1.0, -0.6, 1.0], rtol=1e-6)


def test_the_bits_do_not_depend_on_how_steps_are_split_into_chunks() -> None:
    trainer = _trainer(model__conv_impl="winograd")
    digests = {digest(_run(trainer, cuts)[0]) for cuts in ([4], [2, 2], [1, 1, 1, 1])}
    assert len(digests) == 1


def test_another_seed_is_another_run_and_the_same_seed_the_same() -> None:
    trainer = _trainer()
    states = [digest(trainer.run_steps(trainer.init(seed), [REAL_U8[:1]])[0]) for seed in (0, 0, 1)]
    assert states[0] == states[1] != states[2]


def test_beta_shifts_the_reported_loss_and_changes_no_weight_and_no_sample() -> None:
    plain, modified = _trainer(), _trainer(loss__beta="0.01")
    (state, metrics), (state_beta, metrics_beta) = (_run(trainer, [4]) for trainer in (plain, modified))
    z = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    np.testing.assert_allclose(plain.sample(state.gen, z), modified.sample(state_beta.gen, z), rtol=0, atol=1e-6)
    # Another program may round differently, so the weights are compared to a few units in the last place of a step.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6), state, state_beta)
    shift = metrics_beta["loss_d"] - metrics["loss_d"]
    assert (shift > 5).all()
    for name in ("loss_g", "d_real", "d_fake_before", "d_fake_after", "grad_norm_d", "grad_norm_g"):
        np.testing.assert_allclose(metrics[name], metrics_beta[name], rtol=1e-4)


def test_beta_changes_no_bit_of_ds_update() -> None:
    gan = _gan()
    state = _state(gan)
    real = scale_images(jnp.asarray(REAL_U8[0]))
    fake, keys = sample_images(gan, state.gen, jnp.ones((8, 8)), statistics="batch"), jax.random.split(jax.random.key(0), 8)
    (without, metrics, _), (with_beta, metrics_beta, _) = (
        # Without jit, operation by operation: another program might round differently.
        _update_disc(replace(gan, objective=objective), state.disc, real=real, fake=fake, step=state.step, keys=keys)
        for objective in (gan.objective, build_objective(smoke_config(loss__beta="0.01")))
    )
    jax.tree.map(np.testing.assert_array_equal, without, with_beta)
    assert metrics["grad_norm_d"] == metrics_beta["grad_norm_d"]
    assert metrics_beta["loss_d"] > metrics["loss_d"] + 5


@pytest.mark.parametrize(("net", "passes"), [("disc", 3), ("gen", 1)])
def test_d_moves_its_buffers_three_times_a_step_and_g_once(net: str, passes: int) -> None:
    gan = _gan()
    state, real = _state(gan), scale_images(jnp.asarray(REAL_U8[0]))
    raised = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 1.0 if jax.tree_util.keystr(path) == f".{net}.buffers['bn4']['var']" else leaf, state
    )
    # Each training pass multiplies the added 1 by 0.9.
    after, after_raised = (getattr(_one_step(gan)(start, real)[0], net).buffers["bn4"]["var"] for start in (state, raised))
    np.testing.assert_allclose(after_raised - after, 0.9**passes, rtol=1e-4)


def test_g_is_updated_at_every_nth_step_only() -> None:
    state, metrics = _run(_trainer(train__n_critic="2"), [4])
    assert np.isnan(metrics["loss_g"]).tolist() == [True, False, True, False]
    assert np.isfinite(metrics["loss_d"]).all()
    (count,) = {int(leaf) for leaf in jax.tree.leaves(state.gen.opt) if leaf.ndim == 0}
    assert count == 2
    (count,) = {int(leaf) for leaf in jax.tree.leaves(state.disc.opt) if leaf.ndim == 0}
    assert count == 4


def test_g_is_scored_by_the_updated_d() -> None:
    _, metrics = _run(_trainer(), [1])
    assert metrics["d_fake_after"][0] != metrics["d_fake_before"][0]
    assert metrics["loss_g"][0] > -np.log(metrics["d_fake_before"][0])  # D has just learned to reject these images.


def test_sampling_between_steps_changes_no_bit_of_training() -> None:
    trainer = _trainer()
    state, digests = trainer.init(0), []
    for samplings in (0, 2):
        state = trainer.init(0)
        for k in range(3):
            state, _ = trainer.run_steps(state, [REAL_U8[k : k + 1]])
            for _ in range(samplings):
                assert trainer.sample(state.gen, np.ones((3, 8), np.float32)).shape == (3, 32, 32, 3)
        digests.append(digest(state))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("mode", ["batch", "running"])
def test_sampling_moves_no_buffer_and_training_moves_all(mode: Any) -> None:
    gan = _gan()
    gen = _state(gan).gen
    z = jnp.asarray(np.random.default_rng(1).standard_normal((3, 8)), jnp.float32)
    moved = {
        name: [bool((a != b).any()) for a, b in zip(*(jax.tree.leaves(tree) for tree in (gen.buffers, after)), strict=True)]
        for name in (mode, "train")
        for after in [gan.gen.apply(gen.params, gen.buffers, z, mode=name)[1]]
    }
    assert not any(moved[mode])
    assert all(moved["train"])


def test_a_sample_with_running_statistics_does_not_depend_on_the_rest_of_its_batch() -> None:
    gan = _gan()
    state, _ = _run(_trainer(), [4])
    z = np.random.default_rng(1).standard_normal((6, 8)).astype(np.float32)
    together, alone = (sample_images(gan, state.gen, jnp.asarray(part), statistics="running") for part in (z, z[:1]))
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)
    in_batch, _ = (sample_images(gan, state.gen, jnp.asarray(part), statistics="batch") for part in (z, z[:1]))
    assert np.abs(in_batch[:1] - alone).max() > 1e-3


@pytest.mark.parametrize("groups", ["1", "2"])
def test_eight_devices_are_one_within_rounding(groups: str) -> None:
    (one, metrics_one), (eight, metrics_eight) = (
        _run(_trainer(devices, model__ghost_batches=groups), [2, 2]) for devices in (1, 8)
    )
    for name in metrics_one:
        np.testing.assert_allclose(metrics_one[name], metrics_eight[name], rtol=2e-3, atol=1e-5, err_msg=name)
    for before, after in ((one.gen.buffers, eight.gen.buffers), (one.disc.buffers, eight.disc.buffers)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), before, after)
    # Adam turns the sign of a gradient near zero into a whole step of 2e-4, so single weights may differ by a few steps.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=4 * 2 * 2e-4), one.gen.params, eight.gen.params)


@pytest.mark.parametrize(
    "changes",
    [{}, {"train__n_critic": "2", "loss__beta": "0.01", "loss__name": "bce_clamped", **PRE_ACTIVATION}],
    ids=["default", "changed"],
)
def test_eight_devices_are_one_in_float64(changes: dict[str, str]) -> None:
    """In float64, rounding is far below an Adam step. So two steps agree to a few hundred units of float64's rounding.

    This shows that `sharded_step` exchanges everything it must. All eight devices hold the same bits afterwards.
    """
    with jax.enable_x64(True):
        results = []
        for devices in (1, 8):
            gan, mesh = _gan(**changes), make_mesh(devices, batch_sizes={8})
            sharded = sharded_step(_config(**changes), mesh)

            def step_of_run(state: TrainState, real: jax.Array, sharded: Any = sharded, gan: Gan = gan) -> Any:
                z = draw_latents(state.key, step=state.step + 1, count=len(real), nz=gan.nz)
                return sharded(state, real, z)

            step: Callable[..., Any] = jax.jit(step_of_run, out_shardings=replicated(mesh))
            state = jax.tree.map(_as_float64, jax.jit(lambda gan=gan: init_state(gan, seed=0))())
            for real_u8 in REAL_U8[:2]:
                state, metrics = step(state, jnp.asarray(real_u8) / 127.5 - 1)
            for leaf in jax.tree.leaves(state):
                assert len(leaf.addressable_shards) == devices
                for shard in leaf.addressable_shards:
                    np.testing.assert_array_equal(shard.data, leaf.addressable_shards[0].data)
            results.append(jax.device_get((state, metrics)))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), *results)


def _as_float64(leaf: jax.Array) -> jax.Array:
    return leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf
