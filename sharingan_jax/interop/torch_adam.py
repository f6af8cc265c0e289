"""PyTorch's Adam, as its `state_dict()` holds it: which network it is of, its moments, and the settings it ran with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sharingan_jax.errors import UserError
from sharingan_jax.interop.state_dict import AdamState

STATE_KEYS = {"exp_avg", "exp_avg_sq", "step"}
NOT_BUILT = ("weight_decay", "amsgrad", "maximize")
Shapes = list[tuple[int, ...]]


def is_adam(part: Mapping[str, Any]) -> bool:
    """Whether this is an optimizer's state dict, Adam's or another's."""
    return set(part) >= {"state", "param_groups"}


def read_adam(
    part: Mapping[str, Any], parameters: Mapping[str, Shapes], *, where: str
) -> tuple[str, AdamState, dict[str, float]] | None:
    """(network, state, settings) of an optimizer's state dict; None where it has not stepped yet.

    `parameters` are the shapes of the parameters of `gen` and `dis`, in order. Raises UserError where it is not plain Adam with
    one setting for all, has left out a parameter, is of neither network, or holds what Adam cannot have come to.
    """
    try:
        return _read_adam(part, parameters, where=where)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"--from={where}: not an optimizer's state as PyTorch writes it: {type(error).__name__}: {error}"
        ) from None


def _read_adam(
    part: Mapping[str, Any], parameters: Mapping[str, Shapes], *, where: str
) -> tuple[str, AdamState, dict[str, float]] | None:
    groups = part["param_groups"]
    entries = [part["state"].get(index) for group in groups for index in group["params"]]
    if not part["state"]:
        return None
    # RAdam's states look like Adam's; its groups do not.
    if not all(entry and set(entry) == STATE_KEYS for entry in entries) or not all("amsgrad" in group for group in groups):
        raise UserError(f"--from={where}: an optimizer that is not plain Adam, or that has left out a parameter")
    settings = _settings(groups, where=where)
    steps = {float(entry["step"]) for entry in entries}
    if len(steps) != 1 or not all(step >= 1 and step == int(step) for step in steps):
        raise UserError(f"--from={where}: Adam's step is {sorted(steps)}, and was to be one whole number for all parameters")
    first, second = ([_float_array(entry[key]) for entry in entries] for key in ("exp_avg", "exp_avg_sq"))
    if not all(np.isfinite(array).all() for array in [*first, *second]) or any((array < 0).any() for array in second):
        raise UserError(f"--from={where}: Adam's moments are not all finite, or a second one is negative")
    shapes = [array.shape for array in first]
    nets = [net for net, expected in parameters.items() if shapes == expected == [array.shape for array in second]]
    if not nets:
        raise UserError(
            f"--from={where}: Adam's moments have the shapes of neither network's parameters:"
            f" {', '.join(str(list(shape)) for shape in shapes)}"
        )
    return nets[0], AdamState(int(steps.pop()), first, second), settings


def _settings(groups: list[Mapping[str, Any]], *, where: str) -> dict[str, float]:
    settings = [(float(group["lr"]), *map(float, group["betas"]), float(group["eps"])) for group in groups]
    if len(set(settings)) != 1 or any(group.get(name) for group in groups for name in NOT_BUILT):
        raise UserError(
            f"--from={where}: Adam with parameter groups that differ, {' or '.join(NOT_BUILT)}, which are not built here"
        )
    lr, b1, b2, eps = settings[0]
    return {"lr": lr, "b1": b1, "b2": b2, "eps": eps}


def _float_array(value: Any) -> np.ndarray:
    array: np.ndarray = value.detach().cpu().float().numpy()
    return array
