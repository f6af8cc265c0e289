"""The objective with penalties, with augmentation, and with losses of G that need the real images."""

from dataclasses import fields, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import smoke_config
from jax import Array

from sharingan_jax.config.schema import LossConfig
from sharingan_jax.devices import trainer as trainer_module
from sharingan_jax.devices.mesh import make_mesh, replicated
from sharingan_jax.gan.augment import identity
from sharingan_jax.gan.gan import Gan, build_gan, init_state
from sharingan_jax.gan.losses import LOSSES
from sharingan_jax.gan.metrics import ADAPTIVE, GEN_METRICS, METRIC_NAMES
from sharingan_jax.gan.objective import Objective, WeightedPenalty, build_objective
from sharingan_jax.gan.penalties import r1
from sharingan_jax.gan.state import TrainState
from sharingan_jax.gan.step import _update_disc, scale_images, train_step

pytestmark = pytest.mark.usefixtures("compiled_quickly")

TINY = {
    "model__gen__width": "4", "model__disc__width": "4", "model__nz": "8", "model__conv_impl": "direct",
    "optim__disc__clip_norm": "0",
}  # fmt: skip
BATCH = 8
REAL = np.random.default_rng(0).integers(0, 256, (BATCH, 32, 32, 3), np.uint8)
Z = np.random.default_rng(1).standard_normal((BATCH, 8)).astype(np.float32)


EVERYTHING = {
    "train__n_critic": "2", "train__ema_half_life": "20", "train__ema_ramp_up": "0.5", "model__minibatch_std": "true",
    "model__minibatch_logit": "true", "model__symmetry": "square",
    "loss__name": "relativistic", "loss__r1": "0.7", "loss__r2": "0.3", "loss__gradient_penalty": "0.1",
    "loss__penalty_every": "2", "loss__consistency": "0.2", "loss__lecam": "0.3", "loss__flip": "0.2", "model__dropout": "0.2",
    "augment__target": "0.1", "augment__adapt_images": "100", "augment__noise": "0.1", "augment__noise_steps": "5",
    "augment__probability": "0.7", "augment__brightness": "0.1", "augment__contrast": "0.1", "augment__mirror": "true",
    "augment__rotation": "180", "augment__scale": "0.1", "augment__shift": "0.1", "augment__cutout": "0.3",
}  # fmt: skip

WITHOUT_NORM = {"model__disc__norm": "none", "model__disc__spectral_norm": "false", "model__disc__init": "he"}
NETWORKS = {
    "the post's": {},
    "crisp's": WITHOUT_NORM
    | {"model__disc__arch": "dcgan_full", "model__gen__norm": "pixel", "model__gen__spectral_norm": "false"},
    "resnet and dcgan_up": WITHOUT_NORM
    | {"model__disc__arch": "dcgan_up", "model__gen__arch": "resnet", "model__gen__norm": "group"},
}  # fmt: skip
"""Networks of every architecture, and with every norm."""


def _gan(objective: Objective, **changes: str) -> Gan:
    return replace(build_gan(smoke_config(**TINY, **changes)), objective=objective)


def _step(gan: Gan, state: TrainState) -> tuple[TrainState, dict[str, Array]]:
    return jax.jit(lambda state: train_step(gan, state, scale_images(jnp.asarray(REAL)), jnp.asarray(Z)))(state)


@pytest.fixture(scope="module")
def plain() -> tuple[Gan, TrainState, TrainState, dict[str, Array]]:
    """The default objective: the game, the state before the first step and after it, and its metrics."""
    gan = _gan(Objective(LOSSES["bce"]))
    state = jax.jit(lambda: init_state(gan, seed=0))()
    return gan, state, *_step(gan, state)


def test_the_choices_of_a_configuration_are_the_named_losses() -> None:
    (rule,) = (entry.metadata["rule"] for entry in fields(LossConfig) if entry.name == "name")
    assert rule.choices == tuple(LOSSES)


def test_by_default_there_are_no_penalties_no_augmentation_and_no_pass_for_the_real_logits() -> None:
    for name, loss in LOSSES.items():
        assert build_objective(smoke_config(loss__name=name)) == Objective(loss, (), identity, ())
        assert loss.gen_needs_real == (name == "relativistic")


@pytest.mark.slow
def test_a_relativistic_generator_is_also_scored_on_real_images_by_the_updated_d() -> None:
    gan = _gan(Objective(LOSSES["relativistic"]))
    state, real = jax.jit(lambda: init_state(gan, seed=0))(), scale_images(jnp.asarray(REAL))
    after, metrics = _step(gan, state)

    @jax.jit
    def expected() -> tuple[Array, Any, Any]:
        """Compute G's loss, its gradient's norm and D's buffers pass by pass, from the initial state and the updated D."""
        fake, pull, _ = jax.vjp(
            lambda params: gan.gen.apply(params, state.gen.buffers, jnp.asarray(Z), mode="train"), state.gen.params, has_aux=True
        )
        _, buffers = gan.disc.apply(state.disc.params, state.disc.buffers, real, mode="train")
        _, buffers = gan.disc.apply(state.disc.params, buffers, fake, mode="train")
        real_logits, buffers = gan.disc.apply(after.disc.params, buffers, real, mode="train")

        def loss_of(fake: Array) -> tuple[Array, Any]:
            fake_logits, moved = gan.disc.apply(after.disc.params, buffers, fake, mode="train")
            return jnp.mean(jnp.log1p(jnp.exp(real_logits - fake_logits))), moved

        (loss, moved), grad = jax.value_and_grad(loss_of, has_aux=True)(fake)
        return loss, optax.tree.norm(pull(grad)[0]), moved

    loss, norm, buffers = expected()
    np.testing.assert_allclose(metrics["loss_g"], loss, rtol=1e-4)
    np.testing.assert_allclose(metrics["grad_norm_g"], norm, rtol=1e-3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), after.disc.buffers, buffers)


@pytest.mark.slow
def test_a_penalty_adds_to_ds_gradient_and_moves_no_buffer_and_no_reported_loss(plain: Any) -> None:
    gan, state, _, _ = plain
    real, fake = scale_images(jnp.asarray(REAL)), scale_images(jnp.asarray(REAL[::-1]))
    keys = jax.random.split(jax.random.key(0), BATCH)
    lazy = _gan(Objective(LOSSES["bce"], penalties=(WeightedPenalty(r1, 2.0, every=3),)))

    def update(game: Gan, step: int) -> Any:
        return jax.jit(partial(_update_disc, game))(state.disc, real=real, fake=fake, step=jnp.int32(step), keys=keys)

    def penalty(params: Any) -> Array:
        return r1(lambda x: gan.disc.apply(params, state.disc.buffers, x, mode="train")[0], real, fake, keys)

    grads = jax.jit(jax.grad(penalty))(state.disc.params)
    without, metrics, _ = update(gan, 3)
    for step, times in ((2, 0), (3, 3 * 2.0)):
        with_penalty, metrics_penalty, _ = update(lazy, step)
        np.testing.assert_allclose(metrics_penalty["loss_d"], metrics["loss_d"], rtol=1e-6)
        # The first Adam step keeps half of the gradient, 1 − b1, as its first moment.
        mu, mu_plain = (optax.tree.get(disc.opt, "mu") for disc in (with_penalty, without))
        error = optax.tree.norm(jax.tree.map(lambda a, b, g, n=times: 2 * (a - b) - n * g, mu, mu_plain, grads))
        assert error < 1e-3 * optax.tree.norm(grads)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), with_penalty.buffers, without.buffers)


@pytest.mark.slow
def test_augmentation_changes_every_image_that_d_sees_and_passes_gs_gradient(plain: Any) -> None:
    _, state, _, metrics = plain
    inverted = _gan(Objective(LOSSES["bce"], augment=lambda images, keys, __: -images))
    # A D with the opposite sign in its first layer scores inverted images as the given D scores images.
    other = {**state.disc.params, "to16": {"kernel": -state.disc.params["to16"]["kernel"]}}
    kernels = {"u": -state.disc.buffers["to16"]["u"], "v": state.disc.buffers["to16"]["v"]}
    other_buffers = {**state.disc.buffers, "to16": kernels}
    negated = replace(state, disc=replace(state.disc, params=other, buffers=other_buffers))
    _, metrics_inverted = _step(inverted, negated)
    for name in METRIC_NAMES:
        np.testing.assert_allclose(metrics[name], metrics_inverted[name], rtol=1e-4, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("networks", NETWORKS.values(), ids=NETWORKS)
def test_with_everything_on_eight_devices_are_one_in_float64(networks: dict[str, str]) -> None:
    with jax.enable_x64(True):
        results = []
        for devices in (1, 8):
            mesh, config = make_mesh(devices, batch_sizes={BATCH}), smoke_config(**TINY, **EVERYTHING, **networks)
            step: Any = jax.jit(trainer_module.sharded_step(config, mesh), out_shardings=replicated(mesh))
            state = jax.tree.map(_as_float64, jax.jit(lambda config=config: init_state(build_gan(config), seed=0))())
            for _ in range(2):
                state, metrics = step(state, jnp.asarray(REAL) / 127.5 - 1, jnp.asarray(Z, jnp.float64))
            results.append(jax.device_get((state, metrics)))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), *results)
        assert set(results[0][1]) == {*METRIC_NAMES, ADAPTIVE.name}
        assert all(np.isfinite(results[0][1][name]) for name in GEN_METRICS)


@pytest.mark.slow
def test_a_batchs_own_logit_has_its_own_loss_and_is_in_no_metric_of_images() -> None:
    config = smoke_config(**TINY, model__minibatch_std="true", model__minibatch_logit="true", loss__name="relativistic")
    gan = build_gan(config)
    state, real = jax.jit(lambda: init_state(gan, seed=0))(), scale_images(jnp.asarray(REAL))
    _, metrics = _step(gan, state)

    @jax.jit
    def logits() -> tuple[Array, Array]:
        fake, _ = gan.gen.apply(state.gen.params, state.gen.buffers, jnp.asarray(Z), mode="train")
        real_logits, buffers = gan.disc.apply(state.disc.params, state.disc.buffers, real, mode="train")
        return real_logits, gan.disc.apply(state.disc.params, buffers, fake, mode="train")[0]

    of_real, of_fake = map(np.asarray, logits())
    assert of_real.shape == of_fake.shape == (BATCH, 2)
    expected = np.log1p(np.exp(of_fake - of_real)).mean(0).sum()
    np.testing.assert_allclose(metrics["loss_d"], expected, rtol=1e-4)
    for name, found in (("d_real", of_real), ("d_fake_before", of_fake)):
        np.testing.assert_allclose(metrics[name], (1 / (1 + np.exp(-found[:, 0]))).mean(), rtol=1e-4)


def _as_float64(leaf: jax.Array) -> jax.Array:
    return leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf
