"""Networks that know classes: D projects on the class, G is asked for it, and pairs share one."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config

from sharingan_jax.devices.mesh import make_mesh, replicated
from sharingan_jax.devices.trainer import sharded_step
from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.metrics import METRIC_NAMES
from sharingan_jax.gan.state import TrainState
from sharingan_jax.gan.step import train_step
from sharingan_jax.model.layers import logits_of_classes

pytestmark = pytest.mark.usefixtures("compiled_quickly")

TINY = {
    "model__gen__width": "4", "model__disc__width": "4", "model__nz": "8", "model__conv_impl": "direct",
    "optim__disc__clip_norm": "0", "model__gen__spectral_norm": "false", "model__disc__spectral_norm": "false",
}  # fmt: skip
CLASSES, BATCH = 3, 8
REAL = np.random.default_rng(0).uniform(-1, 1, (BATCH, 32, 32, 3)).astype(np.float32)
Z = np.random.default_rng(1).standard_normal((BATCH, 8)).astype(np.float32)
LABELS = np.arange(BATCH, dtype=np.int32) % CLASSES


def test_a_logit_is_the_common_score_plus_the_score_of_the_class() -> None:
    scores = jnp.asarray([[1.0, 10.0, 20.0, 30.0], [2.0, 10.0, 20.0, 30.0]])
    np.testing.assert_array_equal(logits_of_classes(scores, jax.nn.one_hot(jnp.asarray([2, 0]), 3)), [31.0, 12.0])
    np.testing.assert_array_equal(logits_of_classes(scores, None), [1.0, 2.0])


@pytest.mark.parametrize("arch", ["dcgan", "resnet"])
def test_d_projects_its_features_on_the_class(arch: str) -> None:
    """ψ and yᵀV act on the same features, so a class with the weights of ψ and twice them make logits of 2ψ and 3ψ."""
    gan = build_gan(smoke_config(**TINY, model__classes="2", model__disc__arch=arch))
    params, buffers = gan.disc.init(jax.random.key(0))
    last = "to1" if arch == "dcgan" else "to_logit"
    psi = params[last]["kernel"][..., :1]
    params = {**params, last: {"kernel": jnp.concatenate([psi, psi, 2 * psi], axis=-1)}}
    condition = jax.nn.one_hot(jnp.arange(BATCH) % 2, 2)
    common, _ = gan.disc.apply(params, buffers, jnp.asarray(REAL), mode="train")
    logits, _ = gan.disc.apply(params, buffers, jnp.asarray(REAL), mode="train", condition=condition)
    np.testing.assert_allclose(logits, common * np.array([2, 3] * (BATCH // 2)), rtol=1e-4)


def _without_classes(net: Any, layer: str, axis: int, own: int) -> Any:
    """Return a network's parameters whose weights for the classes are 0, in their layer and at their places after `own`."""
    kernel = np.array(net[layer]["kernel"])
    np.moveaxis(kernel, axis, 0)[own:] = 0
    return {**net, layer: {"kernel": jnp.asarray(kernel)}}


def _with_params(state: TrainState, *, gen: Any, disc: Any) -> TrainState:
    return replace(state, gen=replace(state.gen, params=gen), disc=replace(state.disc, params=disc))


@pytest.mark.slow
def test_without_weights_for_the_classes_the_step_is_the_one_without_classes() -> None:
    plain, game = build_gan(smoke_config(**TINY)), build_gan(smoke_config(**TINY, model__classes=str(CLASSES)))
    state = init_state(game, seed=0)
    gen = _without_classes(state.gen.params, "to4", axis=2, own=8)
    disc = _without_classes(state.disc.params, "to1", axis=3, own=1)
    start = init_state(plain, seed=0)
    same_gen = {**gen, "to4": {"kernel": gen["to4"]["kernel"][:, :, :8]}}
    same_disc = {**disc, "to1": {"kernel": disc["to1"]["kernel"][..., :1]}}
    start = _with_params(start, gen=same_gen, disc=same_disc)
    state = _with_params(state, gen=gen, disc=disc)
    _, metrics = jax.jit(lambda state: train_step(plain, state, jnp.asarray(REAL), jnp.asarray(Z)))(start)
    _, found = jax.jit(lambda state: train_step(game, state, jnp.asarray(REAL), jnp.asarray(Z), jnp.asarray(LABELS)))(state)
    for name in ("loss_d", "d_real", "d_fake_before"):  # Then D is updated, also in its weights for the classes.
        np.testing.assert_allclose(found[name], metrics[name], rtol=1e-5, err_msg=name)
    assert found["grad_norm_d"] > metrics["grad_norm_d"]


@pytest.mark.slow
def test_each_class_moves_its_own_weights_and_no_others() -> None:
    game = build_gan(smoke_config(**TINY, model__classes=str(CLASSES)))
    state = init_state(game, seed=0)
    only_first = np.zeros(BATCH, np.int32)
    after, _ = jax.jit(lambda state: train_step(game, state, jnp.asarray(REAL), jnp.asarray(Z), jnp.asarray(only_first)))(state)
    moved_disc = (after.disc.params["to1"]["kernel"] != state.disc.params["to1"]["kernel"]).any(axis=(0, 1, 2))
    moved_gen = (after.gen.params["to4"]["kernel"] != state.gen.params["to4"]["kernel"]).any(axis=(0, 1, 3))
    np.testing.assert_array_equal(moved_disc, [True, True, False, False])
    np.testing.assert_array_equal(moved_gen[8:], [True, False, False])


@pytest.mark.slow
def test_eight_devices_are_one_in_float64() -> None:
    with jax.enable_x64(True):
        results = []
        for devices in (1, 8):
            changes = {"model__classes": str(CLASSES), "loss__name": "relativistic", "loss__r1": "0.5", "augment__shift": "0.1"}
            mesh, config = make_mesh(devices, batch_sizes={BATCH}), smoke_config(**TINY, **changes)
            step: Any = jax.jit(sharded_step(config, mesh), out_shardings=replicated(mesh))
            state = jax.jit(lambda config=config: init_state(build_gan(config), seed=0))()
            state = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf, state)
            for _ in range(2):
                state, metrics = step(state, jnp.asarray(REAL, jnp.float64), jnp.asarray(Z, jnp.float64), jnp.asarray(LABELS))
            results.append(jax.device_get((state, metrics)))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), *results)
        assert set(results[0][1]) == set(METRIC_NAMES)
