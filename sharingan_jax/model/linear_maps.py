"""Linear maps whose gradients are written by hand."""

from collections.abc import Callable
from typing import Any

import jax

LinearMap = Callable[[Any], Any]


def linear_with_transpose(forward: LinearMap, transpose: LinearMap) -> tuple[LinearMap, LinearMap]:
    """Return a linear map and its transpose, each with the other as its gradient.

    JAX itself transposes slices into sums of padded arrays, one for each slice. A transpose written by hand is a few adds.
    """
    f, g = jax.custom_vjp(forward), jax.custom_vjp(transpose)
    f.defvjp(lambda x: (forward(x), None), lambda _, y: (g(y),))
    g.defvjp(lambda y: (transpose(y), None), lambda _, x: (f(x),))
    return f, g
