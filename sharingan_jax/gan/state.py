"""The state of a run as one pytree, its bytes, and its digest."""

import hashlib
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array

from sharingan_jax.model.functional import Arrays


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NetState:
    """The state of one network: parameters, buffers (u, v, running statistics) and the optimizer's state."""

    params: Arrays
    buffers: Arrays
    opt: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that training changes: `step` int32 [] counts the steps done, `key` uint32 [2] is the run's key.

    `ema` holds the averaged parameters of `gen`, `memory` what the objective remembers (`gan.memory`). Each is None, which has no
    leaves, if the run keeps none.
    """

    step: Array
    key: Array
    gen: NetState
    disc: NetState
    ema: Arrays | None = None
    memory: Arrays | None = None


def named_arrays(state: TrainState) -> dict[str, Any]:
    """Return the arrays of a state under names such as `gen.params.to4.kernel`, in their order in the state."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def first_non_finite(state: TrainState) -> str | None:
    """Return the name of the first array with a NaN or an infinity: G's before D's, parameters before buffers before moments."""
    return next((name for name, leaf in named_arrays(jax.device_get(state)).items() if not np.isfinite(leaf).all()), None)


def pack(state: TrainState) -> bytes:
    """Return the bytes of all arrays, one after another."""
    return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state))


def unpack(packed: bytes, *, like: TrainState) -> TrainState:
    """Return the state that `pack` made `packed` of, as numpy arrays with the shapes and dtypes of `like`."""
    leaves, tree = jax.tree.flatten(like)
    arrays, first = [], 0
    for leaf in leaves:
        dtype, size = np.dtype(leaf.dtype), int(np.prod(leaf.shape))
        arrays.append(np.frombuffer(packed, dtype, size, first).reshape(leaf.shape))
        first += size * dtype.itemsize
    state: TrainState = jax.tree.unflatten(tree, arrays)
    return state


def digest(state: TrainState) -> str:
    """Return the SHA-256, in hex, of each array's name, dtype, shape and bytes, in the order of names."""
    leaves = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
    total = hashlib.sha256()
    for name in sorted(leaves):
        array = np.ascontiguousarray(leaves[name])
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        total.update(f"{name} {array.dtype.name} {leaves[name].shape}\n".encode())
        total.update(little_endian.tobytes())
    return total.hexdigest()
