"""Surprising behaviour of PyTorch, or of the original's use of it: shown in the oracle, and what ours does."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pytorch_reference.replay import B, batch, make_oracle, replay_oracle, replay_ours, small_config
from sharingan_jax.gan.gan import build_gan
from sharingan_jax.gan.losses import bce_disc, bce_gen, clamped_bce, clamped_bce_disc, modified_d_term
from sharingan_jax.gan.optim import clip_by_global_norm
from sharingan_jax.gan.state import digest
from sharingan_jax.gan.step import sample_images
from sharingan_jax.interop.state_dict import from_tensors
from sharingan_jax.model.layers import leaky_relu

torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")


@pytest.fixture
def training() -> Any:
    torch.manual_seed(1)
    return make_oracle(small_config("stabilised"), None, dtype="float32")


def test_bce_loss_is_clamped_at_a_hundred_without_gradient_and_ours_is_exact() -> None:
    logits = torch.tensor([-200.0], requires_grad=True)
    loss = torch.nn.functional.binary_cross_entropy(torch.sigmoid(logits), torch.ones(1))
    loss.backward()
    assert (float(loss.detach()), float(logits.grad)) == (100.0, 0.0)
    value, grad = jax.value_and_grad(bce_gen)(jnp.array([-200.0]))
    assert (float(value), float(grad[0])) == (200.0, -1.0)


LOGITS = [-120.0, -95.0, -40.0, -29.0, -25.0, -3.0, 0.0, 0.5, 8.0, 20.0, 60.0, 120.0]


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_clamped_loss_has_the_value_and_gradient_of_bce_loss_everywhere(label: int, dtype: str) -> None:
    logits = torch.tensor(LOGITS, dtype=getattr(torch, dtype), requires_grad=True)
    target = torch.full_like(logits, label).detach()
    losses = torch.nn.functional.binary_cross_entropy(torch.sigmoid(logits), target, reduction="none")
    losses.sum().backward()
    with jax.enable_x64(dtype == "float64"):
        ours, pull = jax.vjp(lambda logits: clamped_bce(logits, label), jnp.asarray(LOGITS, dtype))
        (grads,) = pull(jnp.ones_like(ours))
    # 1 − p has few digits if p is close to 1, and log(1 − p) has fewer: at a logit of 8 in float32, four.
    np.testing.assert_allclose(ours, losses.detach(), rtol=1e-3 if dtype == "float32" else 1e-10, atol=1e-30)
    np.testing.assert_allclose(grads, logits.grad, rtol=1e-3 if dtype == "float32" else 1e-6, atol=1e-30)


def test_bce_loss_gives_d_no_gradient_for_a_fake_it_calls_real_and_ours_does() -> None:
    logits = torch.tensor([17.5], requires_grad=True)  # σ is 1 in float32 from 16.7 on.
    loss = torch.nn.functional.binary_cross_entropy(torch.sigmoid(logits), torch.zeros(1))
    loss.backward()
    assert (float(loss.detach()), float(logits.grad)) == (100.0, 0.0)
    grad = jax.grad(lambda fake: bce_disc(jnp.array([17.5]), fake))(jnp.array([17.5]))
    np.testing.assert_allclose(grad, [1.0], rtol=1e-6)
    clamped = jax.grad(lambda fake: clamped_bce_disc(jnp.array([17.5]), fake))(jnp.array([17.5]))
    np.testing.assert_array_equal(clamped, [0.0])


def test_a_discriminator_that_calls_everything_real_is_stuck_with_bce_loss_and_learns_from_logits() -> None:
    """Some of the original's runs end like this: D is certain that every image is real, and neither D nor G learns any more."""
    config = {name: small_config("baseline", loss__name=name) for name in ("bce", "bce_clamped")}
    torch.manual_seed(1)
    initial = make_oracle(config["bce"], None, dtype="float32").networks()
    initial["dis.11.weight"] = 4 * np.abs(initial["dis.11.weight"])
    for name in ("dis.4", "dis.7", "dis.10"):
        initial[f"{name}.bias"] = np.full_like(initial[f"{name}.bias"], 10.0)
    metrics = {name: replay_ours(config[name], initial, steps=12, dtype="float32")[1] for name in config}
    metrics["torch"] = replay_oracle(config["bce"], initial, steps=12, dtype="float32")[1]
    for stuck in ("torch", "bce_clamped"):
        np.testing.assert_array_equal(metrics[stuck]["loss_d"], 100.0)
        np.testing.assert_array_equal(metrics[stuck]["grad_norm_d"], 0.0)
        np.testing.assert_array_equal(metrics[stuck]["grad_norm_g"], 0.0)
    assert metrics["bce"]["loss_d"][-1] < 0.95 * metrics["bce"]["loss_d"][0]


def test_clipping_adds_a_millionth_to_the_norm_and_optax_does_not() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1).double())
    parameter.grad = torch.tensor([10.0]).double()
    torch.nn.utils.clip_grad_norm_([parameter], 5.0)
    with jax.enable_x64(True):
        grads = {"a": jnp.array([10.0])}
        ours, _ = clip_by_global_norm(5.0).update(grads, optax.EmptyState())
        optaxs, _ = optax.clip_by_global_norm(5.0).update(grads, optax.EmptyState())
        np.testing.assert_allclose(ours["a"], parameter.grad, rtol=1e-15)
        np.testing.assert_allclose(1 - ours["a"] / optaxs["a"], 1e-7, rtol=1e-3)


def test_leaky_relus_gradient_at_zero_is_the_slope() -> None:
    x = torch.zeros(1, requires_grad=True)
    torch.nn.functional.leaky_relu(x, 0.2).backward()
    np.testing.assert_allclose(x.grad.numpy(), [0.2])
    np.testing.assert_allclose(jax.grad(leaky_relu)(0.0), 0.2)
    assert jax.grad(lambda x: jax.nn.leaky_relu(x, 0.2))(0.0) == 1.0


def test_batch_norm_normalises_with_one_variance_and_keeps_another() -> None:
    layer, x = torch.nn.BatchNorm2d(1).double(), torch.tensor([[[[0.0]]], [[[2.0]]]]).double()
    y = layer(x).detach().numpy().ravel()
    np.testing.assert_allclose(y, np.array([-1, 1]) / np.sqrt(1 + 1e-5))  # the biased variance, 1
    np.testing.assert_allclose(layer.running_var.numpy(), 0.9 + 0.1 * 2)  # the unbiased one, 2


def test_sampling_the_original_changes_its_u_and_statistics_and_sampling_ours_does_not(training: Any) -> None:
    z = batch(1)[1].astype(np.float32)
    before = training.networks()
    with torch.no_grad():
        first = training.gen(torch.tensor(z)[:, :, None, None])
        training.gen(torch.tensor(z)[:, :, None, None])
    moved = {name.rpartition(".")[2] for name, array in training.networks().items() if not np.array_equal(array, before[name])}
    assert moved == {"weight_u", "weight_v", "running_mean", "running_var", "num_batches_tracked"}

    config = small_config("stabilised")
    gan = build_gan(config)
    state = from_tensors(config, gan, before, gen_adam=None, disc_adam=None)
    at_start = digest(state)
    ours = [sample_images(gan, state.gen, jnp.asarray(z), statistics="batch") for _ in range(2)]
    np.testing.assert_array_equal(*ours)
    assert digest(state) == at_start
    # Sampling the original takes one more power iteration than its last training step did, so its images differ.
    assert np.abs(first.numpy().transpose(0, 2, 3, 1) - ours[0]).max() > 1e-3


def test_the_original_samples_with_the_statistics_of_the_batch(training: Any) -> None:
    z = torch.tensor(batch(1)[1].astype(np.float32))[:, :, None, None]
    with torch.no_grad():
        together, alone = training.gen(z)[:2].numpy(), training.gen(z[:2]).numpy()
    assert np.abs(together - alone).max() > 1e-2


def test_the_beta_term_gives_d_no_gradient_in_either(training: Any) -> None:
    real, fake = (torch.tensor(batch(step)[0].transpose(0, 3, 1, 2).copy()).float() for step in (1, 2))
    term = 0.01 * ((fake.detach() - real) ** 2).sum((1, 2, 3)).mean()
    assert not term.requires_grad
    ours = modified_d_term(jnp.asarray(batch(2)[0], jnp.float32), jnp.asarray(batch(1)[0], jnp.float32), beta=0.01)
    np.testing.assert_allclose(ours, term, rtol=1e-6)
    grads = []
    for beta in (0.0, 0.01):
        torch.manual_seed(1)
        oracle = make_oracle(small_config("stabilised"), None, dtype="float32")
        oracle.beta = beta
        oracle.step(real, torch.tensor(batch(1)[1].astype(np.float32)))
        grads.append(oracle.tensors())
    for name in grads[0]:
        np.testing.assert_array_equal(grads[0][name], grads[1][name], err_msg=name)
    assert len(real) == B
