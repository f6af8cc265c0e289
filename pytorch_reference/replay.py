"""Replay of small systems step by step, ours and the oracle's, from the same weights, images and latents, in any precision."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sharingan_jax.config.load import load_config
from sharingan_jax.config.schema import Config, NetworkConfig
from sharingan_jax.data.emblems.draw import draw_emblems
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.gan.gan import build_gan
from sharingan_jax.gan.metrics import METRIC_NAMES
from sharingan_jax.gan.state import TrainState
from sharingan_jax.gan.step import train_step
from sharingan_jax.interop.state_dict import Tensors, from_tensors, moment_tensors, to_tensors

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ("baseline", "modified_loss", "stabilised", "stabilised_long", "stabilised_modified")
B, NZ, WIDTH = 5, 4, 2
PRE_ACTIVATION = {f"model__{net}__norm_position": "pre_activation" for net in ("gen", "disc")}
"""Changes for `small_config`: batch norm before the activation, in both networks."""
Batches = Callable[..., tuple[np.ndarray, np.ndarray]]
Watch = Callable[[Tensors], object]


def small_config(experiment: str, *, width: int = WIDTH, conv_impl: str = "direct", **changes: str) -> Config:
    """Return one of the post's configurations at 64 pixels, but narrow; `model__dtype="bfloat16"` is a further change."""
    sizes = {"model.nz": str(NZ), "model.gen.width": str(width), "model.disc.width": str(width), "model.conv_impl": conv_impl}
    more = {key.replace("__", "."): value for key, value in changes.items()}
    return load_config(ROOT / "configs" / f"{experiment}.py", (sizes | more).items())


def batch(step: int, *, count: int = B, nz: int = NZ) -> tuple[np.ndarray, np.ndarray]:
    """Return a step's images [B, 64, 64, 3] in [−1, 1] and latents [B, nz], float64, from numpy's frozen legacy generator."""
    draws = np.random.RandomState(step)
    return draws.uniform(-1, 1, (count, 64, 64, 3)), draws.standard_normal((count, nz))


def emblem_batch(step: int, *, count: int, nz: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the same with the images that a run on the emblems sees at that step."""
    images_u8 = _emblems()
    plan = BatchPlan(len(images_u8), batch_size=count, seed=0, last_batch="keep")
    return images_u8[plan.indices(step)] / 127.5 - 1.0, np.random.RandomState(step).standard_normal((count, nz))


@cache
def _emblems() -> np.ndarray:
    return draw_emblems(size=64)[0]


def replay_ours(
    config: Config,
    initial: Tensors | TrainState,
    *,
    steps: int,
    dtype: str = "float64",
    count: int = B,
    source: Batches = batch,
    first: int = 1,
    watch: Watch | None = None,
    step_once: Callable[..., Any] | None = None,
) -> tuple[Tensors, dict[str, np.ndarray]]:
    """Run `steps` steps from `initial`, starting at step `first`. Return (all tensors and moments at the end, metrics [steps]).

    `watch` is called with both networks' tensors after each step. `step_once` is `jit_step(config)`, for callers that replay a
    system several times and compile it once.
    """
    with jax.enable_x64(dtype == "float64"):
        gan = build_gan(config)
        step_once = step_once or jit_step(config)
        state = initial
        if isinstance(state, dict):
            state = from_tensors(config, gan, state, gen_adam=None, disc_adam=None)
        state = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype if leaf.dtype == np.float32 else leaf.dtype), state)
        rows = []
        for step in range(first, first + steps):
            real, z = source(step, count=count, nz=config.model.nz)
            state, metrics = step_once(state, jnp.asarray(real, dtype), jnp.asarray(z, dtype))
            rows.append(jax.device_get(metrics))
            if watch is not None:
                watch(to_tensors(config, jax.device_get(state)))
        end = jax.device_get(state)
    metrics = {name: np.array([row[name] for row in rows], np.float64) for name in METRIC_NAMES}
    return to_tensors(config, end) | moment_tensors(config, end), metrics


def jit_step(config: Config) -> Callable[..., Any]:
    """Return our compiled step: (state, real [B, H, W, C], z [B, nz]) -> (state, metrics)."""
    gan = build_gan(config)

    @jax.jit
    def step_once(state: Any, real: jax.Array, z: jax.Array) -> Any:
        with jax.default_matmul_precision("highest"):
            return train_step(gan, state, real, z)

    return step_once


def replay_oracle(
    config: Config,
    initial: Tensors,
    *,
    steps: int,
    dtype: str = "float64",
    count: int = B,
    source: Batches = batch,
    watch: Watch | None = None,
) -> tuple[Tensors, dict[str, np.ndarray]]:
    """Replay the oracle in the same way. Needs torch."""
    import torch

    from pytorch_reference import oracle

    kind = getattr(torch, dtype)
    training = make_oracle(config, initial, dtype=dtype)
    rows = []
    for step in range(1, steps + 1):
        real, z = source(step, count=count, nz=config.model.nz)
        rows.append(training.step(oracle.as_torch(real).to(kind), torch.tensor(z).to(kind)))
        if watch is not None:
            watch(training.networks())
    return training.tensors(), {name: np.array([row[name] for row in rows]) for name in METRIC_NAMES}


def make_oracle(config: Config, initial: Tensors | None, *, dtype: str = "float64") -> Any:
    """Return the oracle of a configuration with the given weights, or with weights that it draws. Needs torch."""
    import torch

    from pytorch_reference import oracle

    model = config.model
    gen = oracle.Generator(nz=model.nz, **_oracle_options(model.gen))
    disc = oracle.Discriminator(**_oracle_options(model.disc))
    for net in (gen, disc):
        if initial is None:
            oracle.initialise(net)
        else:
            oracle.load(net, initial)
        net.to(getattr(torch, dtype))
    return oracle.Training(gen, disc, beta=config.loss.beta, clip_norm=config.optim.disc.clip_norm)


def _oracle_options(network: NetworkConfig) -> dict[str, Any]:
    return {"width": network.width, "spectral": network.spectral_norm, "norm_position": network.norm_position}


def relative_differences(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, float]:
    """Return for each name the largest absolute difference, relative to the largest value; infinite for a non-finite value."""
    assert set(ours) == set(theirs), set(ours) ^ set(theirs)
    found = {}
    for name, array in theirs.items():
        assert ours[name].shape == array.shape, name
        apart = float(np.abs(ours[name] - array).max() / max(float(np.abs(array).max()), 1e-300))
        found[name] = apart if np.isfinite(apart) else np.inf  # NaN would pass through `max` and comparisons undetected.
    return found


def weight_distance(tensors: Tensors, exact: Tensors) -> float:
    """Return the distance of all weights from the exact ones, as a fraction of their norm (over all weights together)."""
    weights = [name for name in exact if name.endswith((".weight", ".weight_orig"))]
    apart = sum(float(np.sum((tensors[name] - exact[name]) ** 2)) for name in weights)
    return float(np.sqrt(apart / sum(float(np.sum(exact[name] ** 2)) for name in weights)))
