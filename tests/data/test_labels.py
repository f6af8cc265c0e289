"""Labels from subfolders: when folders are classes, and that evaluation and archives see them."""

import zipfile
from pathlib import Path

import pytest
from PIL import Image

from sharingan_jax.data.labels import describe_labels, labels_from_folders, why_no_classes
from sharingan_jax.data.sources.load import load_dataset


def test_first_level_subfolders_are_classes_in_byte_order() -> None:
    found = labels_from_folders(["b/1.png", "a/1.png", "Z/2.png", "b/2.png", "a/3.png", "a/4.png"])
    assert found is not None
    labels, classes = found
    assert (labels.tolist(), str(labels.dtype), classes) == ([2, 1, 0, 2, 1, 1], "int64", ("Z", "a", "b"))
    assert describe_labels(labels, classes, origin="by subfolder") == "3 classes, by subfolder: Z (1), a (3), b (2)"


@pytest.mark.parametrize(
    "names",
    [
        ["1.png", "2.png", "3.png", "4.png"],
        ["a/1.png", "a/2.png", "a/3.png"],
        ["a/1.png", "a/2.png", "b/1.png", "top.png"],
        ["a/1.png", "a/2.png", "b/1.png", "b/deep/1.png"],
        ["train/1.png", "train/2.png", "Test/1.png", "val/2.png", "val/3.png", "val/4.png"],
        ["a/1.png", "b/1.png", "c/1.png"],
    ],
    ids=["no folders", "one folder", "one at the top", "one deeper", "splits", "a folder for each image"],
)
def test_other_folders_are_no_classes(names: list[str]) -> None:
    assert labels_from_folders(names) is None


def test_a_folder_that_all_images_share_does_not_count() -> None:
    names = ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]
    plain = labels_from_folders(names)
    for shared in ("animals", "data/train"):
        found = labels_from_folders([f"{shared}/{name}" for name in names])
        assert plain is not None
        assert found is not None
        assert (found[0].tolist(), found[1]) == (plain[0].tolist(), plain[1]) == ([0, 0, 1, 1], ("cat", "dog"))


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        (["top.png"], "1 image does not lie exactly one folder deep: top.png"),
        (["cat/old/9.png", "top.png"], "2 images do not lie exactly one folder deep: cat/old/9.png, top.png"),
    ],
)
def test_folders_that_look_like_classes_and_give_none_are_a_remark(others: list[str], reason: str, tmp_path: Path) -> None:
    for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png", *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    dataset = load_dataset(tmp_path, size=512)
    assert dataset.labels is None
    assert dataset.remarks == (f"no classes: cat, dog look like classes, but {reason}",)
    mapped = load_dataset(tmp_path, size=512, memory_mb=1, cache=str(tmp_path / ".cache"))
    assert (mapped.remarks, mapped.digest) == (dataset.remarks, dataset.digest)


def test_classes_in_splits_are_a_remark_and_other_folders_are_none() -> None:
    names = [f"{split}/{name}/{i}.png" for split in ("train", "test") for name in ("cat", "dog") for i in range(2)]
    assert why_no_classes(names) == "no classes: the folders test, train are splits of a data set; one of them alone has classes"
    for others in ([], ["0.png", "1.png"], ["cat/0.png", "cat/1.png", "dog/1.png", "dog/2.png"], ["a/0.png", "b/0.png", "0.png"]):
        assert why_no_classes(others) == ""


def test_a_folder_and_its_zip_have_the_same_labels_and_say_so(tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for i, name in enumerate(("cat/0.png", "cat/1.png", "dog/0.png", "dog/9.png", "dog/5.png")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (40 * i, 0, 0)).save(folder / name)
            archive.write(folder / name, name)
    for place in (folder, tmp_path / "pets.zip"):
        dataset = load_dataset(place, size=32)
        assert dataset.labels is not None
        assert (dataset.labels.tolist(), dataset.classes) == ([0, 0, 1, 1, 1], ("cat", "dog"))
        assert dataset.remarks == ("2 classes, by subfolder: cat (2), dog (3)",)
        chosen = dataset.subset([4, 0])
        assert chosen.labels is not None
        assert chosen.labels.tolist() == [1, 0]


def test_a_bad_file_takes_no_label(tmp_path: Path) -> None:
    for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    (tmp_path / "cat" / "05.png").write_bytes(b"broken")
    dataset = load_dataset(tmp_path, size=32, on_bad="skip")
    assert dataset.labels is not None
    assert dict(zip(dataset.names, dataset.labels.tolist(), strict=True)) == {
        "cat/0.png": 0, "cat/1.png": 0, "dog/0.png": 1, "dog/2.png": 1
    }  # fmt: skip
