"""The shapes of both networks at every size (the reference's at 64), their initial weights, and the place of batch norm."""

from dataclasses import fields

import jax
import numpy as np
import pytest
from conftest import smoke_config

from sharingan_jax.config.schema import Config, NetworkConfig
from sharingan_jax.gan.gan import Gan, build_gan, init_state
from sharingan_jax.model.architectures import ARCHITECTURES
from sharingan_jax.model.layers import NORMS
from sharingan_jax.model.rng import Stream, seed_key, stream_key


def _shapes(config: Config) -> tuple[dict, dict, dict, dict]:
    gan = build_gan(config)
    key = stream_key(seed_key(0), Stream.GEN_INIT)
    trees = (*jax.eval_shape(lambda: gan.gen.init(key)), *jax.eval_shape(lambda: gan.disc.init(key)))
    return tuple(  # type: ignore[return-value]
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree in trees
    )


def test_at_64_the_kernels_are_the_references() -> None:
    gen, gen_buffers, disc, disc_buffers = _shapes(
        smoke_config(data__size="64", model__nz="100", model__gen__width="64", model__disc__width="64")
    )
    assert {name: shape for name, shape in gen.items() if name.endswith("kernel")} == {
        "to4/kernel": (4, 4, 100, 512), "to8/kernel": (4, 4, 512, 256), "to16/kernel": (4, 4, 256, 128),
        "to32/kernel": (4, 4, 128, 64), "to64/kernel": (4, 4, 64, 3),
    }  # fmt: skip
    assert {name: shape for name, shape in disc.items() if name.endswith("kernel")} == {
        "to32/kernel": (4, 4, 3, 64), "to16/kernel": (4, 4, 64, 128), "to8/kernel": (4, 4, 128, 256),
        "to4/kernel": (4, 4, 256, 512), "to1/kernel": (4, 4, 512, 1),
    }  # fmt: skip
    assert {name for name in gen if name.startswith("bn") and name.endswith("scale")} == {
        f"bn{side}/scale" for side in (4, 8, 16, 32)
    }
    assert {name for name in disc if name.startswith("bn") and name.endswith("scale")} == {
        f"bn{side}/scale" for side in (16, 8, 4)
    }
    assert {name for name in gen_buffers if name.endswith("/u")} == {f"to{side}/u" for side in (4, 8, 16, 32, 64)}
    assert {name for name in disc_buffers if name.endswith("/u")} == {f"to{side}/u" for side in (32, 16, 8, 4)}


def test_dcgan_full_is_dcgan_with_a_3x3_convolution_at_the_images_side() -> None:
    small = {"data__size": "64", "model__nz": "100", "model__gen__width": "64", "model__disc__width": "32"}
    plain = _shapes(smoke_config(**small))
    full = _shapes(smoke_config(**small, model__gen__arch="dcgan_full", model__disc__arch="dcgan_full"))
    gen, disc = (_kernels(full[i]) for i in (0, 2))
    assert _kernels(plain[0]) | {"to64": (4, 4, 64, 32), "to_image": (3, 3, 32, 3)} == gen
    assert _kernels(plain[2]) | {"to32": (4, 4, 16, 32), "from_image": (3, 3, 3, 16)} == disc
    assert {name for name in full[0] if name not in plain[0]} == {"to_image/kernel", "bn64/scale", "bn64/bias"}
    assert {name for name in full[2] if name not in plain[2]} == {
        "from_image/kernel",
        "from_image_bias/bias",
        "bn32/scale",
        "bn32/bias",
    }


def _kernels(shapes: dict) -> dict:
    return {name.removesuffix("/kernel"): shape for name, shape in shapes.items() if name.endswith("kernel")}


@pytest.mark.parametrize("size", [32, 64, 128, 256])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_both_networks_take_every_image_size(size: int, channels: int) -> None:
    gan = build_gan(
        smoke_config(data__size=str(size), data__channels=str(channels), model__gen__width="4", model__disc__width="4")
    )

    def through() -> tuple[jax.Array, jax.Array]:
        key = seed_key(0)
        fake, _ = gan.gen.apply(*gan.gen.init(stream_key(key, Stream.GEN_INIT)), jax.numpy.zeros((3, 16)), mode="train")
        logits, _ = gan.disc.apply(*gan.disc.init(stream_key(key, Stream.DISC_INIT)), fake, mode="train")
        return fake, logits

    fake, logits = jax.eval_shape(through)
    assert fake.shape == (3, size, size, channels)
    assert logits.shape == (3,)


def _initial(gan: Gan) -> tuple[dict, dict]:
    return jax.jit(gan.gen.init)(stream_key(seed_key(0), Stream.GEN_INIT))


def test_the_same_seed_gives_the_same_kernels_with_and_without_spectral_norm() -> None:
    with_norm, _ = _initial(build_gan(smoke_config()))
    without, buffers = _initial(build_gan(smoke_config(model__gen__spectral_norm="False")))
    jax.tree.map(np.testing.assert_array_equal, with_norm, without)
    assert not any(name.startswith("to") for name in buffers)


def test_initial_weights_have_the_stated_distributions() -> None:
    params, buffers = _initial(build_gan(smoke_config(model__gen__width="32")))
    kernel = np.asarray(params["to8"]["kernel"])
    np.testing.assert_allclose([kernel.mean(), kernel.std()], [0.0, 0.02], atol=2e-4)
    np.testing.assert_allclose([params["bn4"]["scale"].mean(), params["bn4"]["scale"].std()], [1.0, 0.02], atol=8e-3)
    assert not params["bn4"]["bias"].any()
    assert not buffers["bn4"]["mean"].any()
    assert (buffers["bn4"]["var"] == 1).all()
    np.testing.assert_allclose(np.linalg.norm(buffers["to8"]["u"]), 1.0, rtol=1e-6)


@pytest.mark.parametrize("position", ["post_activation", "pre_activation"])
def test_batch_norm_is_where_norm_position_says(position: str) -> None:
    gan = build_gan(smoke_config(model__gen__norm_position=position))
    params, buffers = _initial(gan)
    params = {**params, "bn4": {"scale": 0 * params["bn4"]["scale"], "bias": 0 * params["bn4"]["bias"] - 1.0}}
    # This batch norm returns −1 everywhere. A ReLU after it makes the image 0; a ReLU before it does not.
    fake, _ = jax.jit(lambda z: gan.gen.apply(params, buffers, z, mode="running"))(jax.numpy.ones((1, 16)))
    assert bool(np.abs(fake).max() > 0) == (position == "post_activation")


def test_the_choices_of_a_configuration_are_the_entries_of_the_tables() -> None:
    choices = {entry.name: entry.metadata["rule"].choices for entry in fields(NetworkConfig)}
    assert choices["arch"] == tuple(ARCHITECTURES)
    assert choices["norm"] == tuple(NORMS)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_takes_every_norm_and_a_batch_statistic(arch: str, norm: str) -> None:
    changes = {f"model__{net}__{key}": value for net in ("gen", "disc") for key, value in (("arch", arch), ("norm", norm))}
    gan = build_gan(smoke_config(**changes, model__minibatch_std="true", model__nz="8"))
    state = jax.eval_shape(lambda: init_state(gan, seed=0))
    z = jax.ShapeDtypeStruct((2, 8), np.float32)
    fake, _ = jax.eval_shape(lambda gen, z: gan.gen.apply(gen.params, gen.buffers, z, mode="train"), state.gen, z)
    logits, _ = jax.eval_shape(lambda disc, x: gan.disc.apply(disc.params, disc.buffers, x, mode="train"), state.disc, fake)
    assert (fake.shape, logits.shape) == ((2, 32, 32, 3), (2,))
    apart = build_gan(smoke_config(**changes, model__minibatch_std="true", model__minibatch_logit="true", model__nz="8"))
    logits, _ = jax.eval_shape(lambda disc, x: apart.disc.apply(disc.params, disc.buffers, x, mode="train"), state.disc, fake)
    assert logits.shape == (2, 2)  # From the same parameters.
    last, block = ("to_logit", "block8") if arch == "resnet" else ("to1", "to8")
    assert state.disc.params[last]["kernel"].shape[2] % 2 == 1  # One channel more than the powers of two before it.
    kernel = state.gen.params[block]["conv1"]["kernel"] if arch == "resnet" else state.gen.params[block]["kernel"]
    assert kernel.shape[:2] == ((4, 4) if arch in ("dcgan", "dcgan_full") else (3, 3))
