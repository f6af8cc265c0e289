"""The parts of recipes against PyTorch in float64: values, gradients, and the gradients that penalties on D's gradient take.

Losses, norms, resampling and whole networks of each architecture are written once more here in PyTorch's own operations.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config

from sharingan_jax.gan.gan import build_gan, init_state
from sharingan_jax.gan.losses import LOSSES
from sharingan_jax.gan.penalties import lecam
from sharingan_jax.model.convolutions_3x3 import downsample, upsample
from sharingan_jax.model.layers import GroupNorm, PixelNorm, minibatch_deviation
from sharingan_jax.model.rng import NamedNormals

torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")
F: Any = torch.nn.functional

pytestmark = pytest.mark.usefixtures("compiled_quickly", "float64")

TOLERANCE = 1e-9
Params = dict[str, Any]


def _random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def _compare(ours: Callable[..., Any], theirs: Callable[..., Any], *inputs: Any) -> None:
    """Compare a function of trees of arrays with PyTorch's: its value, its gradient, and the gradient of that gradient's size.

    The gradients are of the sum of the sines of all values, so that each value counts, and differently.
    """

    def value(*x: Any) -> Any:
        return jnp.sum(jnp.sin(ours(*x)))

    def size(*x: Any) -> Any:
        grads = jax.grad(value, argnums=tuple(range(len(x))))(*x)
        return 0.5 * sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(grads))

    inputs = jax.tree.map(jnp.asarray, inputs)
    tensors = jax.tree.map(lambda x: torch.tensor(np.asarray(x), requires_grad=True), inputs)
    leaves = jax.tree.leaves(tensors)
    their_value = theirs(*tensors)
    their_grads = torch.autograd.grad(torch.sin(their_value).sum(), leaves, create_graph=True)
    their_second = torch.autograd.grad(0.5 * sum((grad**2).sum() for grad in their_grads), leaves)
    found = ours(*inputs), jax.tree.leaves(jax.grad(value, tuple(range(len(inputs))))(*inputs))
    _equal([found[0], *found[1]], [their_value, *their_grads])
    _equal(jax.tree.leaves(jax.jit(jax.grad(size, tuple(range(len(inputs)))))(*inputs)), their_second)


def _equal(ours: Any, theirs: Any) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        expected = other.detach().numpy()
        assert np.asarray(mine).dtype == np.float64
        np.testing.assert_allclose(mine, expected, rtol=0, atol=TOLERANCE * max(1.0, np.abs(expected).max()))


BCE, MSE = torch.nn.BCEWithLogitsLoss(), torch.nn.MSELoss()
DISC_LOSSES: dict[str, Any] = {
    "bce": lambda real, fake: BCE(real, torch.ones_like(real)) + BCE(fake, torch.zeros_like(fake)),
    "hinge": lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
    "least_squares": lambda real, fake: 0.5 * (MSE(real, torch.ones_like(real)) + MSE(fake, torch.zeros_like(fake))),
    "wasserstein": lambda real, fake: fake.mean() - real.mean(),
    "relativistic": lambda real, fake: BCE(real - fake, torch.ones_like(real)),
}
GEN_LOSSES: dict[str, Any] = {
    "bce": lambda fake, real: BCE(fake, torch.ones_like(fake)),
    "hinge": lambda fake, real: -fake.mean(),
    "least_squares": lambda fake, real: 0.5 * MSE(fake, torch.ones_like(fake)),
    "wasserstein": lambda fake, real: -fake.mean(),
    "relativistic": lambda fake, real: BCE(fake - real, torch.ones_like(fake)),
}


@pytest.mark.parametrize("name", DISC_LOSSES)
def test_each_loss_has_pytorchs_gradients(name: str) -> None:
    real, fake = 2 * _random(2, 7)
    assert set(DISC_LOSSES) | {"bce_clamped"} == set(LOSSES)  # test_losses.py has the clamped one.
    _compare(LOSSES[name].disc, DISC_LOSSES[name], real, fake)
    if LOSSES[name].gen_needs_real:
        _compare(LOSSES[name].gen, GEN_LOSSES[name], fake, real)
    else:
        _compare(lambda x: LOSSES[name].gen(x, None), lambda x: GEN_LOSSES[name](x, None), fake)


def test_lecam_has_pytorchs_gradients() -> None:
    def theirs(real: Any, fake: Any) -> Any:
        return ((real - 0.3) ** 2).mean() + ((fake + 0.2) ** 2).mean()

    means = {"real_mean": jnp.asarray(-0.2), "fake_mean": jnp.asarray(0.3)}
    _compare(lambda real, fake: lecam(real, fake, **means), theirs, *_random(2, 7))


def _nchw(x: Any) -> Any:
    return x.permute(0, 3, 1, 2).contiguous()


def _nhwc(x: Any) -> Any:
    return x.permute(0, 2, 3, 1).contiguous()


def _pixel_norm(x: Any, bias: Any) -> Any:
    return x / torch.sqrt((x**2).mean(3, keepdim=True) + 1e-8) + bias


def _group_norm(x: Any, scale: Any, bias: Any) -> Any:
    return _nhwc(F.group_norm(_nchw(x), np.gcd(x.shape[3], 8), scale, bias, 1e-5))


def _deviation(x: Any) -> Any:
    number = torch.sqrt(x.var(0, unbiased=False) + 1e-8).mean()
    return torch.cat([x, number.expand(*x.shape[:3], 1)], 3)


def _upsample(x: Any) -> Any:
    return _nhwc(F.interpolate(_nchw(x), scale_factor=2, mode="bilinear", align_corners=False))


def _downsample(x: Any) -> Any:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8
    padded = F.pad(_nchw(x), (1, 1, 1, 1), mode="replicate")
    kernel = (taps[:, None] * taps).expand(x.shape[3], 1, 4, 4)
    return _nhwc(F.conv2d(padded, kernel, stride=2, groups=x.shape[3]))


def _normals() -> NamedNormals:
    return NamedNormals(lambda _, shape: jnp.zeros(shape))


def test_pixel_norm_has_pytorchs_gradients() -> None:
    def ours(x: Any, bias: Any) -> Any:
        layer = PixelNorm(6, normals=_normals())
        layer.bias[...] = bias
        return layer(x, mode="train")

    _compare(ours, _pixel_norm, _random(2, 4, 4, 6), _random(6, seed=1))


def test_group_norm_has_pytorchs_gradients() -> None:
    def ours(x: Any, scale: Any, bias: Any) -> Any:
        layer = GroupNorm(12, normals=_normals())
        layer.scale[...], layer.bias[...] = scale, bias
        return layer(x, mode="train")

    _compare(ours, _group_norm, _random(2, 4, 4, 12), *_random(2, 12, seed=1))


def test_the_deviation_of_a_minibatch_has_pytorchs_gradients() -> None:
    _compare(lambda x: minibatch_deviation(x, axis_name=None), _deviation, _random(5, 2, 2, 3))


@pytest.mark.parametrize(("ours", "theirs"), [(upsample, _upsample), (downsample, _downsample)])
def test_resampling_has_pytorchs_gradients(ours: Any, theirs: Any) -> None:
    _compare(ours, theirs, _random(2, 8, 8, 3))


def _convolved(x: Any, kernel: Any, *, stride: int = 1) -> Any:
    return _nhwc(F.conv2d(_nchw(x), kernel.permute(3, 2, 0, 1).contiguous(), stride=stride, padding=1))


def _transposed(x: Any, kernel: Any) -> Any:
    return _nhwc(F.conv_transpose2d(_nchw(x), kernel.permute(2, 3, 0, 1).contiguous(), stride=2, padding=1))


def _doubled(x: Any, kernel: Any) -> Any:
    return _convolved(x.repeat_interleave(2, 1).repeat_interleave(2, 2), kernel.flip(0, 1))  # See `upsample_and_convolve`.


def _halved(x: Any, kernel: Any) -> Any:
    return _nhwc(F.avg_pool2d(_nchw(_convolved(x, kernel)), 2))


def _projected(z: Any, kernel: Any) -> Any:
    return torch.einsum("bz,hwzc->bhwc", z, kernel)


def _scored(x: Any, kernel: Any) -> Any:
    return torch.einsum("bhwc,hwco->bo", x, kernel)[:, 0]


def _dcgan_gen(p: Params, z: Any, *, arch: str) -> Any:
    double = _doubled if arch == "dcgan_up" else _transposed
    x = _projected(z, p["to4"]["kernel"])
    x = _pixel_norm(F.relu(x), p["bn4"]["bias"])
    sides = [8, 16, 32]
    for side in sides:
        x = double(x, p[f"to{side}"]["kernel"])
        if f"bn{side}" in p:
            x = _pixel_norm(F.relu(x), p[f"bn{side}"]["bias"])
    return torch.tanh(_convolved(x, p["to_image"]["kernel"]) if arch == "dcgan_full" else x)


def _dcgan_disc(p: Params, x: Any, *, arch: str) -> Any:
    if arch == "dcgan_full":
        x = F.leaky_relu(_convolved(x, p["from_image"]["kernel"]) + p["from_image_bias"]["bias"], 0.2)
    for side in (16, 8, 4):
        kernel = p[f"to{side}"]["kernel"]
        x = _halved(x, kernel) if arch == "dcgan_up" else _convolved(x, kernel, stride=2)
        x = F.leaky_relu(x + p[f"bn{side}"]["bias"] if f"bn{side}" in p else x, 0.2)
    return _scored(_deviation(x), p["to1"]["kernel"])


def _block(p: Params, x: Any, before: Callable[[Any, Params], Any]) -> Any:
    y = _convolved(before(x, p["before1"]), p["conv1"]["kernel"])
    y = _convolved(before(y, p["before2"]), p["conv2"]["kernel"])
    return (x @ p["skip"]["kernel"][0, 0] if "skip" in p else x) + y


def _resnet_gen(p: Params, z: Any, *, arch: str) -> Any:
    def before(x: Any, own: Params) -> Any:
        return _pixel_norm(F.relu(x), own["norm"]["bias"])

    x = _block(p["block4"], _projected(z, p["project"]["kernel"]), before)
    for side in (8, 16, 32):
        x = _block(p[f"block{side}"], _upsample(x), before)
    return torch.tanh(_convolved(before(x, p["activated"]), p["to_image"]["kernel"]))


def _resnet_disc(p: Params, x: Any, *, arch: str) -> Any:
    def before(x: Any, own: Params) -> Any:
        return F.leaky_relu(x + own["norm"]["bias"], 0.2)

    x = _convolved(x, p["from_image"]["kernel"])
    for side in (32, 16, 8):
        x = _downsample(_block(p[f"block{side}"], x, before))
    x = before(_block(p["block4"], x, before), p["activated"])
    return _scored(_deviation(x), p["to_logit"]["kernel"])


NETWORKS = dict.fromkeys(("dcgan", "dcgan_up", "dcgan_full"), (_dcgan_gen, _dcgan_disc)) | {"resnet": (_resnet_gen, _resnet_disc)}


@pytest.mark.slow
@pytest.mark.parametrize("arch", NETWORKS)
def test_whole_networks_of_each_architecture_have_pytorchs_gradients(arch: str) -> None:
    """With all weights moved from where they start: a new residual block would hide its second convolution."""
    settings = {"model__gen__arch": arch, "model__disc__arch": arch, "model__gen__norm": "pixel", "model__disc__norm": "none"}
    settings |= {
        f"model__{net}__{key}": value for net in ("gen", "disc") for key, value in (("spectral_norm", "false"), ("width", "2"))
    }
    settings |= {"model__minibatch_std": "true", "model__nz": "5", "model__conv_impl": "direct", "data__size": "32"}
    settings["model__disc__norm_position"] = "pre_activation"
    gan = build_gan(smoke_config(**settings))
    state = init_state(gan, seed=0)
    rng = np.random.default_rng(0)

    def moved(params: Any) -> Any:
        return jax.tree.map(lambda p: np.asarray(p, np.float64) + 0.3 * rng.standard_normal(p.shape), params)

    their_gen, their_disc = NETWORKS[arch]
    for net, own, theirs, x in (
        (gan.gen, state.gen, their_gen, _random(3, 5)),
        (gan.disc, state.disc, their_disc, 0.5 * _random(3, 32, 32, 3)),
    ):
        ours = partial(net.apply, buffers=own.buffers, mode="train")
        _compare(lambda p, x, ours=ours: ours(p, x=x)[0], partial(theirs, arch=arch), moved(own.params), x)
