"""Read the `state_dict()` of PyTorch's Adam: its network, its moments, and its settings."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sharingan_jax.errors import UserError
from sharingan_jax.interop.state_dict import AdamState

STATE_KEYS = {"exp_avg", "exp_avg_sq", "step"}
NOT_BUILT = ("weight_decay", "amsgrad", "maximize")
Shapes = list[tuple[int, ...]]


def is_adam(part: Mapping[str, Any]) -> bool:
    """Return whether this is the state dict of an optimizer, Adam or another."""
    return set(part) >= {"state", "param_groups"}


def read_adam(part: Mapping[str, Any], parameters: Mapping[str, Shapes], *, where: str) -> tuple[str, AdamState] | None:
    """Return (network, state) from an optimizer's state dict; None if it has not made a step yet.

    `parameters` are the shapes of the parameters of `gen` and `dis`, in order. Raise UserError if the optimizer is not plain
    Adam with one setting for all parameters, lacks a parameter, fits neither network, or has values that Adam cannot produce.
    """
    try:
        return _read_adam(part, parameters) if part["state"] else None
    except (UserError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        what = f"an optimizer's state as PyTorch writes it, got {type(error).__name__}: {error}"
        raise UserError(
            f"files={where}: expected {error if isinstance(error, UserError) else what}."
            " Give another checkpoint, or the weights alone to start with fresh moments."
        ) from None


def _read_adam(part: Mapping[str, Any], parameters: Mapping[str, Shapes]) -> tuple[str, AdamState]:
    groups = part["param_groups"]
    entries = [part["state"].get(index) for group in groups for index in group["params"]]
    # RAdam has states like Adam's, but other groups.
    if not all(entry and set(entry) == STATE_KEYS for entry in entries) or not all("amsgrad" in group for group in groups):
        raise UserError("plain Adam with a state for every parameter, got another optimizer or missing states")
    settings = {(float(group["lr"]), *map(float, group["betas"]), float(group["eps"])) for group in groups}
    if len(settings) != 1 or any(group.get(name) for group in groups for name in NOT_BUILT):
        raise UserError(f"Adam with the same settings for all parameters and without {', '.join(NOT_BUILT)}, got others")
    steps = {float(entry["step"]) for entry in entries}
    if len(steps) != 1 or not all(step >= 1 and step == int(step) for step in steps):
        raise UserError(f"one step of Adam for all parameters, at least 1 and whole, got {sorted(steps)}")
    first, second = ([entry[key].detach().cpu().float().numpy() for entry in entries] for key in ("exp_avg", "exp_avg_sq"))
    if not all(np.isfinite(array).all() for array in [*first, *second]) or any((array < 0).any() for array in second):
        raise UserError("finite moments of Adam and second moments of at least 0, got others")
    shapes = [array.shape for array in first]
    nets = [net for net, expected in parameters.items() if shapes == expected == [array.shape for array in second]]
    if not nets:
        found = ", ".join(str(list(shape)) for shape in shapes)
        raise UserError(f"Adam's moments in the shapes of G's or D's parameters in this configuration, got {found}")
    named = dict(zip(("lr", "b1", "b2", "eps"), settings.pop(), strict=True))
    return nets[0], AdamState(int(steps.pop()), first, second, named)
