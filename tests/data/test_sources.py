"""Datasets from folders, emblems and tensorflow-datasets, and the error for every source that cannot be loaded."""

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharingan_jax.config.load import load_config
from sharingan_jax.data.dataset import ImageDataset, MappedDataset
from sharingan_jax.data.sources import folder
from sharingan_jax.data.sources.load import load_dataset, load_dataset_from_config
from sharingan_jax.errors import UserError
from sharingan_jax.training.announce import describe_files


def _load(source: str, **changes: Any) -> ImageDataset:
    return load_dataset_from_config(replace(load_config("default").data, source=source, **{"size": 32, **changes}))


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


def test_the_hundred_images_have_the_digest_they_always_had(sharingan_folder: Path) -> None:
    # Recorded on 2026-11-27, before the settings data.fit, data.exif and the like were there.
    for changes, digest in (
        ({"size": 64}, "b326561e9651256915f6c46f20152c53725129cb3ef53a8bfc9299fb0e1b288e"),
        ({"size": 32, "channels": 1}, "7db16d28d93b95903774949f58a7293d56571b468d4af6d95e0678b899a8e8e8"),
    ):
        dataset = _load("folder", path=str(sharingan_folder), **changes)
        assert dataset.digest == digest
        assert (dataset.count, dict(dataset.skipped), dict(dataset.bad), dataset.remarks) == (100, {}, {}, ())


def test_files_that_are_not_images_are_skipped_and_listed(mixed_folder: Path) -> None:
    (mixed_folder / "notes.txt").write_text("hello")
    (mixed_folder / "no_ending").write_text("hello")
    (mixed_folder / "paper.pdf").write_bytes(b"%PDF-1.4 a format Pillow writes and cannot read")
    (mixed_folder / "film.mpg").write_bytes(b"a format Pillow knows by name only")
    (mixed_folder / ".hidden.png").write_text("not looked at")
    dataset = _load("folder", path=str(mixed_folder))
    assert dataset.count == 30
    assert list(dataset.skipped) == ["film.mpg", "no_ending", "notes.txt", "paper.pdf"]
    assert dataset.skipped["notes.txt"] == "not an image"


def test_linked_folders_are_read_once(mixed_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "there").symlink_to(mixed_folder)
    (mixed_folder / "back").symlink_to(mixed_folder)
    assert _load("folder", path=str(folder)).count == 30


def test_a_broken_image_is_an_error_with_its_name(mixed_folder: Path) -> None:
    (mixed_folder / "zz.jpg").write_bytes(b"\xff\xd8 nonsense")
    with pytest.raises(UserError, match=r"expected images that can be read, got 1 that cannot: zz\.jpg \("):
        _load("folder", path=str(mixed_folder))


def test_bad_images_can_be_skipped_and_are_listed_with_their_reasons(mixed_folder: Path) -> None:
    content = (mixed_folder / "03.png").read_bytes()
    for i in range(20):
        (mixed_folder / f"cut{i:02d}.png").write_bytes(content[:60])
    with pytest.raises(
        UserError, match=r"got 20 that cannot: cut00\.png \(.+\), .*cut09\.png \(.+\), .*cut19\.png \(.+\)\. Repair or"
    ) as caught:
        _load("folder", path=str(mixed_folder))
    assert "\n" not in str(caught.value)
    dataset = _load("folder", path=str(mixed_folder), on_bad="skip")
    assert dataset.count == 30
    assert list(dataset.bad) == [f"cut{i:02d}.png" for i in range(20)]
    assert all(dataset.bad.values())


def test_what_was_changed_is_said_once_for_all_images(mixed_folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGBA", (50, 50)).save(mixed_folder / "clear.png")
    for name in ("turned.png", "turned2.png"):
        Image.new("RGB", (50, 50)).save(mixed_folder / name, exif=exif)
    dataset = _load("folder", path=str(mixed_folder))
    assert dataset.remarks == (
        "clear.png has transparent parts, laid on data.background=white",
        "2 images, such as turned.png, have an EXIF orientation, and were turned upright (data.exif=apply)",
    )
    lines = describe_files(dataset, place="mine")
    assert lines[0] == f"mine: {dataset.remarks[0]}"
    assert lines[-1] == "mine: 1 of 33 are copies of others, such as turned2.png of turned.png"


def test_an_unreadable_file_is_bad_and_named(mixed_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, *arguments: Any, **options: Any) -> Any:
        if Path(path).name == "03.png":
            raise PermissionError(13, "Permission denied", path)
        return open(path, *arguments, **options)

    monkeypatch.setattr(folder, "open", refuse, raising=False)  # The tests may run as root, who may read everything.
    with pytest.raises(UserError, match=r"got 1 that cannot: 03\.png \(Permission denied\)"):
        _load("folder", path=str(mixed_folder))


def test_a_folder_that_cannot_be_listed_is_bad_and_named(mixed_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mixed_folder / "deep" / "locked").mkdir(parents=True)
    scan, locked = os.scandir, [mixed_folder / "deep" / "locked"]

    def refuse(path: str) -> Any:
        if Path(path) in locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)  # The tests may run as root, who may read everything.
    with pytest.raises(UserError, match=r"got 1 that cannot: deep/locked/ \(Permission denied\)\. Repair or remove them\."):
        _load("folder", path=str(mixed_folder))
    assert dict(_load("folder", path=str(mixed_folder), on_bad="skip").bad) == {"deep/locked/": "Permission denied"}
    locked[0] = mixed_folder
    with pytest.raises(UserError, match=r"^data\.path=.*: expected a folder that can be read, got one that cannot: Permission"):
        _load("folder", path=str(mixed_folder), on_bad="skip")


def test_files_of_a_folder_that_may_only_be_listed_are_bad(mixed_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = os.stat

    def refuse(path: Any, **options: Any) -> Any:
        if str(path).endswith(("03.png", "notes.txt")):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    (mixed_folder / "notes.txt").write_text("hello")
    monkeypatch.setattr(os, "stat", refuse)
    found = _load("folder", path=str(mixed_folder), on_bad="skip")
    assert dict(found.bad) == {"03.png": "Permission denied"}
    assert found.skipped["notes.txt"] == "Permission denied"


@pytest.mark.parametrize("place", ["cache", "deep/cache"])
def test_decoded_images_are_not_kept_among_the_images(place: str, mixed_folder: Path) -> None:
    with pytest.raises(UserError, match=rf"^data\.cache=.*{place}: expected a folder outside of the images, got a folder in"):
        load_dataset(mixed_folder, size=32, cache=str(mixed_folder / place))
    with pytest.raises(UserError, match=r"^data\.cache=.*: expected a folder outside"):
        load_dataset(mixed_folder, size=32, cache=str(mixed_folder))
    hidden = load_dataset(mixed_folder, size=32, memory_mb=1, cache=str(mixed_folder / ".cache"))
    assert hidden.count == load_dataset(mixed_folder, size=32).count


def test_an_archive_among_other_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "Images.ZIP").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"Images\.ZIP is not opened there: unpack it, or give it as data\.path\. Give a"):
        load_dataset(tmp_path)


def test_a_pipe_as_the_path_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(UserError, match=r"a\.zip: expected a folder or a file, got a pipe or a device\. Give a folder"):
        load_dataset(tmp_path / "a.zip")


def test_missing_and_empty_folders_and_files_are_errors_with_their_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.path=.*nowhere: expected a path that exists, got nothing there\. Give a folder"):
        _load("folder", path=str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(
        UserError,
        match=r"^data\.path=.*: expected a folder of images, got no images and 1 other file: notes\.txt \(not an image\)\.",
    ):
        _load("folder", path=str(tmp_path))
    with pytest.raises(
        UserError,
        match=r"^data\.path=.*notes\.txt: expected a folder, an archive, an array or a table, got another file\. Give a",
    ):
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
        ({"source": np.zeros((3, 9, 9, 3))}, r"^data\.path: expected the name of a file or folder, got ndarray array"),
        ({"source": "emblems", "cache": 5}, r"^data\.cache: expected the name of a file or folder, got int 5\.$"),
        ({"source": ""}, r"^data\.path: expected the name of a file or folder, got an empty text\.$"),
        ({"source": "emblem"}, r"^data\.path=emblem: expected a path that exists, .* Did you mean emblems\?$"),
        ({"source": "emblems", "channels": 2}, r"^data\.channels=2: expected one of 1, 3, 4\. Nearest: 1\.$"),
        ({"source": "emblems", "fit": "sqeeze"}, r"^data\.fit='sqeeze': expected one of crop, pad, stretch\.$"),
        ({"source": "emblems", "size": "64"}, r"^data\.size='64': expected a whole number\.$"),
        ({"source": "emblems", "memory_mb": None}, r"^data\.memory_mb=None: expected a whole number\.$"),
        ({"source": "emblems", "background": "reddish"}, r"^data\.background='reddish': expected a colour, such as white, "),
        ({"source": "emblems", "on_bad": "go"}, r"^data\.on_bad='go': expected one of stop, skip\.$"),
        ({"source": "emblems", "size": 0}, r"^data\.size=0: expected at least 1\.$"),
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


def test_a_tensorflow_set_that_is_large_is_decoded_once(
    prepared_set: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sharingan_jax.data.storage.MEGABYTE", 1)
    lines: list[str] = []
    settings: dict[str, Any] = {"data_dir": prepared_set, "cache": str(tmp_path), "say": lines.append}
    expected = load_dataset("tfds:tiny_eyes", **settings, memory_mb=2**31 - 1)
    found = [load_dataset("tfds:tiny_eyes", **settings, memory_mb=1) for _ in range(2)]
    assert [line.split(" images")[0] for line in lines] == ["decoding 14 of 14"]
    for dataset in found:
        assert isinstance(dataset, MappedDataset)
        assert dataset.decoded_in.startswith(str(tmp_path))
        assert (dataset.digest, dataset.names, dataset.classes) == (expected.digest, expected.names, expected.classes)
        np.testing.assert_array_equal(dataset.labels, expected.labels)
        np.testing.assert_array_equal(dataset.preview(14), expected.preview(14))
    assert _load("tfds", name="tiny_eyes", data_dir=prepared_set, split="train[:5]").count == 5


def test_the_error_for_an_unknown_tensorflow_set_or_split_names_the_known_ones(prepared_set: str) -> None:
    unknown_set = r"^data\.name=tiny_eyse: expected a tensorflow-datasets set.*, got an unknown name\. Did you mean tiny_eyes\?$"
    with pytest.raises(UserError, match=unknown_set):
        _load("tfds", name="tiny_eyse", data_dir=prepared_set)
    with pytest.raises(UserError, match=r"^data\.split=validation: expected a split of tiny_eyes \(it has .*test.*\), got: "):
        _load("tfds", name="tiny_eyes", data_dir=prepared_set, split="validation")
