"""Networks as pure functions of plain nested dicts: the only file that splits and merges NNX modules."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from flax import nnx
from jax import Array

from sharingan_jax.layers import Buffer, Mode

Arrays = dict[str, Any]
"""Nested dicts with arrays as leaves, `{"to4": {"kernel": ...}, ...}`."""


@dataclass(frozen=True)
class Net:
    """A network as two pure functions; `make` builds the NNX module from random streams."""

    make: Callable[[nnx.Rngs], nnx.Module]

    def init(self, key: Array) -> tuple[Arrays, Arrays]:
        """Freshly drawn (params, buffers)."""
        params_key, buffers_key = jax.random.split(key)
        module = self.make(nnx.Rngs(params=params_key, buffers=buffers_key))
        _, params, buffers = nnx.split(module, nnx.Param, Buffer)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(buffers)

    def apply(self, params: Arrays, buffers: Arrays, x: Array, *, mode: Mode) -> tuple[Array, Arrays]:
        """(output, buffers after the pass); in modes other than `"train"` the buffers come back as they went in."""
        module = nnx.merge(self._graphdef, params, buffers)
        y = module(x, mode=mode)  # type: ignore[operator]
        if mode != "train":
            return y, buffers
        return y, nnx.to_pure_dict(nnx.state(module, Buffer))

    @cached_property
    def _graphdef(self) -> Any:
        abstract = nnx.eval_shape(lambda: self.make(nnx.Rngs(params=0, buffers=0)))
        return nnx.split(abstract, nnx.Param, Buffer)[0]
