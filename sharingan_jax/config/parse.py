"""Check settings: from nested plain values to a `Config`, or one line that says what is wrong."""

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from sharingan_jax.config.schema import AUGMENTATIONS, KINDS, RULES, Config, Rule
from sharingan_jax.errors import UserError, command_line

BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
"""The words that a text may use for a boolean setting."""
PATHS = ("data.path", "data.data_dir", "data.cache")
"""Settings in which `~` is the user's home folder."""
ALSO_CALLED = {
    "learning_rate": "lr", "beta1": "b1", "beta2": "b2", "epsilon": "eps", "latent_dim": "nz", "z_dim": "nz",
    "image_size": "size", "num_steps": "steps", "max_steps": "steps", "num_epochs": "epochs", "architecture": "arch",
}  # fmt: skip
"""What other programs call our settings: the last words of both names."""
_KIND_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def parse(settings: Mapping[str, Any]) -> Config:
    """Return the checked form of nested settings (a ConfigDict, or JSON read back).

    Raise UserError, one line, if a setting is unknown, missing, of a wrong type, or impossible alone or with another.
    """
    given = flatten(settings)
    for key in KINDS:
        if key not in given:
            raise UserError(f'{key}: missing. Start from base_config("default"), which has every setting.')
    config: Config = _build(Config, {key: checked(key, given[key], kind, RULES[key]) for key, kind in KINDS.items()})
    _check_together(config)
    return config


def flatten(settings: Mapping[str, Any] | Iterable[tuple[str, Any]], prefix: str = "") -> dict[str, Any]:
    """Return settings, nested or as pairs, by dotted key. Raise UserError for an unknown one, or a value in place of a group."""
    flat: dict[str, Any] = {}
    for name, value in settings.items() if hasattr(settings, "items") else settings:  # A ConfigDict is not a Mapping.
        key = f"{prefix}{name}"
        inside = [known for known in KINDS if known.startswith(f"{key}.")]
        if key in KINDS:
            flat[key] = value
        elif not inside:
            raise unknown_key(key)
        elif not hasattr(value, "items"):
            raise UserError(f"{key}={_shown(value)}: expected a group of settings: {', '.join(inside)}.")
        else:
            flat |= flatten(value, f"{key}.")
    return flat


def read_text(text: str, kind: type) -> Any:
    """Return `text` as a value of `kind`, or the text itself if that fails, for `parse` to refuse by name."""
    if kind is bool:
        return BOOLEANS.get(text.strip().lower(), text)
    for number in (int, float) if kind in (int, float) else ():
        try:
            return number(text)
        except ValueError:
            continue
    return text


def read_whole_number(text: str) -> int | None:
    """Return `text` as a whole number by the rules of a setting (1000 for "1e3"), or None if that fails."""
    value = _as_kind(read_text(text, int), int)
    return value if type(value) is int else None


def unknown_key(key: str) -> UserError:
    """Return the error for a setting that does not exist, with the nearest settings that do."""
    group, dot, last = key.rpartition(".")
    last = ALSO_CALLED.get(last, last)
    nearest = [known for known in KINDS if known == f"{group}{dot}{last}"]
    nearest = nearest or [known for known in KINDS if known.rpartition(".")[2] == last]  # `optim.gen.lr` for `train.lr`.
    nearest = nearest or difflib.get_close_matches(key, KINDS, n=1, cutoff=0.5)
    hint = f"Did you mean {' or '.join(nearest)}?" if nearest else f"`{command_line()} train --help` lists every setting."
    shown = key or '""'
    return UserError(f"{shown}: no such setting. {hint}")


def _build(group: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    own = {}
    for entry in fields(group):
        key = prefix + entry.name
        own[entry.name] = _build(entry.type, values, f"{key}.") if is_dataclass(entry.type) else values[key]
    return group(**own)


def checked(key: str, value: Any, kind: type, rule: Rule) -> Any:
    """Return the value of a setting or an argument as `kind`. Raise UserError, naming it, if it is none or breaks the rule."""
    value = _as_kind(value, kind)
    if type(value) is not kind or not rule.allows(value):
        allowed = rule if type(value) is kind else _KIND_WORDS[kind]
        raise UserError(f"{key}={_shown(value)}: expected {allowed}.{_nearest_choice(value, rule)}")
    return os.path.expanduser(str(value)) if key in PATHS else value


def _as_kind(value: Any, kind: type) -> Any:
    """Return `value` as `kind` if nothing is lost: 1 for 1.0, 1000 for 1e3, a path's text, a numpy scalar's number."""
    if isinstance(value, Path):
        value = str(value)
    elif getattr(value, "ndim", None) == 0:
        value = value.item()
    if kind is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if kind is int and type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


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


SIGNS = 3  # latents whose signs `model.symmetry=square` takes


def _check_together(config: Config) -> None:
    """Raise UserError if settings that are possible alone do not fit together."""
    data, train = config.data, config.train
    for key, sources, expected, word in (
        ("path", ("folder", "parquet"), "your images: a folder, an archive, an array or a table", "PATH"),
        ("name", ("tfds",), "a tensorflow-datasets image set", "NAME"),
    ):
        value = getattr(data, key)
        if data.source in sources and not value:
            raise UserError(f"data.{key}='': expected {expected}, since data.source={data.source}. Set data.{key}={word}.")
        if data.source not in sources and value:
            instead = f"Set data.source={sources[0]}, or data.{key}=''."
            raise UserError(f"data.{key}={value!r}: not used when data.source={data.source}. {instead}")
    if config.model.symmetry != "none" and config.model.nz < SIGNS:
        used = f"model.symmetry={config.model.symmetry}"
        raise UserError(f"model.nz={config.model.nz}: expected at least {SIGNS} with {used}, which needs so many.")
    if config.model.minibatch_logit and not config.model.minibatch_std:
        raise UserError("model.minibatch_logit=True: not used when model.minibatch_std=False. Set both, or none.")
    _check_objective(config)
    if config.seed + train.seeds > 2**31:
        limit = 2**31 - train.seeds
        raise UserError(f"seed={config.seed}: expected at most {limit} with train.seeds={train.seeds}. Seeds end at {2**31 - 1}.")
    if train.stacked_seeds > train.seeds:
        raise UserError(
            f"train.stacked_seeds={train.stacked_seeds}: expected at most train.seeds={train.seeds}, or 0 for a default."
        )
    for key, adam in (("optim.gen", config.optim.gen), ("optim.disc", config.optim.disc)):
        falls = f"{key}.schedule={adam.schedule}"
        if adam.schedule == "constant":
            for name in ("decay_steps", "end_lr"):
                if value := getattr(adam, name):
                    raise UserError(
                        f"{key}.{name}={value:g}: not used when {falls}. Set {key}.schedule=linear or cosine, or {key}.{name}=0."
                    )
        elif adam.decay_steps == 0:
            raise UserError(
                f"{key}.decay_steps=0: expected at least 1, since {falls}."
                f" Set the number of updates over which {key}.lr falls, or {key}.schedule=constant."
            )
        elif adam.end_lr > adam.lr:
            raise UserError(f"{key}.end_lr={adam.end_lr:g}: expected at most {key}.lr={adam.lr:g}. The schedule only falls.")


def _check_objective(config: Config) -> None:
    loss, train = config.loss, config.train
    if loss.real_label < 1 and loss.name not in ("bce", "least_squares"):
        raise UserError(f"loss.real_label={loss.real_label:g}: not used when loss.name={loss.name}. Use bce or least_squares.")
    if loss.penalty_every > 1 and not (loss.r1 or loss.r2 or loss.gradient_penalty or loss.consistency):
        raise UserError(f"loss.penalty_every={loss.penalty_every}: not used without a penalty. Set loss.r1, or use 1.")
    augment = config.augment
    if not any(getattr(augment, name) for name in AUGMENTATIONS):
        for key, value in (("loss.consistency", loss.consistency), ("augment.target", augment.target)):
            if value:
                raise UserError(
                    f"{key}={value:g}: not used without an augmentation. Set one of augment.{', augment.'.join(AUGMENTATIONS)}."
                )
    if augment.noise_steps and not augment.noise:
        raise UserError(f"augment.noise_steps={augment.noise_steps}: not used when augment.noise=0. Set both, or none.")
    if train.ema_ramp_up and not train.ema_half_life:
        raise UserError(f"train.ema_ramp_up={train.ema_ramp_up:g}: not used when train.ema_half_life=0. Set both, or none.")
