"""Check settings: from nested plain values to a `Config`, or one line that says what is wrong."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from sharingan_jax.config.schema import AdamConfig, Config, Rule, known_keys
from sharingan_jax.errors import UserError, command_line

BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
"""The words that a text may use for a boolean setting."""
PATHS = ("data.path", "data.data_dir")
"""Settings in which `~` is the user's home folder."""


def parse(settings: Mapping[str, Any]) -> Config:
    """Return the checked form of nested settings (a ConfigDict, or JSON read back).

    Raise UserError, one line, if a setting is unknown, missing, of a wrong type, or impossible alone or with another.
    """
    config: Config = _parse_group(Config, settings, "")
    _check_together(config)
    return config


def setting_kinds(group: Any = Config, prefix: str = "") -> dict[str, type]:
    """Return the type of every setting by its dotted key: int, float, bool or str."""
    kinds: dict[str, type] = {}
    for entry in fields(group):
        key = prefix + entry.name
        kinds |= setting_kinds(entry.type, f"{key}.") if is_dataclass(entry.type) else {key: cast(type, entry.type)}
    return kinds


def read_text(text: str, kind: type) -> Any:
    """Return `text` as a value for a setting of `kind`; if it is none, the text itself, for `parse` to refuse by name."""
    if kind is bool:
        return BOOLEANS.get(text.strip().lower(), text)
    for number in (int, float) if kind in (int, float) else ():
        try:
            return number(text)
        except ValueError:
            continue
    return text


def unknown_key(key: str) -> UserError:
    """Return the error for a setting that does not exist, with the nearest settings that do."""
    keys, last = known_keys(), key.rpartition(".")[2]
    nearest = [known for known in keys if known.rpartition(".")[2] == last]  # `optim.gen.lr` for `train.lr`.
    nearest = nearest or difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    hint = f"Did you mean {' or '.join(nearest)}?" if nearest else f"`{command_line()} train --help` lists every setting."
    return UserError(f"{key}: no such setting. {hint}")


def _parse_group(group: Any, settings: Mapping[str, Any], prefix: str) -> Any:
    names = [entry.name for entry in fields(group)]
    for name in settings:
        if name not in names:
            raise unknown_key(prefix + str(name))
    values = {}
    for entry in fields(group):
        key = prefix + entry.name
        if entry.name not in settings:
            raise UserError(f'{key}: missing. Start from base_config("default"), which has every setting.')
        value = settings[entry.name]
        if is_dataclass(entry.type):
            if not isinstance(value, Mapping):
                inside = ", ".join(known_keys(entry.type, f"{key}."))
                raise UserError(f"{key}={_shown(value)}: expected a group of settings: {inside}.")
            values[entry.name] = _parse_group(entry.type, value, f"{key}.")
        else:
            values[entry.name] = _checked(key, value, cast(type, entry.type), entry.metadata["rule"])
    return group(**values)


def _checked(key: str, value: Any, kind: type, rule: Rule) -> Any:
    value = _as_kind(value, kind)
    if type(value) is not kind:
        raise UserError(f"{key}={_shown(value)}: expected {_KIND_WORDS[kind]}.{_nearest_choice(value, rule)}")
    if not rule.allows(value):
        raise UserError(f"{key}={_shown(value)}: expected {rule}.{_nearest_choice(value, rule)}")
    return os.path.expanduser(str(value)) if key in PATHS else value


def _as_kind(value: Any, kind: type[object]) -> Any:
    """Return `value` as `kind` if nothing is lost: 1 for 1.0, 1000 for 1e3, a path's text, a numpy scalar's number."""
    if isinstance(value, Path):
        value = str(value)
    elif type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        value = value.item()
    if kind is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if kind is int and type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


_KIND_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _nearest_choice(value: Any, rule: Rule) -> str:
    if not rule.choices:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool) and not isinstance(rule.choices[0], str):
        return f" Nearest: {min(rule.choices, key=lambda choice: abs(choice - value))}."
    nearest = difflib.get_close_matches(str(value), [str(choice) for choice in rule.choices], n=1, cutoff=0.4)
    return f" Did you mean {nearest[0]}?" if nearest else ""


def _check_together(config: Config) -> None:
    match config.data.source:
        case "folder" if not config.data.path:
            raise UserError("data.path='': expected the folder of your images, since data.source=folder. Set data.path=FOLDER.")
        case "tfds" if not config.data.name:
            raise UserError("data.name='': expected a tensorflow-datasets image set, since data.source=tfds. Set data.name=NAME.")
    for key, source in (("path", "folder"), ("name", "tfds")):
        value = getattr(config.data, key)
        if value and config.data.source != source:
            raise UserError(
                f"data.{key}={value!r}: not used when data.source={config.data.source}."
                f" Set data.source={source}, or data.{key}=''."
            )
    seeds = config.train.seeds
    if config.seed + seeds > 2**31:
        raise UserError(
            f"seed={config.seed}: expected at most {2**31 - seeds} with train.seeds={seeds}. Seeds end at {2**31 - 1}."
        )
    if config.train.stacked_seeds > seeds:
        raise UserError(
            f"train.stacked_seeds={config.train.stacked_seeds}: expected at most train.seeds={seeds}, or 0 for a default."
        )
    for net in ("gen", "disc"):
        adam: AdamConfig = getattr(config.optim, net)
        key = f"optim.{net}"
        if adam.schedule != "constant" and adam.decay_steps == 0:
            raise UserError(
                f"{key}.decay_steps=0: expected at least 1, since {key}.schedule={adam.schedule}."
                f" Set the number of updates over which {key}.lr falls, or {key}.schedule=constant."
            )
        for name in ("decay_steps", "end_lr"):
            if adam.schedule == "constant" and getattr(adam, name):
                raise UserError(
                    f"{key}.{name}={getattr(adam, name):g}: not used when {key}.schedule=constant."
                    f" Set {key}.schedule=linear or cosine, or {key}.{name}=0."
                )
        if adam.schedule != "constant" and adam.end_lr > adam.lr:
            raise UserError(f"{key}.end_lr={adam.end_lr:g}: expected at most {key}.lr={adam.lr:g}. The schedule only falls.")
