"""Convert a training state to named PyTorch tensors, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sharingan_jax.config.schema import Config
from sharingan_jax.errors import UserError, listed, shortened
from sharingan_jax.gan.ema import init_ema
from sharingan_jax.gan.gan import Gan, build_gan, init_state
from sharingan_jax.gan.state import NetState, TrainState
from sharingan_jax.interop.tensor_table import Tensor, disc_table, gen_table
from sharingan_jax.model.functional import Arrays
from sharingan_jax.model.rng import seed_key

Tensors = dict[str, np.ndarray]
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class AdamState:
    """PyTorch's Adam of one network: number of updates, both moments, one array per parameter in `parameters()` order, and its
    settings `lr, b1, b2, eps`."""

    count: int
    first: list[np.ndarray]
    second: list[np.ndarray]
    settings: dict[str, float]


def to_tensors(config: Config, state: TrainState) -> Tensors:
    """Return both networks with the original's names and layouts; `load_state_dict(strict=True)` accepts each network's part.

    Batch norm's counters, which enter no computation, are the training passes of `state.step` steps: one per step for G; two
    per step, and one more at each update of G, for D.
    """
    step = int(state.step)
    passes = {"gen": step, "disc": 2 * step + step // config.train.n_critic}
    tensors: Tensors = {}
    for name, table, net in (("gen", gen_table(config), state.gen), ("disc", disc_table(config), state.disc)):
        for row in table:
            tensors[row.name] = row.to_torch(np.asarray(row.array_of(net)))
            if row.array == "var":
                tensors[row.name.replace("running_var", COUNTER)] = np.array(passes[name], np.int64)
    return tensors


def moment_tensors(config: Config, state: TrainState) -> Tensors:
    """Return Adam's moments as `<name>.exp_avg` and `<name>.exp_avg_sq`, for each parameter's name in the original."""
    _check_adam(config)
    tensors: Tensors = {}
    for table, net in ((gen_table(config), state.gen), (disc_table(config), state.disc)):
        for ours, theirs in (("mu", "exp_avg"), ("nu", "exp_avg_sq")):
            moment = optax.tree.get(net.opt, ours)
            parameters = [row for row in table if not row.is_buffer]
            tensors |= {f"{row.name}.{theirs}": row.to_torch(np.asarray(moment[row.layer][row.array])) for row in parameters}
    return tensors


def from_tensors(
    config: Config, gan: Gan, tensors: Mapping[str, np.ndarray], *, gen_adam: AdamState | None, disc_adam: AdamState | None
) -> TrainState:
    """Return the state with `tensors` (of both networks, with the original's names) and Adam's states, if given.

    The step is the number of D's updates, since each step makes one. Without Adam's states the step and the moments are 0.
    `mismatches` says beforehand whether the tensors fit.
    """
    if gen_adam or disc_adam:
        _check_adam(config)
    gen = _net_state(gen_table(config), gan.gen_optimizer, tensors, gen_adam)
    disc = _net_state(disc_table(config), gan.disc_optimizer, tensors, disc_adam)
    ema = init_ema(gen.params, half_life=gan.ema_half_life)
    memory = gan.objective.init_memory()
    return TrainState(jnp.int32(disc_adam.count if disc_adam else 0), seed_key(config.seed), gen, disc, ema, memory)


def _check_adam(config: Config) -> None:
    """Raise UserError if a network's optimizer has no moments of Adam."""
    for net, optimizer in (("gen", config.optim.gen), ("disc", config.optim.disc)):
        if optimizer.name != "adam":
            raise UserError(f"optim.{net}.name={optimizer.name}: expected adam, whose moments are exchanged with PyTorch.")


def expected_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a configuration's two networks, by the original's names."""
    gan = build_gan(config)
    state = jax.eval_shape(lambda: init_state(gan, seed=0))
    rows = [(row, net) for table, net in ((gen_table, state.gen), (disc_table, state.disc)) for row in table(config)]
    return {row.name: row.to_torch(np.empty(row.array_of(net).shape, np.bool_)).shape for row, net in rows}


def mismatches(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, np.ndarray]) -> str:
    """Return, in words, how `tensors` differ from the `expected_shapes`; "" if they fit."""
    counters = {name.replace("running_var", COUNTER) for name in expected if name.endswith("running_var")}
    found = {name: array.shape for name, array in tensors.items() if not (name in counters and array.size == 1)}
    both = [name for name in expected if name in found and found[name] != expected[name]]
    parts = {
        "missing": [f"{name} {list(shape)}" for name, shape in expected.items() if name not in found],
        "unexpected": [f"{name} {list(shape)}" for name, shape in found.items() if name not in expected],
        "of another shape": [f"{name} {list(found[name])} in place of {list(expected[name])}" for name in both],
    }
    return "; ".join(f"{what}: {listed([shortened(name) for name in names])}" for what, names in parts.items() if names)


def _net_state(
    table: list[Tensor], optimizer: optax.GradientTransformation, tensors: Mapping[str, np.ndarray], adam: AdamState | None
) -> NetState:
    parameters = [row for row in table if not row.is_buffer]
    buffers = [row for row in table if row.is_buffer]
    params = _nested(parameters, [tensors[row.name] for row in parameters])
    opt: Any = optimizer.init(params)
    if adam:
        first, second = _nested(parameters, adam.first), _nested(parameters, adam.second)
        opt = optax.tree.set(opt, mu=first, nu=second, count=jnp.int32(adam.count))
    return NetState(params, _nested(buffers, [tensors[row.name] for row in buffers]), opt)


def _nested(rows: list[Tensor], tensors: list[np.ndarray]) -> Arrays:
    arrays: Arrays = {}
    for row, tensor in zip(rows, tensors, strict=True):
        arrays.setdefault(row.layer, {})[row.array] = row.from_torch(tensor).astype(np.float32)
    return arrays
