"""Each layer against PyTorch's in float64, forward and backward: relative differences under 1e-10."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pytorch_reference.replay import relative_differences
from sharingan_jax.config.schema import AdamConfig
from sharingan_jax.gan.losses import bce_disc, bce_gen
from sharingan_jax.gan.optim import build_optimizer, clip_by_global_norm
from sharingan_jax.interop.tensor_table import Tensor
from sharingan_jax.model.convolutions import convolutions, project_down, project_up
from sharingan_jax.model.functional import Net
from sharingan_jax.model.layers import BatchNorm, SpectralConv, l2_normalise, leaky_relu
from sharingan_jax.model.rng import NamedNormals

torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")
pytest.importorskip("pytorch_reference.oracle")  # It hides Triton before torch imports it.

pytestmark = pytest.mark.usefixtures("float64")

TOLERANCE = 1e-10
DOWN, UP = (Tensor("to", "kernel", "weight", layout, is_buffer=False) for layout in ("conv", "transposed"))
V = Tensor("to", "v", "weight_v", "rows", is_buffer=True)


def _random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape)


def _nchw(x: np.ndarray) -> Any:
    return torch.tensor(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), requires_grad=True)


def _nhwc(x: Any) -> np.ndarray:
    return x.detach().numpy().transpose(0, 2, 3, 1)


def _check(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    arrays = [{name: np.asarray(value) for name, value in side.items()} for side in (ours, theirs)]
    found = relative_differences(*arrays)
    assert max(found.values()) < TOLERANCE, found


CONVOLUTIONS: dict[str, tuple[Callable[..., jax.Array], Tensor, int, tuple[int, int], str]] = {
    "down, direct": (convolutions("direct").down, DOWN, 16, (2, 1), "conv2d"),
    "down, winograd": (convolutions("winograd").down, DOWN, 16, (2, 1), "conv2d"),
    "up, direct": (convolutions("direct").up, UP, 8, (2, 1), "conv_transpose2d"),
    "up, winograd": (convolutions("winograd").up, UP, 8, (2, 1), "conv_transpose2d"),
    "project down": (project_down, DOWN, 4, (1, 0), "conv2d"),
    "project up": (project_up, UP, 1, (1, 0), "conv_transpose2d"),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str) -> None:
    convolve, row, side, (stride, padding), function = CONVOLUTIONS[name]
    x, kernel = _random(3, side, side, 5), _random(4, 4, 5, 6, seed=1)
    y, pull = jax.vjp(convolve, jnp.asarray(x), jnp.asarray(kernel))
    weight, image = _random(*y.shape, seed=2), _nchw(x)
    theirs = torch.tensor(row.to_torch(kernel), requires_grad=True)
    result = getattr(torch.nn.functional, function)(image, theirs, None, stride, padding)
    result.backward(_nchw(weight).detach())
    grad_x, grad_kernel = pull(jnp.asarray(weight))
    _check(
        {"y": y, "x": grad_x, "kernel": grad_kernel},
        {"y": _nhwc(result), "x": _nhwc(image.grad), "kernel": row.from_torch(theirs.grad.numpy())},
    )


@pytest.mark.parametrize("direction", ["down", "up"])
def test_spectral_normalisation_over_several_calls(direction: str) -> None:
    row, side = (DOWN, 8) if direction == "down" else (UP, 4)
    convolve = getattr(convolutions("direct"), direction)
    net = Net(lambda normals: SpectralConv(5, 6, convolve=convolve, fan_in=80, spectral_norm=True, normals=normals))
    params = {"kernel": jnp.asarray(_random(4, 4, 5, 6))}
    buffers = {"u": l2_normalise(jnp.asarray(_random(6, seed=1))), "v": l2_normalise(jnp.asarray(_random(80, seed=2)))}
    make = torch.nn.Conv2d if direction == "down" else torch.nn.ConvTranspose2d
    layer = torch.nn.utils.spectral_norm(make(5, 6, 4, 2, 1, bias=False).double())
    tensors = {"weight_orig": row.to_torch(np.asarray(params["kernel"])), "weight_v": V.to_torch(np.asarray(buffers["v"]))}
    tensors["weight_u"] = np.array(buffers["u"])
    layer.load_state_dict({name: torch.tensor(array) for name, array in tensors.items()})

    def loss(params: Any, x: jax.Array, buffers: Any) -> Any:
        y, moved = net.apply(params, buffers, x, mode="train")
        return jnp.sum(y**2), (y, moved)

    for call in range(4):
        x = _random(2, side, side, 5, seed=call)
        (grads, grad_x), (y, buffers) = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, jnp.asarray(x), buffers)
        layer.zero_grad()
        image = _nchw(x)
        result = layer(image)
        (result**2).sum().backward()
        _check(
            {"y": y, "kernel": grads["kernel"], "x": grad_x, **buffers},
            {
                "y": _nhwc(result), "kernel": row.from_torch(layer.weight_orig.grad.numpy()), "x": _nhwc(image.grad),
                "u": layer.weight_u.numpy(), "v": V.from_torch(layer.weight_v.numpy()),
            },
        )  # fmt: skip
    layer.eval()
    x = _random(2, side, side, 5, seed=9)
    y, _ = net.apply(params, buffers, jnp.asarray(x), mode="running")
    _check({"y": y}, {"y": _nhwc(layer(_nchw(x)))})


def _normals() -> NamedNormals:
    rng = np.random.RandomState(5)
    return NamedNormals(lambda _, shape: jnp.asarray(rng.standard_normal(shape)))


def test_batch_norm_with_batch_and_running_statistics() -> None:
    bn = BatchNorm(5, normals=_normals())
    layer = torch.nn.BatchNorm2d(5).double()
    layer.weight.data = torch.tensor(np.asarray(bn.scale[...]))
    for call in range(3):
        x, weight = _random(3, 4, 2, 5, seed=call) * 3 + 1, _random(3, 4, 2, 5, seed=10 + call)
        y, pull = jax.vjp(lambda x: bn(x, mode="batch"), jnp.asarray(x))
        bn(jnp.asarray(x), mode="train")
        image = _nchw(x)
        result = layer(image)
        result.backward(_nchw(weight).detach())
        _check(
            {"y": y, "x": pull(jnp.asarray(weight))[0], "mean": bn.mean[...], "var": bn.var[...]},
            {"y": _nhwc(result), "x": _nhwc(image.grad), "mean": layer.running_mean.numpy(), "var": layer.running_var.numpy()},
        )
    layer.eval()
    _check({"y": bn(jnp.asarray(x), mode="running")}, {"y": _nhwc(layer(_nchw(x)))})


def test_ghost_batches_equal_data_parallel() -> None:
    """Each replica normalises with its own part's statistics, and only the first replica's running statistics are kept."""
    bn = BatchNorm(5, ghost_batches=2, normals=_normals())
    first, second = (torch.nn.BatchNorm2d(5).double() for _ in range(2))
    for layer in (first, second):
        layer.weight.data = torch.tensor(np.asarray(bn.scale[...]))
    net = Net(lambda normals: BatchNorm(5, ghost_batches=2, normals=normals))
    params = {"scale": bn.scale[...], "bias": bn.bias[...]}
    buffers = {"mean": bn.mean[...], "var": bn.var[...]}
    for call in range(3):
        x, weight = _random(6, 4, 2, 5, seed=call) * 3 + 1, _random(6, 4, 2, 5, seed=10 + call)
        y, pull, buffers = jax.vjp(
            lambda x, buffers=buffers: net.apply(params, buffers, x, mode="train"), jnp.asarray(x), has_aux=True
        )
        image = _nchw(x)
        result = torch.cat([layer(part) for layer, part in zip((first, second), image.chunk(2), strict=True)])
        result.backward(_nchw(weight).detach())
        _check(
            {"y": y, "x": pull(jnp.asarray(weight))[0], **buffers},
            {"y": _nhwc(result), "x": _nhwc(image.grad), "mean": first.running_mean.numpy(), "var": first.running_var.numpy()},
        )


ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "leaky relu": (leaky_relu, lambda x: torch.nn.functional.leaky_relu(x, 0.2)),
    "relu": (jax.nn.relu, torch.relu),
    "tanh": (jnp.tanh, torch.tanh),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    ours, theirs = ACTIVATIONS[name]
    x = _random(50)
    tensor = torch.tensor(x, requires_grad=True)
    y = theirs(tensor)
    y.sum().backward()
    _check({"y": ours(jnp.asarray(x)), "x": jax.vmap(jax.grad(ours))(jnp.asarray(x))}, {"y": y.detach(), "x": tensor.grad})


def test_cross_entropy_from_logits() -> None:
    real, fake = 5 * _random(7), 5 * _random(7, seed=1)
    tensors = [torch.tensor(x, requires_grad=True) for x in (real, fake)]
    bce = torch.nn.functional.binary_cross_entropy
    loss_d = bce(torch.sigmoid(tensors[0]), torch.ones(7).double()) + bce(torch.sigmoid(tensors[1]), torch.zeros(7).double())
    loss_d.backward()
    grads = jax.grad(bce_disc, argnums=(0, 1))(jnp.asarray(real), jnp.asarray(fake))
    _check(
        {"d": bce_disc(jnp.asarray(real), jnp.asarray(fake)), "real": grads[0], "fake": grads[1]},
        {"d": loss_d.detach(), "real": tensors[0].grad, "fake": tensors[1].grad},
    )
    tensor = torch.tensor(fake, requires_grad=True)
    loss_g = bce(torch.sigmoid(tensor), torch.ones(7).double())
    loss_g.backward()
    _check(
        {"g": bce_gen(jnp.asarray(fake)), "fake": jax.grad(bce_gen)(jnp.asarray(fake))},
        {"g": loss_g.detach(), "fake": tensor.grad},
    )


@pytest.mark.parametrize("size", [0.01, 100.0])
def test_clipping_below_and_above_the_limit(size: float) -> None:
    grads = {"a": size * _random(3, 4), "b": size * _random(5, seed=1)}
    parameters = [torch.nn.Parameter(torch.zeros(array.shape).double()) for array in grads.values()]
    for parameter, array in zip(parameters, grads.values(), strict=True):
        parameter.grad = torch.tensor(array)
    torch.nn.utils.clip_grad_norm_(parameters, 5.0)
    clipped, _ = clip_by_global_norm(5.0).update(jax.tree.map(jnp.asarray, grads), None)  # type: ignore[arg-type]
    _check(clipped, dict(zip(grads, (parameter.grad for parameter in parameters), strict=True)))


@pytest.mark.parametrize("clip_norm", [0.0, 5.0])
def test_adam_over_several_updates(clip_norm: float) -> None:
    adam = AdamConfig("adam", 2e-4, 0.5, 0.999, 1e-8, clip_norm, "constant", 0, 0, 0.0)
    optimizer = build_optimizer(adam)
    params = {"a": jnp.asarray(_random(3, 4)), "b": jnp.asarray(_random(5, seed=1))}
    parameters = {name: torch.nn.Parameter(torch.tensor(np.asarray(array))) for name, array in params.items()}
    theirs = torch.optim.Adam(parameters.values(), 2e-4, (0.5, 0.999))
    state = optimizer.init(params)
    for step in range(20):
        grads = {"a": 10 * _random(3, 4, seed=step), "b": _random(5, seed=50 + step)}
        updates, state = optimizer.update(jax.tree.map(jnp.asarray, grads), state, params)
        params = jax.tree.map(jnp.add, params, updates)
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(grads[name])
        torch.nn.utils.clip_grad_norm_(parameters.values(), clip_norm or float("inf"))
        theirs.step()
    _check(params, {name: parameter.detach() for name, parameter in parameters.items()})
