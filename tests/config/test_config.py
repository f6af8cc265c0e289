"""Every mistake in a configuration is one line that names the key, the value, the rule and the nearest choice."""

import json
import re
from pathlib import Path

import pytest
from conftest import ROOT

from sharingan_jax.config.load import load_config
from sharingan_jax.config.parse import parse
from sharingan_jax.config.schema import identity, known_keys, settings_of, to_dict
from sharingan_jax.errors import UserError

DEFAULT = ROOT / "configs" / "default.py"
FILES = sorted(path for path in (ROOT / "configs").glob("*.py") if path.name != "__init__.py")


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
        ("train.stesp", "5", "config: train.stesp is not a setting; did you mean train.steps?"),
        ("batch_size", "5", "config: batch_size is not a setting; did you mean train.batch_size?"),
        ("zzzzzz", "5", "config: zzzzzz is not a setting; configs/default.py lists them all"),
        ("optim.gen", "5", "config: optim.gen is a group; set one of optim.gen.lr, optim.gen.b1"),
        ("train.steps", "many", "config: train.steps='many' must be a whole number"),
        ("train.steps", "1.5", "config: train.steps=1.5 must be a whole number"),
        ("train.steps", "-1", "config: train.steps=-1 must be at least 0 and at most"),
        ("optim.gen.lr", "0", "config: optim.gen.lr=0.0 must be above 0"),
        ("optim.gen.lr", "nan", "config: optim.gen.lr=nan must be above 0"),
        ("optim.disc.b1", "1", "config: optim.disc.b1=1.0 must be at least 0 and below 1"),
        ("data.size", "60", "config: data.size=60 must be one of 32, 64, 128; nearest: 64"),
        ("data.source", "foldr", "config: data.source='foldr' must be one of emblems, folder, tfds; did you mean folder?"),
        ("log.tensorboard", "yes", "config: log.tensorboard='yes' must be True or False"),
        ("data.source", "folder", 'config: data.path="" with data.source=folder; use --config.data.path=FOLDER'),
        ("data.source", "tfds", 'config: data.name="" with data.source=tfds; use --config.data.name=NAME'),
        ("optim.gen.schedule", "linear", "config: optim.gen.decay_steps=0 with optim.gen.schedule=linear"),
        ("optim.gen.decay_steps", "9", "config: optim.gen.decay_steps=9 with optim.gen.schedule=constant, which does not look"),
        (
            "data.path",
            "mine",
            "config: data.path='mine' with data.source=emblems, which does not look at it; use --config.data.so",
        ),
        ("data.name", "mnist", "config: data.name='mnist' with data.source=emblems, which does not look at it"),
        ("train.batch_size", "1" + 400 * "0", "must be at least 1 and at most 1048576"),
        ("optim.gen.lr", "1e999", "config: optim.gen.lr=inf must be above 0"),
        ("model.gen.width", "5000", "config: model.gen.width=5000 must be at least 1 and at most 4096"),
        ("optim.disc.eps", "0", "config: optim.disc.eps=0.0 must be above 0"),
        ("model.gen.arch", "dcgn", "config: model.gen.arch='dcgn' must be one of dcgan; did you mean dcgan?"),
        ("model.disc.norm_position", "pre_activ", "must be one of post_activation, pre_activation; did you mean pre_activation?"),
        ("train.ema_half_life", "-1", "config: train.ema_half_life=-1.0 must be at least 0"),
    ],
)
def test_a_wrong_setting_is_one_line_that_helps(key: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load_config(DEFAULT, [(key, text)])
    assert "\n" not in str(caught.value)


def test_a_missing_setting_is_named() -> None:
    settings = to_dict(load_config(DEFAULT))
    del settings["train"]["n_critic"]
    with pytest.raises(UserError, match=r"train\.n_critic is missing"):
        parse(settings)


def test_a_group_that_is_a_number_is_named() -> None:
    with pytest.raises(UserError, match=r"loss=3 must be a group of settings: loss\.name, loss\.beta"):
        parse({**to_dict(load_config(DEFAULT)), "loss": 3})


def test_overrides_are_read_as_the_kind_that_stands_there() -> None:
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
        ("x = 1", r"mine\.py: AttributeError: .*get_config"),
        ("def get_config():\n    return 1 / 0", r"mine\.py, line 2: ZeroDivisionError"),
        ("def get_config():\n    return 3", r"get_config\(\) returned a int, and must return a ConfigDict"),
    ],
)
def test_a_faulty_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(path)


def test_a_missing_file_names_its_neighbours() -> None:
    with pytest.raises(UserError, match=r"no such file; in .*configs: baseline\.py, default\.py"):
        load_config(ROOT / "configs" / "defualt.py")


def test_what_does_not_move_numbers_is_no_part_of_a_runs_identity() -> None:
    keys = set(identity(load_config(DEFAULT, [("model.ghost_batches", "5"), ("model.dtype", "bfloat16")])))
    assert set(known_keys()) - keys == {
        "data.path", "data.data_dir", "train.epochs", "train.steps", "train.steps_per_dispatch", "train.devices",
        "train.host_threads", "train.deterministic", "train.seeds", "train.stacked_seeds",
        "sample.every", "sample.columns", "checkpoint.every", "checkpoint.keep", "log.every", "log.tensorboard",
    }  # fmt: skip


def test_every_setting_has_a_comment_in_the_default_file() -> None:
    text = DEFAULT.read_text()
    for key, _, _ in settings_of(load_config(DEFAULT)):
        name = key.rpartition(".")[2]
        assert re.search(rf"\.{name} = .*  # ", text), key
