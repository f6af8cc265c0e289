"""Every mistake in a configuration is one line that names the key, the value, the rule and the nearest choice."""

import json
import re
from pathlib import Path

import pytest
from conftest import ROOT

from sharingan_jax.config.load import load_config
from sharingan_jax.config.parse import parse
from sharingan_jax.config.schema import KINDS, identity, to_dict
from sharingan_jax.errors import UserError

DEFAULT = ROOT / "configs" / "default.py"
PLACES = ("configs", "experiments/crisp_parts")
FILES = sorted(path for place in PLACES for path in (ROOT / place).glob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_in_configs_is_valid(path: Path) -> None:
    config = load_config(path)
    assert parse(json.loads(json.dumps(to_dict(config)))) == config


def test_the_five_experiments_are_the_posts() -> None:
    facts = {}
    for name in ("baseline", "modified_loss", "stabilised", "stabilised_long", "stabilised_modified"):
        c = load_config(ROOT / "configs" / f"{name}.py")
        facts[name] = (c.model.gen.spectral_norm, c.model.disc.spectral_norm, c.optim.disc.clip_norm, c.loss.beta, c.train.epochs)
    assert facts == {
        "baseline": (False, False, 0.0, 0.0, 200),
        "modified_loss": (False, False, 0.0, 0.01, 1000),
        "stabilised": (True, True, 5.0, 0.0, 200),
        "stabilised_long": (True, True, 5.0, 0.0, 1000),
        "stabilised_modified": (True, True, 5.0, 0.01, 300),
    }
    assert load_config(DEFAULT) == load_config(ROOT / "configs" / "stabilised.py")


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("train.stesp", "5", "train.stesp: no such setting. Did you mean train.steps?"),
        ("batch_size", "5", "batch_size: no such setting. Did you mean train.batch_size?"),
        ("train.lr", "5", "train.lr: no such setting. Did you mean optim.gen.lr or optim.disc.lr?"),
        ("optim.gen.learning_rate", "1", "optim.gen.learning_rate: no such setting. Did you mean optim.gen.lr?"),
        ("train.learning_rate", "1", "train.learning_rate: no such setting. Did you mean optim.gen.lr or optim.disc.lr?"),
        ("zzzzzz", "5", "zzzzzz: no such setting. `sharingan-jax train --help` lists every setting."),
        ("optim.gen", "5", "optim.gen='5': expected a group of settings: optim.gen.name, optim.gen.lr"),
        ("train.steps", "many", "train.steps='many': expected a whole number."),
        ("train.steps", "1.5", "train.steps=1.5: expected a whole number."),
        ("train.steps", "-1", "train.steps=-1: expected at least 0 and at most 2147483647."),
        ("optim.gen.lr", "0", "optim.gen.lr=0.0: expected above 0"),
        ("optim.gen.lr", "nan", "optim.gen.lr=nan: expected above 0"),
        ("optim.disc.b1", "1", "optim.disc.b1=1.0: expected at least 0 and below 1"),
        ("data.size", "60", "data.size=60: expected one of 32, 64, 128, 256. Nearest: 64."),
        ("data.source", "foldr", "data.source='foldr': expected one of emblems, folder, parquet, tfds. Did you mean folder?"),
        ("log.tensorboard", "maybe", "log.tensorboard='maybe': expected true or false."),
        (
            "data.source",
            "folder",
            "data.path='': expected your images: a folder, an archive, an array or a table, since data.source=folder. Set",
        ),
        ("data.source", "tfds", "data.name='': expected a tensorflow-datasets image set, since data.source=tfds. Set data.name="),
        ("optim.gen.schedule", "linear", "optim.gen.decay_steps=0: expected at least 1, since optim.gen.schedule=linear."),
        ("loss.real_label", "0.5", "loss.real_label=0.5: expected above 0.5 and at most 1."),
        ("loss.penalty_every", "4", "loss.penalty_every=4: not used without a penalty. Set loss.r1, or use 1."),
        (
            "model.minibatch_logit",
            "yes",
            "model.minibatch_logit=True: not used when model.minibatch_std=False. Set both, or none.",
        ),
        ("train.ema_ramp_up", "0.2", "train.ema_ramp_up=0.2: not used when train.ema_half_life=0. Set both, or none."),
        ("optim.gen.decay_steps", "9", "optim.gen.decay_steps=9: not used when optim.gen.schedule=constant."),
        ("data.background", "reddish", "data.background='reddish': expected a colour, such as white, black or #ffcc00."),
        ("data.fit", "sqeeze", "data.fit='sqeeze': expected one of crop, pad, stretch."),
        ("data.max_pixels", "0", "data.max_pixels=0: expected at least 1"),
        ("data.name", "mnist", "data.name='mnist': not used when data.source=emblems. Set data.source=tfds, or data.name=''."),
        ("train.batch_size", "1" + 400 * "0", "expected at least 1 and at most 1048576."),
        ("optim.gen.lr", "1e999", "optim.gen.lr=inf: expected above 0"),
        ("model.gen.width", "5000", "model.gen.width=5000: expected at least 1 and at most 4096"),
        ("optim.disc.eps", "0", "optim.disc.eps=0.0: expected above 0"),
        ("model.gen.arch", "dcgn", "model.gen.arch='dcgn': expected"),
        ("model.disc.norm_position", "pre_activ", "expected one of post_activation, pre_activation"),
        ("train.ema_half_life", "-1", "train.ema_half_life=-1.0: expected at least 0"),
    ],
)
def test_a_wrong_setting_is_one_line_that_helps(key: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load_config(DEFAULT, [(key, text)])
    assert "\n" not in str(caught.value)


def test_a_path_alone_replaces_the_emblems() -> None:
    assert load_config(DEFAULT, [("data.path", "mine.zip")]).data.source == "folder"
    with pytest.raises(UserError, match=r"^data\.path='mine': not used when data\.source=emblems\. Set data\.source=folder, or"):
        load_config(DEFAULT, [("data.path", "mine"), ("data.source", "emblems")])


def test_a_missing_setting_is_named() -> None:
    settings = to_dict(load_config(DEFAULT))
    del settings["train"]["n_critic"]
    with pytest.raises(UserError, match=r"train\.n_critic: missing"):
        parse(settings)


def test_a_group_that_is_a_number_is_named() -> None:
    with pytest.raises(UserError, match=r"loss=3: expected a group of settings: loss\.name, loss\.beta"):
        parse({**to_dict(load_config(DEFAULT)), "loss": 3})


def test_overrides_are_read_as_the_type_of_their_setting() -> None:
    config = load_config(
        DEFAULT,
        [
            ("optim.gen.lr", "1e-3"),
            ("log.tensorboard", "false"),
            ("data.source", "folder"),
            ("data.path", "17"),
            ("loss.beta", "1"),
        ],
    )
    assert (config.optim.gen.lr, config.log.tensorboard, config.data.path, config.loss.beta) == (1e-3, False, "17", 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", r"mine\.py, line 1: SyntaxError"),
        ("x = 1", r"mine\.py: expected a function get_config\(\) that returns a ConfigDict, found none"),
        ("def get_config():\n    return 1 / 0", r"mine\.py, line 2: ZeroDivisionError"),
        ("def get_config():\n    return 3", r"mine\.py: expected get_config\(\) to return a ConfigDict, got int"),
        ("import sys\nsys.exit(3)", r"mine\.py, line 2: the configuration exits \(3\)"),
        ("raise GeneratorExit", r"mine\.py, line 1: GeneratorExit"),
        ("def get_config():\n    raise ValueError('two\\nlines')", r"mine\.py, line 2: ValueError: two lines$"),
    ],
)
def test_a_faulty_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(path)


def test_a_missing_file_names_its_neighbours() -> None:
    with pytest.raises(
        UserError, match=r"expected a configuration, found none\. Did you mean default\? In .*configs: baseline, crisp, default, "
    ):
        load_config(ROOT / "configs" / "defualt.py")


def test_settings_that_change_no_number_are_not_part_of_a_runs_identity() -> None:
    keys = set(identity(load_config(DEFAULT, [("model.ghost_batches", "5"), ("model.dtype", "bfloat16")])))
    assert set(KINDS) - keys == {
        "data.path", "data.data_dir", "data.max_pixels", "data.on_bad", "data.small",
        "data.feed", "data.memory_mb", "data.cache", "train.epochs", "train.steps", "train.steps_per_dispatch", "train.devices",
        "train.host_threads", "train.deterministic", "train.stop_on_collapse", "train.seeds", "train.stacked_seeds",
        "sample.every", "sample.num", "sample.columns", "checkpoint.every", "checkpoint.keep", "checkpoint.best",
        "log.every", "log.tensorboard",
    }  # fmt: skip
