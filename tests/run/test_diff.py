"""The comparison of two runs by their recorded settings, environments, images and metrics."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import smoke_config

from sharingan_jax.data.dataset import ArrayDataset
from sharingan_jax.run import manifest
from sharingan_jax.run.diff import differing_environments, differing_images, differing_values, first_difference
from sharingan_jax.run.manifest import DataRecord, Device, Environment, describe_data

SETTINGS = {"seed": 0, "train": {"batch_size": 25, "steps": 4}}
IMAGES = DataRecord("folder", 3, "aa", {}, {}, {"a.png": "1", "b.png": "2", "c.png": "3"}, {})
ENVIRONMENT = Environment(
    device=Device("cpu", "cpu", 1, 1), stacked_seeds=1, stacked_devices=1, conv_impl="winograd", host_threads=2, xla_flags="",
    jax_variables="", versions={"jax": "0.10.2"}, git=None, platform="linux", machine="x86_64", processor={"name": "some"},
    byteorder="little",
)  # fmt: skip


def test_different_settings_are_named_with_both_values() -> None:
    other = {"seed": 1, "train": {"batch_size": 25, "steps": 8}}
    assert differing_values(SETTINGS, other) == ["seed: 0 | 1", "train.steps: 4 | 8"]
    assert differing_values(SETTINGS, SETTINGS) == []


def test_an_empty_text_is_shown_by_its_quotes_and_a_missing_value_by_a_dash() -> None:
    assert differing_values({"data": {"path": "/tmp/x"}}, {"data": {"path": ""}}) == ["data.path: /tmp/x | ''"]
    assert differing_values({"a": "", "b": 1}, {"a": None}) == ["a: '' | None", "b: 1 | –"]


def test_different_environments_are_named_except_versions_that_only_one_recorded() -> None:
    other = replace(ENVIRONMENT, versions={"jax": "0.9.0", "optax": "0.2.8"}, host_threads=4)
    assert differing_environments(ENVIRONMENT, other) == ["host_threads: 2 | 4", "versions.jax: 0.10.2 | 0.9.0"]
    assert differing_environments(ENVIRONMENT, ENVIRONMENT) == []


def test_different_images_are_named() -> None:
    other = replace(IMAGES, digest="bb", files={"a.png": "1", "b.png": "9", "d.png": "4"})
    assert differing_images(IMAGES, other) == ["c.png: only in the first", "d.png: only in the second", "b.png: other contents"]
    assert "other pixels" in differing_images(IMAGES, replace(IMAGES, digest="bb"))[0]
    moved = replace(IMAGES, digest="bb", files={"a.png": "1", "b.png": "2"}, held_out={"c.png": "3"})
    assert differing_images(IMAGES, moved) == ["c.png: held out only in the second"]
    assert differing_images(moved, IMAGES) == ["c.png: held out only in the first"]
    assert differing_images(moved, replace(moved, held_out={"c.png": "9"})) == ["c.png: other contents"]
    many = replace(IMAGES, digest="bb", files={f"{i}.png": "0" for i in range(30)})
    assert differing_images(IMAGES, many)[-1] == "and 23 more"
    assert differing_images(IMAGES, IMAGES) == differing_images(None, None) == []
    assert differing_images(None, IMAGES) == ["data.json is missing in one of the two"]


def test_metrics_differ_from_the_first_step_with_different_floats() -> None:
    one = [{"step": step, "time": 1.0, "loss_d": step / 3, "loss_g": None} for step in (1, 2, 3)]
    other = [{**record, "time": 2.0} for record in one]
    assert first_difference(one, other) is None
    other[1] = {**other[1], "loss_d": 2 / 3 + 1e-16 * 2, "loss_g": 0.5}
    step, found = first_difference(one, other) or (0, [])
    assert step == 2
    assert [line.split(":")[0] for line in found] == ["loss_d", "loss_g"]
    assert first_difference(one, other[2:]) is None


def test_a_large_set_has_one_entry_that_any_other_image_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MOST_FILES", 2)
    images = np.zeros((3, 4, 4, 3), np.uint8)
    three = [ArrayDataset(images=images, names=("a", "b", "c"), digests=("1", "2", last)) for last in ("3", "4")]
    few, many, other = (describe_data(smoke_config(), dataset) for dataset in (three[0].subset([0, 1]), *three))
    assert few.files == {"a": "1", "b": "2"}
    assert [*many.files] == [*other.files] == ["3 images"]
    assert many.files != other.files
    assert differing_images(many, other) == ["3 images: other contents"]
    assert many.count == 3
