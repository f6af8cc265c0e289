"""The table of names: every array of the two networks here, and its tensor in the PyTorch original.

The original's networks are `nn.Sequential`s called `gen` and `dis`; the index of a layer counts activations too. At 64 pixels,
with spectral normalisation and batch norm after the activation:

    to4/kernel   gen.0.weight_orig      to32/kernel  dis.0.weight_orig
    to4/u, v     gen.0.weight_u, _v     to32/u, v    dis.0.weight_u, _v
    bn4/scale    gen.2.weight           to16/kernel  dis.2.weight_orig
    bn4/bias     gen.2.bias             bn16/scale   dis.4.weight
    bn4/mean     gen.2.running_mean     ...
    bn4/var      gen.2.running_var      to4/kernel   dis.8.weight_orig
    ...                                 bn4/scale    dis.10.weight
    to64/kernel  gen.12.weight_orig     to1/kernel   dis.11.weight
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sharingan_jax.config.schema import Config
from sharingan_jax.errors import UserError
from sharingan_jax.gan.state import NetState
from sharingan_jax.model.dcgan import stage_sides
from sharingan_jax.model.layers import KERNEL_SIZE
from sharingan_jax.model.symmetry import symmetry_of

Layout = Literal["conv", "transposed", "rows", "vector"]
"""How the axes of an array correspond.

- "conv": a kernel [4, 4, in, out] here, [out, in, 4, 4] in PyTorch;
- "transposed": a kernel [4, 4, in, out] here, [in, out, 4, 4] in PyTorch;
- "rows": v, whose entries run over (row, column, in) here and (in, row, column) in PyTorch;
- "vector": the same in both.
"""

_AXES = {"conv": (3, 2, 0, 1), "transposed": (2, 3, 0, 1)}
_NORM_PLACES = {"post_activation": 2, "pre_activation": 1}  # How many places after its convolution batch norm stands.


@dataclass(frozen=True)
class Tensor:
    """One row of the table: `layer/array` here, `name` in PyTorch. A buffer is an array without a gradient."""

    layer: str
    array: str
    name: str
    layout: Layout
    is_buffer: bool

    def array_of(self, net: NetState) -> Any:
        """Return the array of this row in a network's state."""
        return (net.buffers if self.is_buffer else net.params)[self.layer][self.array]

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """Return our array in PyTorch's layout, contiguous."""
        match self.layout:
            case "conv" | "transposed":
                array = array.transpose(_AXES[self.layout])
            case "rows":
                array = array.reshape(KERNEL_SIZE, KERNEL_SIZE, -1).transpose(2, 0, 1).reshape(-1)
        return np.ascontiguousarray(array)

    def from_torch(self, tensor: np.ndarray) -> np.ndarray:
        """Return PyTorch's tensor in our layout, contiguous."""
        match self.layout:
            case "conv" | "transposed":
                tensor = tensor.transpose(np.argsort(_AXES[self.layout]))
            case "rows":
                tensor = tensor.reshape(-1, KERNEL_SIZE, KERNEL_SIZE).transpose(1, 2, 0).reshape(-1)
        return np.ascontiguousarray(tensor)


def gen_table(config: Config) -> list[Tensor]:
    """Return the generator's rows, in the order of the original's `parameters()`; a layer's buffers follow its parameters."""
    _check_original(config)
    sides, network = stage_sides(config.data.size), config.model.gen
    rows: list[Tensor] = []
    for i, side in enumerate(sides):
        rows += _convolution(f"to{side}", f"gen.{3 * i}", layout="transposed", normalised=network.spectral_norm)
        if i < len(sides) - 1:
            rows += _batch_norm(f"bn{side}", f"gen.{3 * i + _NORM_PLACES[network.norm_position]}")
    return rows


def disc_table(config: Config) -> list[Tensor]:
    """Return the discriminator's rows in the same order. Its first layer has no batch norm, its last no spectral norm."""
    _check_original(config)
    sides, network = stage_sides(config.data.size)[-2::-1], config.model.disc
    rows: list[Tensor] = []
    for i, side in enumerate(sides):
        place = max(0, 3 * i - 1)
        rows += _convolution(f"to{side}", f"dis.{place}", layout="conv", normalised=network.spectral_norm)
        if i > 0:
            rows += _batch_norm(f"bn{side}", f"dis.{place + _NORM_PLACES[network.norm_position]}")
    return [*rows, *_convolution("to1", f"dis.{3 * len(sides) - 1}", layout="conv", normalised=False)]


def _check_original(config: Config) -> None:
    """Raise UserError if a network has layers that the original has not."""
    model = config.model
    for key, value, original in (
        ("model.gen.arch", model.gen.arch, "dcgan"),
        ("model.disc.arch", model.disc.arch, "dcgan"),
        ("model.gen.norm", model.gen.norm, "batch"),
        ("model.disc.norm", model.disc.norm, "batch"),
        ("model.minibatch_std", model.minibatch_std, False),
        ("model.dropout", model.dropout, 0.0),
        ("model.symmetry", symmetry_of(config), "none"),
        ("model.classes", model.classes, 0),
    ):
        if value != original:
            hint = "Export a sampler instead: --format stablehlo."
            raise UserError(f"{key}={value}: expected {original} for PyTorch's names, since the original has no other. {hint}")


def _convolution(layer: str, prefix: str, *, layout: Layout, normalised: bool) -> Iterator[Tensor]:
    if not normalised:
        yield Tensor(layer, "kernel", f"{prefix}.weight", layout, is_buffer=False)
        return
    yield Tensor(layer, "kernel", f"{prefix}.weight_orig", layout, is_buffer=False)
    yield Tensor(layer, "u", f"{prefix}.weight_u", "vector", is_buffer=True)
    yield Tensor(layer, "v", f"{prefix}.weight_v", "rows", is_buffer=True)


def _batch_norm(layer: str, prefix: str) -> Iterator[Tensor]:
    yield Tensor(layer, "scale", f"{prefix}.weight", "vector", is_buffer=False)
    yield Tensor(layer, "bias", f"{prefix}.bias", "vector", is_buffer=False)
    yield Tensor(layer, "mean", f"{prefix}.running_mean", "vector", is_buffer=True)
    yield Tensor(layer, "var", f"{prefix}.running_var", "vector", is_buffer=True)
