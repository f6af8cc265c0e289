"""A configuration is found by name, path, run folder or mapping, and overrides are read by the type of their setting."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from ml_collections import ConfigDict

from sharingan_jax.config import base_config
from sharingan_jax.config.load import configs_folder, find_config, load_config
from sharingan_jax.config.schema import Config, to_dict
from sharingan_jax.errors import UserError

SMOKE = load_config(ROOT / "configs" / "smoke.py")


@pytest.mark.parametrize("source", ["smoke", "smoke.py", "configs/smoke.py", "configs/smoke", ROOT / "configs" / "smoke.py"])
def test_a_name_or_path_is_found_from_any_current_folder(
    source: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(source) == SMOKE


def test_a_file_in_the_current_folder_wins_over_a_name_and_a_folder_without_a_run_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke").mkdir()
    assert find_config("smoke") == configs_folder() / "smoke.py"
    shutil.copy(ROOT / "configs" / "default.py", tmp_path / "smoke.py")
    assert load_config("smoke.py") == load_config("default")
    assert load_config("smoke") == SMOKE


def test_a_home_folder_is_expanded_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(ROOT / "configs" / "smoke.py", tmp_path / "mine.py")
    assert load_config("~/mine.py") == SMOKE
    data = load_config("smoke", {"data.source": "folder", "data.path": "~/eyes"}).data
    assert data.path == str(tmp_path / "eyes")


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    (tmp_path / "mine.py").write_bytes(mark + (ROOT / "configs" / "smoke.py").read_bytes())
    (tmp_path / "config.json").write_bytes(mark + json.dumps(to_dict(SMOKE)).encode())
    assert load_config(tmp_path / "mine.py") == load_config(tmp_path / "config.json") == SMOKE


@pytest.mark.parametrize("source", [SMOKE, to_dict(SMOKE), ConfigDict(to_dict(SMOKE))], ids=["Config", "dict", "ConfigDict"])
def test_settings_are_a_source_and_are_not_changed(source: Config | dict) -> None:
    assert load_config(source, {"train.steps": 3}).train.steps == 3
    assert load_config(source) == SMOKE


def test_a_runs_folder_stands_for_its_manifest_or_its_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(to_dict(SMOKE)))
    assert load_config(tmp_path) == SMOKE
    other = to_dict(load_config(SMOKE, {"train.steps": 3}))
    (tmp_path / "manifest.json").write_text(json.dumps({"status": "complete", "config": other}))
    assert load_config(tmp_path).train.steps == 3


def test_a_configuration_builds_on_another_by_name(tmp_path: Path) -> None:
    assert base_config("smoke").to_dict() == to_dict(SMOKE)
    lines = ["from sharingan_jax.config import base_config", "def get_config():", "    return base_config('smokee')"]
    (tmp_path / "mine.py").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"mine\.py, line 3: config=smokee: expected a config.*Did you mean smoke\?"):
        load_config(tmp_path / "mine.py")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "config=: expected a configuration, found none. In "),
        ("smokey", "config=smokey: expected a configuration, found none. Did you mean smoke? In "),
        ("notes.txt", "config=notes.txt: expected a .py file, a run's folder, or its config.json or manifest.json."),
        ("empty", "config=empty: expected a configuration, got a folder without a run."),
        (3, "config: expected a name, a path or settings, got int."),
        ("list.json", "list.json: expected a JSON object, got a list"),
        ("torn.json", "torn.json: not readable as JSON: "),
    ],
)
def test_an_invalid_source_is_a_one_line_error(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name, text in {"notes.txt": "", "list.json": "[]", "torn.json": "{"}.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(source)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.steps", "1e3", 1000),
        ("train.steps", 1e3, 1000),
        ("train.steps", np.int64(7), 7),
        ("optim.gen.lr", "1", 1.0),
        ("optim.gen.lr", np.float32(0.5), 0.5),
        ("data.path", Path("mine"), "mine"),
        ("data.path", "17", "17"),
        *[("log.tensorboard", word, True) for word in ("yes", "on", "1", "true", "TRUE", True)],
        *[("log.tensorboard", word, False) for word in ("no", "off", "0", "false", "False", False)],
    ],
)
def test_a_value_is_read_as_the_type_of_its_setting(key: str, value: object, expected: object) -> None:
    group, _, name = key.rpartition(".")
    config = load_config("smoke", {"data.source": "folder", "data.path": "x", key: value})
    for part in group.split("."):
        config = getattr(config, part)
    found = getattr(config, name)
    assert (found, type(found)) == (expected, type(expected))


def test_overrides_may_be_nested_and_the_last_of_pairs_wins() -> None:
    assert load_config("smoke", {"train": {"steps": 5}, "optim.gen": {"lr": 1.0}}) == load_config(
        "smoke", [("train.steps", "4"), ("train.steps", "5"), ("optim.gen.lr", "1")]
    )
