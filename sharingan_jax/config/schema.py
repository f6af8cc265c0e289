"""The settings of a run as frozen dataclasses, with their rules. `configs/default.py` gives each its value, unit and source."""

import math
from dataclasses import Field, asdict, dataclass, field, fields, is_dataclass
from operator import attrgetter
from typing import Any


@dataclass(frozen=True)
class Rule:
    """The values a setting may have. `identity` is False if a run may change the setting and stay the same run."""

    choices: tuple[Any, ...] = ()
    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf
    colour: bool = False
    identity: bool = True

    def allows(self, value: Any) -> bool:
        """Return whether the value, which is of the setting's type, keeps the rule."""
        if self.choices:
            return value in self.choices
        if self.colour:
            return _is_colour(value)
        return isinstance(value, str | bool) or (self.at_least <= value <= self.at_most and self.above < value < self.below)

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        if self.colour:
            return "a colour, such as white, black or #ffcc00"
        bounds = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        return " and ".join(f"{words} {bound}" for words, bound in bounds.items() if math.isfinite(bound)) or "finite"


def _is_colour(value: str) -> bool:
    from PIL import ImageColor  # Most starts need it only later.

    try:
        ImageColor.getrgb(value)
    except ValueError:
        return False
    return True


def _rule(**rule: Any) -> Any:
    return field(metadata={"rule": Rule(**rule)})


@dataclass(frozen=True)
class DataConfig:
    """The images: where they are, how they become pixels, and how a step gets them."""

    source: str = _rule(choices=("emblems", "folder", "parquet", "tfds"))
    path: str = _rule(identity=False)  # The digest of the images tells whether the data are the same.
    name: str = _rule()
    split: str = _rule()
    data_dir: str = _rule(identity=False)
    size: int = _rule(choices=(32, 64, 128, 256))
    channels: int = _rule(choices=(1, 3, 4))
    fit: str = _rule(choices=("crop", "pad", "stretch"))
    filter: str = _rule(choices=("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"))
    background: str = _rule(colour=True)
    exif: str = _rule(choices=("apply", "ignore"))
    max_pixels: int = _rule(at_least=1, at_most=2**31 - 1, identity=False)
    on_bad: str = _rule(choices=("stop", "skip"), identity=False)
    small: str = _rule(choices=("refuse", "ok"), identity=False)
    last_batch: str = _rule(choices=("keep", "drop", "fill"))
    holdout: float = _rule(at_least=0, at_most=0.5)
    turns: int = _rule(at_least=1, at_most=360)
    mirrors: bool = _rule()
    feed: str = _rule(choices=("auto", "tfdata", "device"), identity=False)
    memory_mb: int = _rule(at_least=1, at_most=2**31 - 1, identity=False)
    cache: str = _rule(identity=False)


@dataclass(frozen=True)
class NetworkConfig:
    """One network: its architecture, width and normalisation."""

    arch: str = _rule(choices=("dcgan", "dcgan_up", "dcgan_full", "resnet"))
    width: int = _rule(at_least=1, at_most=4096)
    norm: str = _rule(choices=("batch", "none", "pixel", "group"))
    norm_position: str = _rule(choices=("post_activation", "pre_activation"))
    init: str = _rule(choices=("dcgan", "he"))
    spectral_norm: bool = _rule()


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Both networks, and what they share."""

    nz: int = _rule(at_least=1, at_most=65536)
    classes: int = _rule(at_least=0, at_most=4096)
    gen: NetworkConfig
    disc: NetworkConfig
    minibatch_std: bool = _rule()
    minibatch_logit: bool = _rule()
    dropout: float = _rule(at_least=0, below=1)
    symmetry: str = _rule(choices=("none", "mirror", "turn", "square", "auto"))
    ghost_batches: int = _rule(at_least=1)
    conv_impl: str = _rule(choices=("auto", "winograd", "direct", "patches"))
    dtype: str = _rule(choices=("float32", "bfloat16"))


@dataclass(frozen=True)
class LossConfig:
    """The adversarial loss and D's penalties. `name` is a key of `gan.losses.LOSSES`."""

    name: str = _rule(choices=("bce", "bce_clamped", "hinge", "least_squares", "wasserstein", "relativistic"))
    beta: float = _rule(at_least=0)
    real_label: float = _rule(above=0.5, at_most=1)
    r1: float = _rule(at_least=0)
    r2: float = _rule(at_least=0)
    gradient_penalty: float = _rule(at_least=0)
    consistency: float = _rule(at_least=0)
    lecam: float = _rule(at_least=0)
    flip: float = _rule(at_least=0, below=0.5)
    penalty_every: int = _rule(at_least=1)


AUGMENTATIONS = ("mirror", "rotation", "scale", "shift", "brightness", "saturation", "contrast", "cutout")
"""The settings of `augment` that each switch a change of images on."""


@dataclass(frozen=True)
class AugmentConfig:
    """The changes of the images that D sees."""

    probability: float = _rule(at_least=0, at_most=1)
    brightness: float = _rule(at_least=0, at_most=2)
    saturation: float = _rule(at_least=0, at_most=1)
    contrast: float = _rule(at_least=0, at_most=1)
    mirror: bool = _rule()
    rotation: float = _rule(at_least=0, at_most=180)
    scale: float = _rule(at_least=0, at_most=0.5)
    shift: float = _rule(at_least=0, at_most=0.5)
    cutout: float = _rule(at_least=0, at_most=1)
    fill: float = _rule(at_least=-1, at_most=1)
    target: float = _rule(at_least=0, below=1)
    adapt_images: float = _rule(above=0)
    noise: float = _rule(at_least=0, at_most=2)
    noise_steps: int = _rule(at_least=0)


@dataclass(frozen=True)
class TrainConfig:
    """The length of training, averaged weights, seeds and the use of devices."""

    batch_size: int = _rule(at_least=1, at_most=2**20)
    epochs: int = _rule(at_least=1, at_most=2**31 - 1, identity=False)
    steps: int = _rule(at_least=0, at_most=2**31 - 1, identity=False)
    n_critic: int = _rule(at_least=1)
    ema_half_life: float = _rule(at_least=0)
    ema_ramp_up: float = _rule(at_least=0)
    stop_on_collapse: int = _rule(at_least=0, identity=False)
    seeds: int = _rule(at_least=1, at_most=4096, identity=False)
    stacked_seeds: int = _rule(at_least=0, at_most=4096, identity=False)
    steps_per_dispatch: int = _rule(at_least=1, identity=False)
    devices: int = _rule(at_least=0, identity=False)
    host_threads: int = _rule(at_least=0, at_most=1024, identity=False)
    deterministic: bool = _rule(identity=False)
    precision: str = _rule(choices=("highest", "high", "default"))


@dataclass(frozen=True)
class AdamConfig:
    """The optimizer of one network and its learning rate's schedule."""

    name: str = _rule(choices=("adam", "sgd"))
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
    """The optimizers of both networks."""

    gen: AdamConfig
    disc: AdamConfig


@dataclass(frozen=True)
class SampleConfig:
    """The sample grids: how often, how many images, how many in a row."""

    every: int = _rule(at_least=1, identity=False)
    num: int = _rule(at_least=1, at_most=10_000, identity=False)
    columns: int = _rule(at_least=1, identity=False)


@dataclass(frozen=True)
class CheckpointConfig:
    """The checkpoints: how often, how many stay, and by which sign the best one stays too."""

    every: int = _rule(at_least=1, identity=False)
    keep: int = _rule(at_least=1, identity=False)
    best: str = _rule(choices=("", "kid_pixels", "diversity"), identity=False)


@dataclass(frozen=True)
class LogConfig:
    """The lines of a log, and TensorBoard's events."""

    every: int = _rule(at_least=1, identity=False)
    tensorboard: bool = _rule(identity=False)


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run, checked."""

    seed: int = _rule(at_least=0, at_most=2**31 - 1)
    data: DataConfig
    model: ModelConfig
    loss: LossConfig
    augment: AugmentConfig
    train: TrainConfig
    optim: OptimConfig
    sample: SampleConfig
    checkpoint: CheckpointConfig
    log: LogConfig


def _fields_of(group: Any, prefix: str = "") -> dict[str, Field[Any]]:
    found: dict[str, Field[Any]] = {}
    for entry in fields(group):
        key = prefix + entry.name
        found |= _fields_of(entry.type, f"{key}.") if is_dataclass(entry.type) else {key: entry}
    return found


_FIELDS = _fields_of(Config)
KINDS: dict[str, Any] = {key: entry.type for key, entry in _FIELDS.items()}
"""The type of every setting by its dotted key: int, float, bool or str."""
RULES: dict[str, Rule] = {key: entry.metadata["rule"] for key, entry in _FIELDS.items()}
"""The rule of every setting by its dotted key."""


def to_dict(config: Config) -> dict[str, Any]:
    """Return plain nested dicts, as `config.json` holds them. `parse` takes them back."""
    return asdict(config)


def settings_of(config: Config) -> dict[str, Any]:
    """Return the settings by dotted key: `{"train.batch_size": 25, ...}`."""
    return {key: attrgetter(key)(config) for key in KINDS}


def identity(config: Config) -> dict[str, Any]:
    """Return the settings that decide a run's numbers, by dotted key."""
    return {key: value for key, value in settings_of(config).items() if RULES[key].identity}


def identity_changes(before: Config, now: Config) -> list[str]:
    """Return the differences that make `now` a different run than `before`, as `key was x and is now y`."""
    old, new = identity(before), identity(now)
    return [f"{key} was {old[key]!r} and is now {new[key]!r}" for key in old if old[key] != new[key]]
