"""Fifty steps of each experiment against the recorded steps of the PyTorch oracle, with or without torch. Deliberate errors
show that the comparison detects each of them."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from record_golden import STEPS, TWIN, golden_digest

from pytorch_reference.replay import EXPERIMENTS, relative_differences, replay_ours, small_config
from sharingan_jax.gan import gan as gan_module
from sharingan_jax.gan import step
from sharingan_jax.gan.gan import Gan
from sharingan_jax.gan.optim import clip_by_global_norm, scale_by_adam
from sharingan_jax.gan.state import NetState
from sharingan_jax.model import layers
from sharingan_jax.model.convolutions import Convolutions, convolutions

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@cache
def _golden() -> dict[str, np.ndarray]:
    with np.load(HERE / "golden.npz") as file:
        return {name: file[name] for name in file.files}


def _recorded(experiment: str, part: str) -> dict[str, np.ndarray]:
    owner = experiment if part == "figures" else TWIN.get(experiment, experiment)
    prefix = f"{owner}/{part}/"
    return {name.removeprefix(prefix): array for name, array in _golden().items() if name.startswith(prefix)}


def test_the_recorded_arrays_have_their_recorded_digest() -> None:
    assert golden_digest(_golden()) == json.loads((HERE / "golden.json").read_text())["digest"]


def _worst_difference(experiment: str) -> tuple[float, str]:
    ours, metrics = replay_ours(small_config(experiment), _recorded(experiment, "initial"), steps=STEPS)
    found = relative_differences(ours, _recorded(experiment, "final"))
    found |= relative_differences(metrics, _recorded(experiment, "figures"))
    return max((difference, name) for name, difference in found.items())


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_fifty_steps_equal_the_recorded_ones(experiment: str) -> None:
    assert _worst_difference(experiment) < (1e-8, "")


def _clip_after_adam(config: Any) -> optax.GradientTransformation:
    return optax.chain(scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps), _clip(config), optax.scale(-config.lr))


def _clip(config: Any) -> optax.GradientTransformation:
    return clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()


def _mixed_batch(gan: Gan, disc: NetState, *, real: jax.Array, fake: jax.Array, **_: Any) -> Any:
    """Update D on real and fake images in one forward pass, so that they share batch statistics."""
    assert gan.axis_name is None

    def loss_of(params: Any) -> Any:
        logits, buffers = gan.disc.apply(params, disc.buffers, jnp.concatenate([real, fake]), mode="train")
        real_logits, fake_logits = jnp.split(logits, 2)
        return gan.objective.adversarial.disc(real_logits, fake_logits), (real_logits, fake_logits, buffers)

    (loss_d, (real_logits, fake_logits, buffers)), grads = jax.value_and_grad(loss_of, has_aux=True)(disc.params)
    updates, opt = gan.disc_optimizer.update(grads, disc.opt, disc.params)
    metrics = {
        "loss_d": loss_d, "d_real": jnp.mean(jax.nn.sigmoid(real_logits)), "d_fake_before": jnp.mean(jax.nn.sigmoid(fake_logits)),
        "grad_norm_d": optax.tree.norm(grads),
    }  # fmt: skip
    return NetState(optax.apply_updates(disc.params, updates), buffers, opt), metrics, {}


ERRORS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "batch norm's momentum 0.9": lambda patch: patch.setattr(layers.BatchNorm, "momentum", 0.9),
    "batch norm's eps 1e-3": lambda patch: patch.setattr(layers.BatchNorm, "eps", 1e-3),
    "no power iteration": lambda patch: patch.setattr(
        layers, "power_iteration", lambda matrix, u: (u, layers.l2_normalise(matrix @ u))
    ),
    "two power iterations": lambda patch: patch.setattr(layers, "power_iteration", _twice(layers.power_iteration)),
    "spectral norm's gradient without sigma's": lambda patch: patch.setattr(
        layers.SpectralConv, "_sigma", _stopped(layers.SpectralConv._sigma)
    ),
    "clipping after Adam": lambda patch: patch.setattr(gan_module, "build_optimizer", _clip_after_adam),
    "real and fake in one batch": lambda patch: patch.setattr(step, "_update_disc", _mixed_batch),
    "no gradient through one convolution": lambda patch: patch.setattr(gan_module, "convolutions", _stopped_up),
}


def _twice(iterate: Callable[..., Any]) -> Callable[..., Any]:
    return lambda matrix, u: iterate(matrix, iterate(matrix, u)[0])


def _stopped(sigma: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    return lambda self, kernel, *, mode: jax.lax.stop_gradient(sigma(self, kernel, mode=mode))


def _stopped_up(conv_impl: Any) -> Convolutions:
    maps = convolutions(conv_impl)
    return maps._replace(project_up=lambda x, kernel: maps.project_up(x, jax.lax.stop_gradient(kernel)))


@pytest.mark.parametrize("error", ERRORS)
def test_each_deliberate_error_is_found(error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ERRORS[error](monkeypatch)
    # At least ten thousand times the tolerance, so no error is close to it.
    assert _worst_difference("stabilised") > (1e-4, "")
