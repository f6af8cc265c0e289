"""Folders, emblems and tensorflow-datasets as pictures, and every way in which they are not."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharingan_jax.config.schema import DataConfig
from sharingan_jax.data.dataset import Pictures
from sharingan_jax.data.sources.load import load_pictures
from sharingan_jax.errors import UserError


def _load(source: str, **changes: Any) -> Pictures:
    given = {"path": "", "name": "", "split": "train", "data_dir": "", "size": 32, "channels": 3}
    return load_pictures(DataConfig(source=source, last_batch="keep", **{**given, **changes}))


def test_a_folder_is_read_in_the_order_of_relative_names(picture_folder: Path) -> None:
    deeper = picture_folder / "a" / "b"
    deeper.mkdir(parents=True)
    shutil.move(picture_folder / "03.png", deeper / "x.PNG")
    pictures = _load("folder", path=str(picture_folder))
    assert pictures.count == 30
    assert pictures.names == tuple(sorted(pictures.names))
    assert pictures.names[-1] == "a/b/x.PNG"
    assert pictures.images.dtype == np.uint8


def test_moving_the_folder_changes_nothing_and_changing_a_picture_does(picture_folder: Path) -> None:
    before = _load("folder", path=str(picture_folder))
    moved = picture_folder.rename(picture_folder.parent / "elsewhere")
    assert _load("folder", path=str(moved)).fingerprint == before.fingerprint
    Image.new("RGB", (50, 50)).save(moved / "07.png")
    assert _load("folder", path=str(moved)).fingerprint != before.fingerprint


def test_what_is_no_picture_is_skipped_and_counted(picture_folder: Path) -> None:
    (picture_folder / "notes.txt").write_text("hello")
    (picture_folder / "no_ending").write_text("hello")
    (picture_folder / "paper.pdf").write_bytes(b"%PDF-1.4 a format Pillow writes and cannot read")
    (picture_folder / "film.mpg").write_bytes(b"a format Pillow knows by name only")
    (picture_folder / ".hidden.png").write_text("not looked at")
    pictures = _load("folder", path=str(picture_folder))
    assert pictures.count == 30
    assert pictures.skipped == ("film.mpg", "no_ending", "notes.txt", "paper.pdf")


def test_linked_folders_are_read_once(picture_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "there").symlink_to(picture_folder)
    (picture_folder / "back").symlink_to(picture_folder)
    assert _load("folder", path=str(folder)).count == 30


def test_a_broken_picture_stops_with_its_name(picture_folder: Path) -> None:
    (picture_folder / "zz.jpg").write_bytes(b"\xff\xd8 nonsense")
    with pytest.raises(UserError, match=r"zz\.jpg: a broken picture"):
        _load("folder", path=str(picture_folder))


def test_missing_and_empty_folders_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.path=.*nowhere does not exist"):
        _load("folder", path=str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"holds no pictures \(1 other files\)"):
        _load("folder", path=str(tmp_path))
    with pytest.raises(UserError, match="is a file"):
        _load("folder", path=str(tmp_path / "notes.txt"))


def test_emblems_know_their_classes() -> None:
    pictures = _load("emblems", size=64)
    assert pictures.count == 100
    assert pictures.labels is not None
    assert pictures.names[0] == f"000-{pictures.classes[0]}"
    assert _load("emblems", size=64, channels=1).images.shape == (100, 64, 64, 1)


def test_a_tensorflow_set_is_read_by_name_and_in_one_order(prepared_set: str) -> None:
    pictures = _load("tfds", name="tiny_eyes", data_dir=prepared_set)
    assert pictures.images.shape == (14, 32, 32, 3)
    assert sorted({int(image.max()) for image in pictures.images}) == [10 * i for i in range(14)]
    assert pictures.classes == ("dim", "bright")
    assert pictures.labels is not None
    assert [int(image.max()) // 10 % 2 for image in pictures.images] == pictures.labels.tolist()
    assert _load("tfds", name="tiny_eyes", data_dir=prepared_set).fingerprint == pictures.fingerprint
    assert _load("tfds", name="tiny_eyes", data_dir=prepared_set, split="train[:5]").count == 5


def test_an_unknown_tensorflow_set_or_split_names_what_there_is(prepared_set: str) -> None:
    with pytest.raises(UserError, match=r"data\.name=tiny_eyse is not a tensorflow-datasets set.*did you mean tiny_eyes"):
        _load("tfds", name="tiny_eyse", data_dir=prepared_set)
    with pytest.raises(UserError, match=r"data\.split=validation is not a split of tiny_eyes; it has .*test"):
        _load("tfds", name="tiny_eyes", data_dir=prepared_set, split="validation")
