"""Datasets from folders, emblems and tensorflow-datasets, and the error for every source that cannot be loaded."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharingan_jax.config.schema import DataConfig
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.sources.load import load_dataset, load_dataset_from_config
from sharingan_jax.errors import UserError


def _load(source: str, **changes: Any) -> ImageDataset:
    given: dict[str, Any] = {"path": "", "name": "", "split": "train", "data_dir": "", "size": 32, "channels": 3, "holdout": 0.0}
    given |= {"turns": 1, "mirrors": False, "last_batch": "keep"}
    return load_dataset_from_config(DataConfig(source=source, **{**given, **changes}))


def test_a_folder_is_read_in_the_order_of_relative_names(mixed_folder: Path) -> None:
    deeper = mixed_folder / "a" / "b"
    deeper.mkdir(parents=True)
    shutil.move(mixed_folder / "03.png", deeper / "x.PNG")
    dataset = _load("folder", path=str(mixed_folder))
    assert dataset.count == 30
    assert dataset.names == tuple(sorted(dataset.names))
    assert dataset.names[-1] == "a/b/x.PNG"
    assert dataset.digests[-1] == hashlib.sha256((deeper / "x.PNG").read_bytes()).hexdigest()
    assert dataset.gather([0]).dtype == np.uint8


def test_moving_the_folder_keeps_the_digest_and_changing_an_image_changes_it(mixed_folder: Path) -> None:
    before = _load("folder", path=str(mixed_folder))
    moved = mixed_folder.rename(mixed_folder.parent / "elsewhere")
    assert _load("folder", path=str(moved)).digest == before.digest
    Image.new("RGB", (50, 50)).save(moved / "07.png")
    assert _load("folder", path=str(moved)).digest != before.digest


def test_the_digest_never_changes() -> None:
    # Recorded from this code on 2026-11-26, when it was called `fingerprint`. Every run's manifest has it.
    assert _load("emblems", size=64).digest == "317522ccf2c7bbb0c81a31af4cfb5993640d5239399d9ae07a3a127258cc8c2b"
    assert _load("emblems", channels=1).digest == "4ddf0a87d24eb4c51cd44e95abd4d7a196b33e29bb676edbec156535f48a9cfe"


def test_files_that_are_not_images_are_skipped_and_listed(mixed_folder: Path) -> None:
    (mixed_folder / "notes.txt").write_text("hello")
    (mixed_folder / "no_ending").write_text("hello")
    (mixed_folder / "paper.pdf").write_bytes(b"%PDF-1.4 a format Pillow writes and cannot read")
    (mixed_folder / "film.mpg").write_bytes(b"a format Pillow knows by name only")
    (mixed_folder / ".hidden.png").write_text("not looked at")
    dataset = _load("folder", path=str(mixed_folder))
    assert dataset.count == 30
    assert dataset.skipped == ("film.mpg", "no_ending", "notes.txt", "paper.pdf")


def test_linked_folders_are_read_once(mixed_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "there").symlink_to(mixed_folder)
    (mixed_folder / "back").symlink_to(mixed_folder)
    assert _load("folder", path=str(folder)).count == 30


def test_a_broken_image_is_an_error_with_its_name(mixed_folder: Path) -> None:
    (mixed_folder / "zz.jpg").write_bytes(b"\xff\xd8 nonsense")
    with pytest.raises(UserError, match=r"zz\.jpg: expected an image that Pillow can read, got: "):
        _load("folder", path=str(mixed_folder))


def test_missing_and_empty_folders_and_files_are_errors_with_their_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.path=.*nowhere: expected a folder, got nothing there\. Give the folder"):
        _load("folder", path=str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"^data\.path=.*: expected a folder of images, got no images and 1 other files\. Give a"):
        _load("folder", path=str(tmp_path))
    with pytest.raises(UserError, match=r"^data\.path=.*notes\.txt: expected a folder, got a file\. Give the folder"):
        _load("folder", path=str(tmp_path / "notes.txt"))


def test_emblems_know_their_classes() -> None:
    dataset = _load("emblems", size=64)
    assert dataset.count == 100
    assert dataset.labels is not None
    assert dataset.names[0] == f"000-{dataset.classes[0]}"
    grey = _load("emblems", size=64, channels=1)
    assert (grey.count, *grey.image_shape) == (100, 64, 64, 1)


def test_load_dataset_takes_a_name_a_path_or_a_text(
    mixed_folder: Path, monkeypatch: pytest.MonkeyPatch, prepared_set: str
) -> None:
    assert load_dataset("emblems").digest == _load("emblems", size=64).digest
    expected = _load("folder", path=str(mixed_folder), size=64)
    monkeypatch.setenv("HOME", str(mixed_folder.parent))
    for source in (mixed_folder, str(mixed_folder), f"~{os.sep}{mixed_folder.name}", Path("~") / mixed_folder.name):
        assert load_dataset(source).digest == expected.digest
    assert load_dataset(mixed_folder, size=32, channels=1).gather([0, 1]).shape == (2, 32, 32, 1)
    assert load_dataset("tfds:tiny_eyes", split="train[:5]", data_dir=prepared_set).count == 5
    mixed_folder.rename(mixed_folder.parent / "emblems")
    monkeypatch.chdir(mixed_folder.parent)
    assert load_dataset(Path("emblems")).digest == load_dataset("./emblems").digest == expected.digest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": ""}, r'^data\.path="": expected a folder, got an empty text\. Give the folder'),
        ({"source": "emblems", "channels": 4}, r"^data\.channels=4: expected 1 \(grey\) or 3 \(colour\)\. Use 3\.$"),
        ({"source": "emblems", "size": 0}, r"^data\.size=0: expected at least 1 pixel\. Use 64"),
    ],
)
def test_load_dataset_refuses_impossible_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_dataset(**arguments)


def test_a_tensorflow_set_is_read_by_name_and_in_one_order(prepared_set: str) -> None:
    dataset = _load("tfds", name="tiny_eyes", data_dir=prepared_set)
    images = dataset.preview(100)
    assert images.shape == (14, 32, 32, 3)
    assert sorted({int(image.max()) for image in images}) == [10 * i for i in range(14)]
    assert dataset.classes == ("dim", "bright")
    assert dataset.labels is not None
    assert [int(image.max()) // 10 % 2 for image in images] == dataset.labels.tolist()
    assert _load("tfds", name="tiny_eyes", data_dir=prepared_set).digest == dataset.digest
    assert _load("tfds", name="tiny_eyes", data_dir=prepared_set, split="train[:5]").count == 5


def test_the_error_for_an_unknown_tensorflow_set_or_split_names_the_known_ones(prepared_set: str) -> None:
    unknown_set = r"^data\.name=tiny_eyse: expected a tensorflow-datasets set.*, got an unknown name\. Did you mean tiny_eyes\?$"
    with pytest.raises(UserError, match=unknown_set):
        _load("tfds", name="tiny_eyse", data_dir=prepared_set)
    with pytest.raises(UserError, match=r"^data\.split=validation: expected a split of tiny_eyes \(it has .*test.*\), got: "):
        _load("tfds", name="tiny_eyes", data_dir=prepared_set, split="validation")
