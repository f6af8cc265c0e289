"""Image sets as Hugging Face stores them: .parquet files and folders of `save_to_disk`, made here byte for byte in its format."""

import io
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharingan_jax.config.load import load_config
from sharingan_jax.data.decode import Decoding, fit_image
from sharingan_jax.data.sources.load import load_dataset, load_dataset_from_config
from sharingan_jax.errors import UserError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})
FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
RNG = np.random.default_rng(0)
IMAGES = [Image.fromarray(RNG.integers(0, 256, (40, 33 + i, 3), np.uint8)) for i in range(6)]
LABELS = [0, 1, 0, 1, 1, 0]


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _rows(which: Sequence[int] = range(6)) -> list[dict[str, Any]]:
    return [{"bytes": _png(IMAGES[i]), "path": f"some/where/{9 - i}.png" if i % 2 else None} for i in which]


def _table(columns: dict[str, Any], features: dict[str, Any] | None) -> Any:
    """Return a table with the metadata that datasets 5.2.0 writes: checked against files of it on 2026-11-27."""
    table = pa.table(columns)
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}) if features else table


def _labelled(which: Sequence[int] = range(6)) -> Any:
    return _table({"image": pa.array(_rows(which), STRUCT), "label": pa.array([LABELS[i] for i in which])}, FEATURES)


def _save_to_disk(folder: Path, table: Any, *, files: int = 1) -> None:
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{files:05d}.arrow" for i in range(files)]
    step = -(-table.num_rows // files)
    for i, name in enumerate(names):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table.slice(i * step, step))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def _expected(which: Sequence[int] = range(6)) -> np.ndarray:
    return np.stack([fit_image(IMAGES[i], Decoding(size=32)) for i in which])


def test_a_parquet_file_is_read_in_the_order_of_its_rows(tmp_path: Path) -> None:
    pq.write_table(_labelled(), tmp_path / "cats")
    dataset = load_dataset(tmp_path / "cats", size=32)
    np.testing.assert_array_equal(dataset.preview(6), _expected())
    assert dataset.names[:3] == ("00000000", "00000001-8.png", "00000002")
    assert dataset.labels is not None
    assert (dataset.labels.tolist(), dataset.classes, dataset.kind) == (LABELS, ("cat", "dog"), "a .parquet file")
    assert dataset.remarks == ("2 classes, by the column of labels: cat (3), dog (3)",)


def test_shards_of_a_split_are_read_in_order_and_other_splits_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, which in (("train-00001-of-00002", [3, 4]), ("train-00000-of-00002", [0, 1, 2]), ("test-00000-of-00001", [5])):
        pq.write_table(_labelled(which), tmp_path / "data" / f"{name}.parquet")
    (tmp_path / "README.md").write_text("a card")
    dataset = load_dataset(tmp_path, size=32)
    np.testing.assert_array_equal(dataset.preview(9), _expected(range(5)))
    assert dataset.kind == "2 .parquet files"
    np.testing.assert_array_equal(load_dataset(tmp_path, size=32, split="test").preview(9), _expected([5]))
    with pytest.raises(UserError, match=r"^data\.split=dev: expected a split of .* \(it has test, train\), got another one"):
        load_dataset(tmp_path, size=32, split="dev")


@pytest.mark.parametrize("files", [1, 2])
def test_a_saved_datasets_folder_is_the_same_data_set(files: int, tmp_path: Path) -> None:
    pq.write_table(_labelled(), tmp_path / "a.parquet")
    _save_to_disk(tmp_path / "saved", _labelled(), files=files)
    dataset, expected = (load_dataset(tmp_path / name, size=32) for name in ("saved", "a.parquet"))
    assert dataset.digest == expected.digest
    assert (dataset.classes, dataset.kind) == (("cat", "dog"), "a saved datasets folder")
    assert np.array_equal(dataset.labels, expected.labels)  # type: ignore[arg-type]


def test_a_saved_folder_of_several_splits_is_read_by_split(tmp_path: Path) -> None:
    for split, which in (("train", range(4)), ("test", [4, 5])):
        _save_to_disk(tmp_path / "saved" / split, _labelled(which))
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    data = load_config("default", {"data.path": str(tmp_path / "saved"), "data.source": "parquet", "data.size": 32}).data
    np.testing.assert_array_equal(load_dataset_from_config(data).preview(9), _expected(range(4)))
    np.testing.assert_array_equal(load_dataset(tmp_path / "saved", size=32, split="test").preview(9), _expected([4, 5]))


def test_bad_rows_are_listed_or_skipped_and_the_labels_stay_with_their_images(tmp_path: Path) -> None:
    rows = _rows()
    rows[1]["bytes"] = rows[1]["bytes"][:60]
    rows[2] = {"bytes": b"hello", "path": None}
    rows[3] = None  # type: ignore[call-overload]
    rows[4] = {"bytes": None, "path": "/etc/passwd"}
    table = _table({"image": pa.array(rows, STRUCT), "label": pa.array([0, 1, 1, 1, 1, 1])}, FEATURES)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"expected images that can be read, got 4 that cannot: 00000001-8\.png \("):
        load_dataset(tmp_path / "a.parquet", size=32)
    dataset = load_dataset(tmp_path / "a.parquet", size=32, on_bad="skip")
    np.testing.assert_array_equal(dataset.preview(9), _expected([0, 5]))
    assert dataset.labels is not None
    assert (dataset.labels.tolist(), dict(dataset.skipped)) == ([0, 1], {})
    assert {name: reason for name, reason in dataset.bad.items() if "1-8" not in name} == {
        "00000002": "not an image",
        "00000003": "the row has no image",
        "00000004-passwd": "the row has a path, /etc/passwd, and no bytes",
    }


def test_the_column_of_images_is_found_by_metadata_then_by_its_kind(tmp_path: Path) -> None:
    rows, path = pa.array(_rows(), STRUCT), tmp_path / "a.parquet"
    pq.write_table(_table({"thumb": rows, "photo": rows, "n": pa.array(range(6))}, {"photo": {"_type": "Image"}}), path)
    assert load_dataset(path, size=32).count == 6
    pq.write_table(_table({"pic": rows, "text": pa.array(["a"] * 6)}, None), path)
    dataset = load_dataset(path, size=32)
    np.testing.assert_array_equal(dataset.preview(6), _expected())
    assert dataset.labels is None
    pq.write_table(_table({"pic": rows, "photo": rows}, None), path)
    with pytest.raises(UserError, match=r"expected one column of images \(bytes, path\), got several: pic, photo\. Columns: pic"):
        load_dataset(path, size=32)
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), path)
    with pytest.raises(UserError, match=r"\(bytes, path\), got none\. Columns: text \(string\), n \(int64\)\. Save images as"):
        load_dataset(path, size=32)


@pytest.mark.parametrize(
    ("labels", "remark"),
    [
        (pa.array([0, 1, -1, 0, -1, 1]), r"no classes: expected .* in the column labels, got -1 in the row 00000002 and 1 more"),
        (pa.array([0, 1, None, 0, 1, 1]), r"no classes: expected .* in the column labels, got no label in the row 00000002"),
        (pa.array(["a", "b", None, "a", "b", "b"]), r"no classes: expected texts in .*, got no label in the row 00000002"),
        (pa.array(list("abcdea")), r"no classes: expected a text for at least 2 .* got 5 texts in the column labels for 6"),
        (pa.array([[0.5]] * 6), r"no classes: expected whole numbers or texts in the column labels, got list<\w+: double>"),
    ],
    ids=["-1", "null", "null among texts", "captions", "lists"],
)
def test_labels_that_do_not_name_every_image_are_a_remark(labels: Any, remark: str, tmp_path: Path) -> None:
    pq.write_table(_table({"image": pa.array(_rows(), STRUCT), "labels": labels}, None), tmp_path / "a.parquet")
    dataset = load_dataset(tmp_path / "a.parquet", size=32)
    assert (dataset.labels, dataset.classes) == (None, ())
    assert len(dataset.remarks) == 1
    assert re.match(remark, dataset.remarks[0])


def test_labels_are_whole_numbers_without_names_or_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(_table({"image": pa.array(_rows(), STRUCT), "labels": pa.array([0, 2, 2, 0, 1, 1])}, None), path)
    assert load_dataset(path, size=32).classes == ("0", "1", "2")
    texts = pa.array(["dog", "cat", "dog", "猫", "cat", "dog"])
    for i, column in enumerate((texts, texts.cast(pa.large_string()), texts.dictionary_encode())):
        table = _table({"image": pa.array(_rows(), STRUCT), "label": column}, None)
        pq.write_table(table, path)
        _save_to_disk(tmp_path / f"saved{i}", table)
        for place in (path, tmp_path / f"saved{i}"):
            dataset = load_dataset(place, size=32)
            assert dataset.labels is not None
            assert (dataset.labels.tolist(), dataset.classes) == ([1, 0, 1, 2, 0, 1], ("cat", "dog", "猫"))
            assert dataset.remarks == ("3 classes, by the column of labels: cat (2), dog (3), 猫 (1)",)


def test_files_that_call_a_class_differently_are_refused(tmp_path: Path) -> None:
    for i, names in enumerate((["cat", "dog"], ["cat", "dog"], ["cat", "cow"], ["cat", "dog", "owl"])):
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        columns = {"image": pa.array(_rows([i]), STRUCT), "label": pa.array([LABELS[i]])}
        (tmp_path / str(i)).mkdir()
        pq.write_table(_table(columns, features), tmp_path / str(i) / "a.parquet")
    with pytest.raises(UserError, match=r"got others: class 1 is dog in 0/a\.parquet and cow in 2/a\.parquet\. Save both "):
        load_dataset(tmp_path, size=32)
    (tmp_path / "2" / "a.parquet").unlink()
    with pytest.raises(UserError, match=r"class 2 is missing in 0/a\.parquet and owl in 3/a\.parquet"):
        load_dataset(tmp_path, size=32)
    (tmp_path / "3" / "a.parquet").unlink()
    assert load_dataset(tmp_path, size=32).classes == ("cat", "dog")


@pytest.mark.parametrize("name", ["image", "label", "other"])
def test_two_columns_of_one_name_are_refused_if_they_would_be_read(name: str, tmp_path: Path) -> None:
    columns = {"image": pa.array(_rows(), STRUCT), "label": pa.array(LABELS), "other": pa.array(LABELS)}
    table = pa.Table.from_arrays([*columns.values(), columns[name]], names=[*columns, name])
    pq.write_table(table, tmp_path / "a.parquet")
    if name == "other":
        assert load_dataset(tmp_path, size=32).count == 6
        return
    with pytest.raises(UserError, match=rf"expected one column of each name, got 2 with the name {name}\. Give each a name of"):
        load_dataset(tmp_path, size=32)


def test_damaged_and_hostile_files_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(_labelled(), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"^data\.path=.*: expected tables that can be read, got a damaged file, a\.parquet: "):
        load_dataset(path, size=32)
    _save_to_disk(tmp_path / "saved", _labelled())
    state = tmp_path / "saved" / "state.json"
    state.write_text('{"_data_files": [{"filename": "../a.parquet"}]}')
    with pytest.raises(UserError, match=r"expected files inside of the folder in state\.json, got \['\.\./a\.parquet'\]"):
        load_dataset(tmp_path / "saved", size=32)
    state.write_text("{}")
    with pytest.raises(UserError, match=r"expected a saved folder, got a damaged state\.json"):
        load_dataset(tmp_path / "saved", size=32)


def test_a_few_images_among_tables_are_left_out_and_more_are_a_folder_of_images(tmp_path: Path) -> None:
    pq.write_table(_labelled(), tmp_path / "a.parquet")
    for name in ("@eaDir/a.jpg", ".git/b.png", "thumbnail.png", "sub/photo", "c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(_png(IMAGES[0]))
    dataset = load_dataset(tmp_path, size=32)
    np.testing.assert_array_equal(dataset.preview(9), _expected())
    assert dataset.remarks == (
        "the images are those in the tables, without c.jpg, sub/photo, thumbnail.png, which lie among them",
        "2 classes, by the column of labels: cat (3), dog (3)",
    )
    (tmp_path / "d.PNG").write_bytes(_png(IMAGES[0]))
    data = load_config("default", {"data.source": "parquet", "data.path": str(tmp_path)}).data
    with pytest.raises(
        UserError, match=r"expected \.parquet files or a saved datasets folder, since data\.source=parquet, got none"
    ):
        load_dataset_from_config(data)
    assert load_dataset(tmp_path, size=32).names == ("c.jpg", "d.PNG", "sub/photo", "thumbnail.png")


def test_a_table_that_describes_images_is_no_table_of_images(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file_name": ["img0"], "text": ["a cat"]}), tmp_path / "metadata.parquet")
    with pytest.raises(UserError, match=r"expected one column of images \(bytes, path\), got none\. Columns: file_name"):
        load_dataset(tmp_path, size=32)
    for i in range(3):
        (tmp_path / f"img{i}").write_bytes(_png(IMAGES[i]))
    dataset = load_dataset(tmp_path, size=32)
    np.testing.assert_array_equal(dataset.preview(9), _expected(range(3)))
    assert dataset.skipped == {"metadata.parquet": "not an image"}


def test_a_pipe_called_as_a_table_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    os.mkfifo(tmp_path / "images" / "a.parquet")  # Opened for reading, it would wait for a writer for ever.
    (tmp_path / "images" / "photo").write_bytes(_png(IMAGES[0]))
    dataset = load_dataset(tmp_path / "images", size=32)
    assert (dataset.names, dataset.skipped) == (("photo",), {"a.parquet": "not a regular file"})
    _save_to_disk(tmp_path / "saved", _labelled())
    (tmp_path / "saved" / "data-00000-of-00001.arrow").unlink()
    os.mkfifo(tmp_path / "saved" / "data-00000-of-00001.arrow")
    with pytest.raises(UserError, match=r"expected the files that state\.json names, got nothing, or no regular file, at data-0"):
        load_dataset(tmp_path / "saved", size=32)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(_labelled(), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        UserError, match=r"expected the package pyarrow.*, got none\. Run: pip install 'sharingan_jax\[parquet\]'$"
    ):
        load_dataset(tmp_path / "a.parquet", size=32)
