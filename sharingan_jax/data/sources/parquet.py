"""Images from .parquet files and from saved `datasets` folders, as Hugging Face stores them: a column of {bytes, path}."""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.formats import has_image_ending
from sharingan_jax.data.labels import SPLITS
from sharingan_jax.data.sources.files import FileReader, Member, ReadFile, is_hidden, label_remarks, read_content, readable
from sharingan_jax.data.storage import IN_MEMORY, Source, Storage, file_state, key_of
from sharingan_jax.errors import UserError, listed, reason_of

MARK = b"PAR1"
"""The first bytes of a .parquet file."""
LABELS = ("label", "labels")
PREFERRED = ("image", "img")
"""Of several columns of images, the first of these counts."""
MOST_CLASSES = 65536
ROWS = 64  # in memory at once
SHARD = re.compile(r"(?P<split>.+?)-\d+-of-\d+")
"""The name of one of several files, without its ending: `train-00000-of-00002`."""


def is_parquet(path: Path) -> bool:
    """Return whether a file begins as a .parquet file does."""
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK


def is_saved_dataset(folder: Path) -> bool:
    """Return whether a folder was written by `save_to_disk` of the package datasets: one split, or several."""
    return (folder / "dataset_dict.json").is_file() or all(
        (folder / name).is_file() for name in ("state.json", "dataset_info.json")
    )


def parquet_files(folder: Path) -> list[Path]:
    """Return the .parquet files below a folder in the byte order of their relative names, or [] if the folder has images too.

    Hidden files and folders are left out, and so are pipes and devices: opening a pipe would wait for its other end.
    """
    found = []
    for parent, _, files in os.walk(folder):
        for file in files:
            name = (Path(parent) / file).relative_to(folder).as_posix()
            if is_hidden(name):
                continue
            if has_image_ending(name):
                return []  # At once: a folder of images may have a million.
            if name.lower().endswith(".parquet") and (folder / name).is_file():
                found.append(name)
    return [folder / name for name in sorted(found, key=os.fsencode)]


def parquet_dataset(
    path: Path, decoding: Decoding, *, split: str = "train", on_bad: str = "stop", storage: Storage = IN_MEMORY
) -> ImageDataset:
    """Load images from a .parquet file or a folder of them, uint8 [N, size, size, channels], in the order of their rows.

    Files come in the byte order of their names. If the names say which split a file belongs to (`train-00000-of-00002.parquet`,
    `test.parquet`, `test/0000.parquet`), only the files of `split` are read, unless there is just one split. The column of images
    is the one that the file's own metadata says is of images, else the only one of {bytes, path}. Labels are those of the column
    `label` or `labels`, if it has whole numbers from 0. A row without a readable image is a bad file. More images than `storage`
    holds in memory are decoded once into a file, which later starts read if no table has changed.
    Raise UserError if pyarrow is missing, if the files are damaged or hold no images, or as `FileReader.dataset` does.
    """
    files = [path] if path.is_file() else _files_of_split(path, parquet_files(path), split=split)
    pyarrow = _import_pyarrow(path, "pyarrow")
    parquet = _import_pyarrow(path, "pyarrow.parquet")

    def open_table(file: Path) -> _Table:
        opened = parquet.ParquetFile(file)
        columns = _wanted(path, pyarrow, opened.schema_arrow)
        return _Table(opened.schema_arrow, opened.metadata.num_rows, opened.iter_batches(batch_size=ROWS, columns=columns))

    kind = f"{len(files):,} .parquet files" if len(files) > 1 else "a .parquet file"
    return _read_tables(path, files, open_table, decoding, kind=kind, on_bad=on_bad, storage=storage)


def saved_dataset(
    path: Path, decoding: Decoding, *, split: str = "train", on_bad: str = "stop", storage: Storage = IN_MEMORY
) -> ImageDataset:
    """Load images from a folder that `save_to_disk` of the package datasets wrote, uint8 [N, size, size, channels].

    The rows, columns and labels are read as `parquet_dataset` does. If the folder has several splits, `split` is read.
    Raise what `parquet_dataset` raises.
    """
    if (path / "dataset_dict.json").is_file():
        splits = sorted(each.name for each in path.iterdir() if each.is_dir() and is_saved_dataset(each))
        folder = path / _chosen_split(path, splits, split=split)
    else:
        folder = path
    files = [folder / name for name in _data_files(folder)]
    pyarrow, ipc = _import_pyarrow(path, "pyarrow"), _import_pyarrow(path, "pyarrow.ipc")

    def open_table(file: Path) -> _Table:
        with pyarrow.memory_map(str(file)) as content:  # Only what is looked at is read.
            stream = ipc.open_stream(content)
            schema, rows = stream.schema, sum(batch.num_rows for batch in stream)
        return _Table(schema, rows, _stream(ipc, file))

    return _read_tables(path, files, open_table, decoding, kind="a saved datasets folder", on_bad=on_bad, storage=storage)


def _stream(ipc: Any, file: Path) -> Iterator[Any]:
    """Yield the batches of an Arrow stream, cut into pieces of at most ROWS rows."""
    with file.open("rb") as content:
        for batch in ipc.open_stream(content):
            for first in range(0, batch.num_rows, ROWS):
                yield batch.slice(first, ROWS)


class _Table(NamedTuple):
    """An open table: its schema, how many rows it has, and its record batches, which are read as they are taken."""

    schema: Any
    rows: int
    batches: Iterator[Any]


def _read_tables(
    path: Path,
    files: Sequence[Path],
    open_table: Callable[[Path], _Table],
    decoding: Decoding,
    *,
    kind: str,
    on_bad: str,
    storage: Storage,
) -> ImageDataset:
    """Decode the rows of tables."""
    pyarrow = _import_pyarrow(path, "pyarrow")

    @contextmanager
    def damage_in_one_line(file: Path) -> Iterator[None]:
        try:
            yield
        except (pyarrow.ArrowException, OSError, EOFError) as error:
            found = f"expected tables that can be read, got a damaged file, {file.name}: {reason_of(error)}"
            raise UserError(f"data.path={path}: {found}. Download or save it again.") from None

    def members() -> Iterator[Member]:
        row = 0
        for file in files:
            with damage_in_one_line(file):
                schema, _, batches = open_table(file)
                column, label = image_column(path, pyarrow, schema), _label_column(pyarrow, schema)
                for batch in batches:
                    numbers = [None] * batch.num_rows if label is None else batch.column(label).to_pylist()
                    for image, number in zip(batch.column(column), numbers, strict=True):
                        yield _row_member(row, image.as_py(), number)
                        row += 1

    count = 0
    classes: tuple[str, ...] = ()
    for file in files:
        with damage_in_one_line(file):
            schema, rows, _ = open_table(file)
            image_column(path, pyarrow, schema)
            count, classes = count + rows, classes or _class_names(schema, _label_column(pyarrow, schema))
    source = Source(
        members=members,
        read=partial(_read_row, decoding),
        count=count,
        size=sum(file.stat().st_size for file in files),
        key=lambda: key_of(str(path.absolute()), decoding, map(file_state, files)),
    )
    reading, reader = storage.read(source, image_shape=decoding.image_shape), FileReader(decoding)
    for found in reading.found:
        reader.add(found)
    dataset = reader.dataset(str(path), kind=kind, on_bad=on_bad, mapped=reading.mapped)
    labels = {readable(found.name): found.label for found in reading.found}
    numbers = _checked_labels([labels[name] for name in dataset.names])
    if numbers is None:
        return reading.with_digest(replace(dataset, labels=None, classes=()))
    classes = classes if len(classes) > int(numbers.max()) else tuple(map(str, range(int(numbers.max()) + 1)))
    remarks = (*dataset.remarks, *label_remarks(numbers, classes, origin="by the column of labels"))
    return reading.with_digest(replace(dataset, labels=numbers, classes=classes, remarks=remarks))


def _row_member(row: int, value: Any, label: Any) -> Member:
    """Return a row: its name is the row's number, and the file's name if the row has one."""
    content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    name = f"{row:08d}" + (f"-{PureWindowsPath(path).name}" if path else "")  # It splits at both kinds of slashes.
    if content is None:  # Files elsewhere are not opened: a table is a stranger's.
        reason = f"the row has a path, {path}, and no bytes" if path else "the row has no image"
        return Member(name, label=label, reason=reason, is_bad=True)
    return Member(name, content, label)


def _read_row(decoding: Decoding, member: Member) -> ReadFile:
    """Read a row, which has to be an image: if it is none, it counts as bad and not as skipped."""
    found = read_content(decoding, member)
    return found._replace(is_bad=bool(found.reason))


def image_column(path: Path, pyarrow: Any, schema: Any) -> str:
    """Return the name of the column of images. Raise UserError, naming the columns, if there is none, or several."""
    features = _features(schema)
    stored = [field.name for field in schema if _is_image_struct(pyarrow, field.type)]
    bytes_too = [*stored, *(field.name for field in schema if _is_bytes(pyarrow, field.type))]
    declared = [name for name in bytes_too if isinstance(features.get(name), dict) and features[name].get("_type") == "Image"]
    found = declared or stored
    chosen = [name for name in PREFERRED if name in found][:1] or found
    if len(chosen) != 1:
        got = f"several: {', '.join(found)}" if found else "none"
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
        remedy = f"Call one of them {PREFERRED[0]}" if found else "Save images as the package datasets does"
        raise UserError(
            f"data.path={path}: expected one column of images (bytes, path), got {got}. Columns: {columns}. {remedy}."
        )
    return chosen[0]


def _wanted(path: Path, pyarrow: Any, schema: Any) -> list[str]:
    label = _label_column(pyarrow, schema)
    return [image_column(path, pyarrow, schema), *([label] if label else [])]


def _is_bytes(pyarrow: Any, kind: Any) -> bool:
    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _is_image_struct(pyarrow: Any, kind: Any) -> bool:
    if not pyarrow.types.is_struct(kind) or {field.name for field in kind} != {"bytes", "path"}:
        return False
    return _is_bytes(pyarrow, kind.field("bytes").type)


def _label_column(pyarrow: Any, schema: Any) -> str | None:
    return next((name for name in LABELS if name in schema.names and pyarrow.types.is_integer(schema.field(name).type)), None)


def _features(schema: Any) -> dict[str, Any]:
    """Return what the package datasets wrote about the columns, or {}."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _class_names(schema: Any, label: str | None) -> tuple[str, ...]:
    feature = _features(schema).get(label or "")
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _checked_labels(numbers: Sequence[Any]) -> np.ndarray | None:
    """Return labels int64 [N], or None if an image has none: the row says nothing, or −1 as in test sets."""
    if not all(isinstance(number, int) and 0 <= number < MOST_CLASSES for number in numbers):
        return None
    return np.array(numbers, np.int64)


def _data_files(folder: Path) -> list[str]:
    """Return the names of a saved folder's files of rows. They are names, never paths that lead out of the folder."""
    path = folder / "state.json"
    try:
        names = [entry["filename"] for entry in json.loads(path.read_text(encoding="utf-8"))["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"data.path={folder}: expected a saved folder, got a damaged state.json: {reason_of(error)}.") from None
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise UserError(f"data.path={folder}: expected files inside of the folder in state.json, got {names}. Save it again.")
    if missing := [name for name in names if not (folder / name).is_file()]:
        found = f"nothing, or no regular file, at {listed(missing)}"
        raise UserError(f"data.path={folder}: expected the files that state.json names, got {found}. Save it again.")
    return names


def _files_of_split(path: Path, files: Sequence[Path], *, split: str) -> list[Path]:
    """Return the files of a split, or all of them if their names name no split, or one."""
    splits = [_split_of(file) for file in files]
    named = sorted(set(splits) - {""})
    chosen = _chosen_split(path, named, split=split) if len(named) > 1 else ""
    return [file for file, own in zip(files, splits, strict=True) if not chosen or own == chosen]


def _split_of(file: Path) -> str:
    """Return the split that a file's name or its folder names, or ""."""
    if found := SHARD.fullmatch(file.stem):
        return found["split"]
    return next((name for name in (file.stem, file.parent.name) if name.lower() in SPLITS), "")


def _chosen_split(path: Path, splits: Sequence[str], *, split: str) -> str:
    if len(splits) == 1:
        return splits[0]
    if split not in splits:
        found = f"expected a split of {path} (it has {listed(splits)})"
        raise UserError(f"data.split={split}: {found}, got another one. Use one of these.")
    return split


def _import_pyarrow(path: Path, module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"data.path={path}: expected the package pyarrow, which reads Hugging Face's tables, got none."
            " Run: pip install 'sharingan_jax[parquet]'"
        ) from None
