"""The settings of a run as frozen dataclasses. `configs/default.py` gives each its value, unit and source; here are its rules."""

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, cast

from sharingan_jax.errors import UserError


@dataclass(frozen=True)
class Rule:
    """What a setting's value must be. `identity` is False for a setting that a run may change and still be the same run.

    `before` is what runs did before the setting was there: a run's folder that does not have it yet is read as having that.
    """

    choices: tuple[Any, ...] = ()
    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf
    identity: bool = True
    before: Any = None

    def allows(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if isinstance(value, str | bool):
            return True
        return (
            (isinstance(value, int) or math.isfinite(value))
            and self.at_least <= value <= self.at_most
            and self.above < value < self.below
        )

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        bounds = [("at least", self.at_least), ("above", self.above), ("at most", self.at_most), ("below", self.below)]
        said = [f"{words} {bound if isinstance(bound, int) else f'{bound:g}'}" for words, bound in bounds if math.isfinite(bound)]
        return " and ".join(said) or "finite"


def _rule(**rule: Any) -> Any:
    return field(metadata={"rule": Rule(**rule)})


@dataclass(frozen=True)
class DataConfig:
    source: str = _rule(choices=("emblems", "folder", "tfds"))
    path: str = _rule(identity=False)  # The pictures' own digest tells whether the data are the same.
    name: str = _rule()
    split: str = _rule()
    data_dir: str = _rule(identity=False)
    size: int = _rule(choices=(32, 64, 128))
    channels: int = _rule(choices=(1, 3))
    last_batch: str = _rule(choices=("keep", "drop", "fill"))


@dataclass(frozen=True)
class ModelConfig:
    nz: int = _rule(at_least=1, at_most=65536)
    ngf: int = _rule(at_least=1, at_most=4096)
    ndf: int = _rule(at_least=1, at_most=4096)
    gen_spectral_norm: bool = _rule()
    disc_spectral_norm: bool = _rule()
    batch_norm: str = _rule(choices=("after", "before"))
    batch_norm_groups: int = _rule(at_least=1, before=1)
    convolution: str = _rule(choices=("auto", "winograd", "direct", "patches"))
    dtype: str = _rule(choices=("float32", "bfloat16"), before="float32")


@dataclass(frozen=True)
class LossConfig:
    name: str = _rule(choices=("bce", "bce_clamped"))
    beta: float = _rule(at_least=0)


@dataclass(frozen=True)
class TrainConfig:
    batch_size: int = _rule(at_least=1, at_most=2**20)
    epochs: int = _rule(at_least=1, at_most=2**31 - 1, identity=False)
    steps: int = _rule(at_least=0, at_most=2**31 - 1, identity=False)
    n_critic: int = _rule(at_least=1)
    seeds: int = _rule(at_least=1, at_most=4096, identity=False, before=1)
    seeds_at_once: int = _rule(at_least=0, at_most=4096, identity=False, before=0)
    steps_per_call: int = _rule(at_least=1, identity=False)
    devices: int = _rule(at_least=0, identity=False)
    host_threads: int = _rule(at_least=0, at_most=1024, identity=False, before=0)
    deterministic: bool = _rule(identity=False, before=False)
    precision: str = _rule(choices=("highest", "high", "default"))


@dataclass(frozen=True)
class AdamConfig:
    lr: float = _rule(above=0, at_most=1e38)
    b1: float = _rule(at_least=0, below=1)
    b2: float = _rule(at_least=0, below=1)
    eps: float = _rule(above=0)
    clip_norm: float = _rule(at_least=0)
    schedule: str = _rule(choices=("constant", "linear", "cosine"))
    warmup_steps: int = _rule(at_least=0)
    decay_steps: int = _rule(at_least=0)
    end_lr: float = _rule(at_least=0)


@dataclass(frozen=True)
class OptimConfig:
    gen: AdamConfig
    disc: AdamConfig


@dataclass(frozen=True)
class SampleConfig:
    every: int = _rule(at_least=1, identity=False)
    num: int = _rule(at_least=1)


@dataclass(frozen=True)
class CheckpointConfig:
    every: int = _rule(at_least=1, identity=False)
    keep: int = _rule(at_least=1, identity=False)


@dataclass(frozen=True)
class LogConfig:
    every: int = _rule(at_least=1, identity=False)
    tensorboard: bool = _rule(identity=False)


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run's settings, checked."""

    seed: int = _rule(at_least=0, at_most=2**31 - 1)
    data: DataConfig
    model: ModelConfig
    loss: LossConfig
    train: TrainConfig
    optim: OptimConfig
    sample: SampleConfig
    checkpoint: CheckpointConfig
    log: LogConfig


def parse(settings: Mapping[str, Any]) -> Config:
    """The checked form of nested settings (a ConfigDict, or JSON read back).

    Raises UserError, one line, on a setting that is unknown, missing, of a wrong type, or impossible alone or together.
    """
    config: Config = _parse_group(Config, settings, "")
    _check_together(config)
    return config


def complete_older(settings: Mapping[str, Any], group: Any = Config) -> dict[str, Any]:
    """Settings that a run wrote down, with those that are newer than the run as what was done before there were such."""
    complete = dict(settings)
    for entry in fields(group):
        if is_dataclass(entry.type):
            if isinstance(complete.get(entry.name), Mapping):
                complete[entry.name] = complete_older(complete[entry.name], entry.type)
        elif entry.name not in complete and entry.metadata["rule"].before is not None:
            complete[entry.name] = entry.metadata["rule"].before
    return complete


def to_dict(config: Config) -> dict[str, Any]:
    """Plain nested dicts, as `config.json` holds them; `parse` takes them back."""
    return asdict(config)


def identity(config: Config) -> dict[str, Any]:
    """The settings that make a run what it is, flat: `{"train.batch_size": 25, ...}`.

    One that is as it was before there was such a setting is left out, so that a run's identity does not change with our versions.
    """
    return {key: value for key, value, rule in settings_of(config) if rule.identity and value != rule.before}


def identity_changes(before: Config, now: Config) -> list[str]:
    """What makes `now` another run than `before`, as `key was x and is now y`."""
    pairs = zip(settings_of(before), settings_of(now), strict=True)
    return [
        f"{key} was {was!r} and is now {value!r}" for (key, was, rule), (_, value, _) in pairs if rule.identity and was != value
    ]


def settings_of(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Rule]]:
    """Every setting as (dotted key, value, rule), in the order of the dataclasses."""
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_dataclass(value):
            yield from settings_of(value, f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name, value, entry.metadata["rule"]


def known_keys(group: Any = Config, prefix: str = "") -> list[str]:
    """Every setting's dotted key."""
    keys = []
    for entry in fields(group):
        inner = known_keys(entry.type, f"{prefix}{entry.name}.") if is_dataclass(entry.type) else [prefix + entry.name]
        keys.extend(inner)
    return keys


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
    if config.train.seeds_at_once > seeds:
        raise UserError(
            f"config: train.seeds_at_once={config.train.seeds_at_once} with train.seeds={seeds}; use at most {seeds}, or 0"
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
