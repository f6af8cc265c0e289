"""Networks as pure functions of plain nested dicts. Only this file splits and merges NNX modules."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from sharingan_jax.model.layers import Buffer, Mode
from sharingan_jax.model.rng import NamedNormals, Shape, normal_arrays

Arrays = dict[str, Any]
"""Nested dicts with arrays as leaves, `{"to4": {"kernel": ...}, ...}`."""


@dataclass(frozen=True)
class Net:
    """A network as two pure functions; `make` builds the NNX module from named normal draws."""

    make: Callable[[NamedNormals], nnx.Module]

    def init(self, key: Array) -> tuple[Arrays, Arrays]:
        """Draw (params, buffers): a pure function of the typed key."""
        shapes: dict[str, Shape] = {}

        def record(path: str, shape: Shape) -> Array:
            shapes[path] = shape
            return jnp.zeros(shape)

        nnx.eval_shape(lambda: self.make(NamedNormals(record)))
        arrays = normal_arrays(key, shapes)
        module = self.make(NamedNormals(lambda path, _: arrays[path]))
        return nnx.to_pure_dict(nnx.state(module, nnx.Param)), nnx.to_pure_dict(nnx.state(module, Buffer))

    def apply(
        self, params: Arrays, buffers: Arrays, x: Array, *, mode: Mode, condition: Array | None = None
    ) -> tuple[Array, Arrays]:
        """Return (output, buffers after the pass). In modes other than `"train"` the buffers are returned unchanged.

        A `condition` is what D judges images by: the class of each, one-hot [B, classes].
        """
        module = nnx.merge(self._graphdef, params, buffers)
        y = module(x, mode=mode) if condition is None else module(x, mode=mode, condition=condition)
        if mode != "train":
            return y, buffers
        return y, nnx.to_pure_dict(nnx.state(module, Buffer))

    @cached_property
    def _graphdef(self) -> Any:
        abstract = nnx.eval_shape(lambda: self.make(NamedNormals(lambda _, shape: jnp.zeros(shape))))
        return nnx.split(abstract, nnx.Param, Buffer)[0]
