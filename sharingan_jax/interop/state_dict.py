"""Convert a training state to named PyTorch tensors, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sharingan_jax.config.schema import Config
from sharingan_jax.errors import UserError
from sharingan_jax.gan.ema import init_ema
from sharingan_jax.gan.gan import Gan, init_state
from sharingan_jax.gan.state import NetState, TrainState
from sharingan_jax.interop.tensor_table import Tensor, disc_table, gen_table
from sharingan_jax.model.functional import Arrays
from sharingan_jax.rng import seed_key

Tensors = dict[str, np.ndarray]

COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class AdamState:
    """PyTorch's Adam of one network: number of updates, and both moments, one array per parameter in `parameters()` order."""

    count: int
    first: list[np.ndarray]
    second: list[np.ndarray]


def to_tensors(config: Config, state: TrainState) -> Tensors:
    """Return both networks with the original's names and layouts; `load_state_dict(strict=True)` accepts each network's part.

    Batch norm's counters, which enter no computation, are the training passes of `state.step` steps: one per step for G; two
    per step, and one more at each update of G, for D.
    """
    step = int(state.step)
    gen = _net_tensors(gen_table(config), state.gen, passes=step)
    disc = _net_tensors(disc_table(config), state.disc, passes=2 * step + step // config.train.n_critic)
    return gen | disc


def moment_tensors(config: Config, state: TrainState) -> Tensors:
    """Return Adam's moments as `<name>.exp_avg` and `<name>.exp_avg_sq`, for each parameter's name in the original."""
    tensors: Tensors = {}
    for table, net in ((gen_table(config), state.gen), (disc_table(config), state.disc)):
        for ours, theirs in (("mu", "exp_avg"), ("nu", "exp_avg_sq")):
            moment = optax.tree.get(net.opt, ours)
            tensors |= {
                f"{row.name}.{theirs}": row.to_torch(np.asarray(moment[row.layer][row.array]))
                for row in table
                if not row.is_buffer
            }
    return tensors


def from_tensors(
    config: Config, gan: Gan, tensors: Mapping[str, np.ndarray], *, gen_adam: AdamState | None, disc_adam: AdamState | None
) -> TrainState:
    """Return the state with `tensors` (of both networks, with the original's names) and Adam's states, if given.

    The step is the number of D's updates, since each step makes one. Without Adam's states the step and the moments are 0.
    Raise UserError with the name and shapes of every tensor that is missing, unexpected or of another shape.
    """
    abstract = jax.eval_shape(lambda: init_state(gan, seed=config.seed))
    found = mismatches(config, abstract, tensors)
    if found:
        raise UserError(f"expected the tensors of this configuration, got others ({found})")
    gen = _net_state(gen_table(config), gan.gen_optimizer, tensors, gen_adam)
    disc = _net_state(disc_table(config), gan.disc_optimizer, tensors, disc_adam)
    ema = init_ema(gen.params, half_life=gan.ema_half_life)
    return TrainState(jnp.int32(disc_adam.count if disc_adam else 0), seed_key(config.seed), gen, disc, ema)


def mismatches(config: Config, abstract: TrainState, tensors: Mapping[str, np.ndarray]) -> str:
    """Return, in words, how `tensors` differ from the tensors of the networks of `config`; "" if they fit.

    `abstract` is a state of that configuration; only the shapes of its leaves are used.
    """
    expected = expected_shapes(config, abstract)
    counters = {name.replace("running_var", COUNTER) for name in expected if name.endswith("running_var")}
    found = {name: array.shape for name, array in tensors.items() if not (name in counters and array.size == 1)}
    missing = [f"{name} {list(shape)}" for name, shape in expected.items() if name not in found]
    unexpected = [f"{name} {list(shape)}" for name, shape in found.items() if name not in expected]
    misshaped = [
        f"{name} {list(found[name])} in place of {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    parts = (("missing", missing), ("unexpected", unexpected), ("of another shape", misshaped))
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)


def expected_shapes(config: Config, abstract: TrainState) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a configuration's two networks, by the original's names."""
    shapes = {}
    for table, net in ((gen_table(config), abstract.gen), (disc_table(config), abstract.disc)):
        for row in table:
            shape = (net.buffers if row.is_buffer else net.params)[row.layer][row.array].shape
            shapes[row.name] = row.to_torch(np.empty(shape, np.bool_)).shape
    return shapes


def parameter_shapes(table: list[Tensor], shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the shapes of a network's parameters in the order of `parameters()`, which is also Adam's."""
    return [shapes[row.name] for row in table if not row.is_buffer]


def _net_tensors(table: list[Tensor], net: NetState, *, passes: int) -> Tensors:
    tensors: Tensors = {}
    for row in table:
        array = (net.buffers if row.is_buffer else net.params)[row.layer][row.array]
        tensors[row.name] = row.to_torch(np.asarray(array))
        if row.array == "var":
            tensors[row.name.replace("running_var", COUNTER)] = np.array(passes, np.int64)
    return tensors


def _net_state(
    table: list[Tensor], optimizer: optax.GradientTransformation, tensors: Mapping[str, np.ndarray], adam: AdamState | None
) -> NetState:
    parameters = [row for row in table if not row.is_buffer]
    buffers = [row for row in table if row.is_buffer]
    params = _nested(parameters, tensors)
    opt: Any = optimizer.init(params)
    if adam:
        first = _nested(parameters, dict(zip((row.name for row in parameters), adam.first, strict=True)))
        second = _nested(parameters, dict(zip((row.name for row in parameters), adam.second, strict=True)))
        opt = optax.tree.set(opt, mu=first, nu=second, count=jnp.int32(adam.count))
    return NetState(params, _nested(buffers, tensors), opt)


def _nested(rows: list[Tensor], tensors: Mapping[str, np.ndarray]) -> Arrays:
    arrays: Arrays = {}
    for row in rows:
        array = row.from_torch(tensors[row.name])
        arrays.setdefault(row.layer, {})[row.array] = array.astype(np.float32)
    return arrays
