"""Check settings: from nested plain values to a `Config`, or one line that says what is wrong."""

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

from sharingan_jax.config.schema import AdamConfig, Config, Rule, known_keys
from sharingan_jax.errors import UserError


def parse(settings: Mapping[str, Any]) -> Config:
    """The checked form of nested settings (a ConfigDict, or JSON read back).

    Raises UserError, one line, on a setting that is unknown, missing, of a wrong type, or impossible alone or together.
    """
    config: Config = _parse_group(Config, settings, "")
    _check_together(config)
    return config


def unknown_key(key: str) -> UserError:
    """The error for a setting there is not, with the nearest there is."""
    keys = known_keys()
    nearest = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    if not nearest:  # `batch_size` for `train.batch_size`: the last word alone may be right.
        nearest = [known for known in keys if known.rpartition(".")[2] == key.rpartition(".")[2]][:1]
    hint = f"did you mean {nearest[0]}?" if nearest else "configs/default.py lists them all"
    return UserError(f"config: {key} is not a setting; {hint}")


def _parse_group(group: Any, settings: Mapping[str, Any], prefix: str) -> Any:
    names = [entry.name for entry in fields(group)]
    for name in settings:
        if name not in names:
            raise unknown_key(prefix + str(name))
    values = {}
    for entry in fields(group):
        key = prefix + entry.name
        if entry.name not in settings:
            raise UserError(f"config: {key} is missing; start from configs/default.py, which has every setting")
        value = settings[entry.name]
        if is_dataclass(entry.type):
            if not isinstance(value, Mapping):
                raise UserError(
                    f"config: {key}={value!r} must be a group of settings: {', '.join(known_keys(entry.type, f'{key}.'))}"
                )
            values[entry.name] = _parse_group(entry.type, value, f"{key}.")
        else:
            values[entry.name] = _checked(key, value, cast(type, entry.type), entry.metadata["rule"])
    return group(**values)


def _checked(key: str, value: Any, kind: type, rule: Rule) -> Any:
    if kind is float and type(value) is int and abs(value) < 2**63:
        value = float(value)
    if type(value) is not kind:
        raise UserError(f"config: {key}={value!r} must be {_KIND_WORDS[kind]}{_nearest_choice(value, rule)}")
    if not rule.allows(value):
        raise UserError(f"config: {key}={value!r} must be {rule}{_nearest_choice(value, rule)}")
    return value


_KIND_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}


def _nearest_choice(value: Any, rule: Rule) -> str:
    if not rule.choices:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool) and not isinstance(rule.choices[0], str):
        return f"; nearest: {min(rule.choices, key=lambda choice: abs(choice - value))}"
    nearest = difflib.get_close_matches(str(value), [str(choice) for choice in rule.choices], n=1, cutoff=0.4)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _check_together(config: Config) -> None:
    match config.data.source:
        case "folder" if not config.data.path:
            raise UserError(
                'config: data.path="" with data.source=folder; use --config.data.path=FOLDER, the folder of your pictures'
            )
        case "tfds" if not config.data.name:
            raise UserError(
                'config: data.name="" with data.source=tfds; use --config.data.name=NAME, a tensorflow-datasets image set'
            )
    for key, source in (("path", "folder"), ("name", "tfds")):
        value = getattr(config.data, key)
        if value and config.data.source != source:
            raise UserError(
                f"config: data.{key}={value!r} with data.source={config.data.source}, which does not look at it;"
                f' use --config.data.source={source}, or data.{key}=""'
            )
    seeds = config.train.seeds
    if config.seed + seeds > 2**31:
        raise UserError(f"config: seed={config.seed} with train.seeds={seeds} goes past {2**31 - 1}; begin at {2**31 - seeds}")
    if config.train.stacked_seeds > seeds:
        raise UserError(
            f"config: train.stacked_seeds={config.train.stacked_seeds} with train.seeds={seeds}; use at most {seeds}, or 0"
        )
    for net in ("gen", "disc"):
        adam: AdamConfig = getattr(config.optim, net)
        key = f"optim.{net}"
        if adam.schedule != "constant" and adam.decay_steps == 0:
            raise UserError(
                f"config: {key}.decay_steps=0 with {key}.schedule={adam.schedule};"
                " say over how many updates lr falls, or use schedule=constant"
            )
        for name in ("decay_steps", "end_lr"):
            if adam.schedule == "constant" and getattr(adam, name):
                raise UserError(
                    f"config: {key}.{name}={getattr(adam, name):g} with {key}.schedule=constant, which does not look at it;"
                    f" use --config.{key}.schedule=linear or cosine, or {name}=0"
                )
        if adam.schedule != "constant" and adam.end_lr > adam.lr:
            raise UserError(f"config: {key}.end_lr={adam.end_lr:g} must be at most {key}.lr={adam.lr:g}: these schedules fall")
