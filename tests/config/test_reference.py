"""The help and the documentation list every setting and configuration with its default and comment."""

import re

import pytest

from sharingan_jax.config.load import config_files, load_config
from sharingan_jax.config.reference import list_configurations, setting_reference
from sharingan_jax.config.schema import settings_of

EMBLEMS = 100


def test_the_reference_has_every_setting_with_its_default_and_a_comment() -> None:
    defaults = settings_of(load_config("default"))
    reference = setting_reference()
    assert {setting.key: setting.default for setting in reference} == defaults
    assert len(reference) == len(defaults)
    for setting in reference:
        assert setting.comment, setting.key


def test_a_comment_may_stand_above_its_setting_and_a_later_line_adds_to_it() -> None:
    comments = {setting.key: setting.comment for setting in setting_reference()}
    assert len(comments["loss.name"]) > 130  # Longer than a line.
    assert comments["optim.disc.clip_norm"] == f"{comments['optim.gen.clip_norm']} (post)"


@pytest.mark.parametrize("configuration", list_configurations(), ids=lambda configuration: configuration.name)
def test_a_configuration_says_in_a_line_what_it_is_for_and_how_many_steps_it_takes(configuration: object) -> None:
    name, purpose, time = configuration.name, configuration.purpose, configuration.time  # type: ignore[attr-defined]
    assert purpose.endswith(".")
    assert len(purpose) <= 90
    train = load_config(name).train
    steps = train.steps or train.epochs * -(-EMBLEMS // train.batch_size)
    assert re.match(rf"{steps} steps\b", time), time


def test_every_configuration_is_listed() -> None:
    assert [entry.name for entry in list_configurations()] == [path.stem for path in config_files()]
