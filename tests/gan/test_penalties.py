"""Each penalty against PyTorch: its value, and its gradient with respect to D, which differentiates twice."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from sharingan_jax.config.schema import RULES
from sharingan_jax.gan.penalties import PENALTIES, consistency, lecam
from sharingan_jax.model.convolutions import convolutions

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.uniform(-1, 1, (2, 3, 8, 8, 3)).astype(np.float32)
KERNEL, LAST = (RNG.standard_normal(shape).astype(np.float32) for shape in ((4, 4, 3, 5), (4, 4, 5, 1)))
KEYS = jax.random.split(jax.random.key(0), 3)


def _their_score(images: torch.Tensor, kernel: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    x = torch.nn.functional.conv2d(images.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), stride=2, padding=1)
    return torch.nn.functional.conv2d(torch.tanh(x), last.permute(3, 2, 0, 1))[:, 0, 0, 0]


def _their_penalty(name: str, kernel: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    share = torch.tensor(
        np.array([float(jax.random.uniform(jax.random.fold_in(key, 1), (), "float32")) for key in KEYS]), dtype=torch.float32
    )
    at = {"r1": real, "r2": fake, "gradient_penalty": fake + share[:, None, None, None] * (real - fake)}[name].requires_grad_()
    (grads,) = torch.autograd.grad(_their_score(at, kernel, last).sum(), at, create_graph=True)
    norms = grads.flatten(1).norm(dim=1)
    return ((norms - 1) ** 2).mean() if name == "gradient_penalty" else 0.5 * (norms**2).mean()


def test_each_penalty_equals_pytorchs_with_every_implementation_of_convolutions() -> None:
    for name, penalty in PENALTIES.items():
        kernels = [torch.tensor(array, requires_grad=True) for array in (KERNEL, LAST)]
        theirs = _their_penalty(name, *kernels)
        their_grads = torch.autograd.grad(theirs, kernels)
        for conv_impl in ("direct", "winograd", "patches"):
            maps = convolutions(conv_impl)  # type: ignore[arg-type]

            def ours(kernels: Any, maps: Any = maps, penalty: Any = penalty) -> Any:
                def score(images: Any) -> Any:
                    return maps.project_down(jnp.tanh(maps.down(images, kernels[0])), kernels[1])[:, 0, 0, 0]

                return penalty(score, jnp.asarray(REAL), jnp.asarray(FAKE), KEYS)

            value, grads = jax.value_and_grad(ours)((jnp.asarray(KERNEL), jnp.asarray(LAST)))
            np.testing.assert_allclose(value, theirs.item(), rtol=1e-4, err_msg=f"{name} {conv_impl}")
            for mine, other in zip(grads, their_grads, strict=True):
                scale = float(other.abs().max())
                np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-4 * scale, err_msg=f"{name} {conv_impl}")


def test_a_setting_gives_each_penalty_its_weight() -> None:
    assert {f"loss.{name}" for name in PENALTIES} <= set(RULES)


def test_consistency_is_the_squared_change_of_the_logits_of_real_and_fake_images() -> None:
    real, fake = jnp.asarray(REAL), jnp.asarray(FAKE)
    found = consistency(lambda x: jnp.sum(x, (1, 2, 3)), real, fake, KEYS, change=lambda images, _: images + 0.5)
    np.testing.assert_allclose(found, 2 * (0.5 * real[0].size) ** 2, rtol=1e-4)

    def brighten(images: Any, keys: Any) -> Any:
        return images + jax.vmap(jax.random.uniform)(keys)[:, None, None, None]

    shares = np.array([float(jax.random.uniform(jax.random.fold_in(key, 3))) for key in KEYS])
    found = consistency(lambda x: jnp.sum(x, (1, 2, 3)), real, fake, KEYS, change=brighten)
    np.testing.assert_allclose(found, 2 * np.mean((shares * real[0].size) ** 2), rtol=1e-4)


def test_lecam_follows_its_formula() -> None:
    found = lecam(jnp.array([1.0, 3.0]), jnp.array([-1.0, 0.0]), real_mean=jnp.asarray(2.0), fake_mean=jnp.asarray(-0.5))
    np.testing.assert_allclose(found, (1.5**2 + 3.5**2) / 2 + (3.0**2 + 2.0**2) / 2, rtol=1e-6)
