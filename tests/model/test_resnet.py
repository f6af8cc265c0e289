"""The residual networks: their shapes, what a new block does, and where channels and statistics go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config
from jax import Array

from sharingan_jax.config.schema import Config
from sharingan_jax.gan.gan import Gan, build_gan, init_state
from sharingan_jax.gan.state import TrainState
from sharingan_jax.model.convolutions_3x3 import downsample, upsample


def _config(**changes: str) -> Config:
    nets = {f"model__{net}__{key}": value for net in ("gen", "disc") for key, value in (("arch", "resnet"), ("norm", "none"))}
    plain = {f"model__{net}__spectral_norm": "false" for net in ("gen", "disc")}
    return smoke_config(**(nets | plain | {"model__nz": "8", "model__conv_impl": "direct"} | changes))


def _state(config: Config) -> tuple[Gan, TrainState]:
    gan = build_gan(config)
    return gan, jax.jit(lambda: init_state(gan, seed=0))()


def test_a_new_generator_only_upsamples_and_convolves_once() -> None:
    gan, state = _state(_config())
    params = state.gen.params
    z = jax.random.normal(jax.random.key(1), (2, 8))
    fake, _ = jax.jit(lambda z: gan.gen.apply(params, state.gen.buffers, z, mode="train"))(z)

    x = jnp.einsum("bz,hwzc->bhwc", z, params["project"]["kernel"])
    for side in (4, 8, 16, 32):
        x = x if side == 4 else upsample(x)
        block = params[f"block{side}"]
        assert not np.asarray(block["conv2"]["kernel"]).any()
        x = x @ block["skip"]["kernel"][0, 0] if "skip" in block else x
    x = jax.lax.conv_general_dilated(
        jax.nn.relu(x), params["to_image"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(fake, jnp.tanh(x), rtol=1e-4, atol=1e-5)


def test_a_new_discriminator_scores_a_downsampled_image() -> None:
    gan, state = _state(_config())
    params = state.disc.params
    images = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    logits, _ = jax.jit(lambda images: gan.disc.apply(params, state.disc.buffers, images, mode="train"))(images)

    x = jax.lax.conv_general_dilated(
        images, params["from_image"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    for side in (32, 16, 8, 4):
        block = params[f"block{side}"]
        x = x @ block["skip"]["kernel"][0, 0] if "skip" in block else x
        x = x if side == 4 else downsample(x)
    x = jnp.maximum(x, 0.2 * x)
    np.testing.assert_allclose(logits, jnp.einsum("bhwc,hwco->b", x, params["to_logit"]["kernel"]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("width", "channels"), [(8, {4: 32, 8: 32, 16: 16, 32: 8}), (1, {4: 4, 8: 4, 16: 2, 32: 1})])
def test_the_channels_halve_at_each_doubling(width: int, channels: dict[int, int]) -> None:
    _, state = _state(_config(model__gen__width=str(width)))
    inputs = {side: state.gen.params[f"block{side}"]["conv1"]["kernel"].shape[2] for side in channels}
    assert inputs == channels


def test_with_spectral_norm_no_kernel_starts_at_zero() -> None:
    gan, state = _state(_config(model__gen__spectral_norm="true", model__disc__spectral_norm="true"))
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(state.gen.params) if leaf.ndim == 4)
    fake, _ = jax.jit(lambda gen, z: gan.gen.apply(gen.params, gen.buffers, z, mode="train"))(state.gen, jnp.ones((2, 8)))
    assert np.isfinite(fake).all()


def test_every_parameter_gets_a_gradient_once_the_blocks_have_moved() -> None:
    gan, state = _state(_config(model__minibatch_std="true"))

    def score(disc: dict[str, Array], gen: dict[str, Array], z: Array) -> Array:
        fake, _ = gan.gen.apply(gen, state.gen.buffers, z, mode="train")
        logits, _ = gan.disc.apply(disc, state.disc.buffers, fake, mode="train")
        return jnp.sum(jnp.square(logits))

    moved = jax.tree.map(lambda leaf: leaf + 0.01, (state.disc.params, state.gen.params))
    grads = jax.jit(jax.grad(score, (0, 1)))(*moved, jax.random.normal(jax.random.key(1), (4, 8)))
    dead = [jax.tree_util.keystr(path) for path, leaf in jax.tree_util.tree_leaves_with_path(grads) if not np.asarray(leaf).any()]
    assert not dead
