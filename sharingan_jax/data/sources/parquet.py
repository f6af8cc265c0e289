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

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.formats import PREFIX, has_image_ending, may_be_image
from sharingan_jax.data.labels import SPLITS
from sharingan_jax.data.sources.files import FileReader, Member, ReadFile, is_hidden, read_content, readable, shown, system_folder
from sharingan_jax.data.sources.table_labels import (
    COLUMNS,
    TableLabels,
    checked_class_names,
    features_of,
    label_column,
    labels_of_rows,
)
from sharingan_jax.data.storage import IN_MEMORY, Source, Storage, file_state, key_of
from sharingan_jax.errors import UserError, listed, reason_of

MARK = b"PAR1"
"""The first bytes of a .parquet file."""
PREFERRED = ("image", "img")
"""Of several columns of images, the first of these counts."""
ROWS = 64  # in memory at once
STRAY = 3
"""So many images may lie among tables of images: thumbnails, say."""
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


class Tables(NamedTuple):
    """The .parquet files of a folder, in the byte order of their relative names, and the names of images that lie among them."""

    files: list[Path]
    images: list[str]


def find_tables(folder: Path) -> Tables:
    """Return the .parquet files below a folder, or none if it is a folder of images.

    It is one if it has more than STRAY images, or if it has images and no table has a column of them: then the tables describe
    the images. Hidden files and the folders of a system do not count.
    Raise UserError if the tables decide and pyarrow is missing.
    """
    tables = _tables_and_images(folder)
    if tables.images and (len(tables.images) > STRAY or not _have_images(folder, tables.files)):
        return Tables([], tables.images)
    return tables


def _tables_and_images(folder: Path) -> Tables:
    """Search a folder for tables and, until there are more than STRAY, for images."""
    tables: list[Path] = []
    images: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name) and not system_folder(f"{name}/any")]
        for file in (Path(parent) / name for name in files if not is_hidden(name)):
            if not file.is_file():
                continue  # Opening a pipe would wait for its other end.
            if file.name.lower().endswith(".parquet"):
                tables.append(file)
            elif _is_image(file):
                images.append(file.relative_to(folder).as_posix())
            if len(images) > STRAY:
                return Tables(tables, images)  # At once: a folder of images may have a million.
    tables.sort(key=lambda file: os.fsencode(file.relative_to(folder).as_posix()))
    return Tables(tables, sorted(images, key=os.fsencode))


def _is_image(file: Path) -> bool:
    """Return whether a file is an image by its ending or, if it has another one, by its first bytes."""
    if has_image_ending(file.name):
        return True
    try:
        with file.open("rb") as content:
            return may_be_image(file.name, content.read(PREFIX))
    except OSError:
        return False


def _have_images(folder: Path, files: Sequence[Path]) -> bool:
    """Return whether one of the tables has a column of images. A damaged one counts too: its error is for the user to see."""
    if not files:
        return False
    pyarrow, parquet = _import_pyarrow(folder, "pyarrow"), _import_pyarrow(folder, "pyarrow.parquet")
    for file in files:
        try:
            if _image_columns(pyarrow, parquet.read_schema(file)):
                return True
        except (pyarrow.ArrowException, OSError):
            return True
    return False


def parquet_dataset(
    path: Path, decoding: Decoding, *, split: str = "train", on_bad: str = "stop", storage: Storage = IN_MEMORY
) -> ImageDataset:
    """Load images from a .parquet file or a folder of them, uint8 [N, size, size, channels], in the order of their rows.

    Files come in the byte order of their names. If the names say which split a file belongs to (`train-00000-of-00002.parquet`,
    `test.parquet`, `test/0000.parquet`), only the files of `split` are read, unless there is just one split. The column of images
    is the one that the file's own metadata says is of images, else the only one of {bytes, path}. Labels are those of the column
    `label` or `labels`, if it has whole numbers from 0 or texts. A row without a readable image is a bad file. More images than
    `storage` holds in memory are decoded once into a file, which later starts read if no table has changed.
    Raise UserError if pyarrow is missing, if the files are damaged, hold no images or call one class differently, or as
    `FileReader.dataset` does.
    """
    tables = Tables([path], []) if path.is_file() else find_tables(path)
    files = tables.files if path.is_file() else _files_of_split(path, tables.files, split=split)
    pyarrow = _import_pyarrow(path, "pyarrow")
    parquet = _import_pyarrow(path, "pyarrow.parquet")

    def open_table(file: Path) -> _Table:
        opened = parquet.ParquetFile(file)
        images = [image_column(path, pyarrow, opened.schema_arrow)]
        return _Table(
            opened.schema_arrow,
            opened.metadata.num_rows,
            batches=lambda: opened.iter_batches(batch_size=ROWS, columns=images),
            values=lambda column: opened.read(columns=[column]).column(0).to_pylist(),
        )

    kind = f"{len(files):,} .parquet files" if len(files) > 1 else "a .parquet file"
    left_out = ", ".join(map(shown, tables.images))
    remarks = (f"the images are those in the tables, without {left_out}, which lie among them",) if left_out else ()
    return _read_tables(path, files, open_table, decoding, kind=kind, on_bad=on_bad, storage=storage, remarks=remarks)


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
        return _Table(schema, rows, batches=partial(_stream, ipc, file), values=partial(values, file))

    def values(file: Path, column: str) -> list[Any]:
        with pyarrow.memory_map(str(file)) as content:
            return [value for batch in ipc.open_stream(content) for value in batch.column(column).to_pylist()]

    return _read_tables(path, files, open_table, decoding, kind="a saved datasets folder", on_bad=on_bad, storage=storage)


def _stream(ipc: Any, file: Path) -> Iterator[Any]:
    """Yield the batches of an Arrow stream, cut into pieces of at most ROWS rows."""
    with file.open("rb") as content:
        for batch in ipc.open_stream(content):
            for first in range(0, batch.num_rows, ROWS):
                yield batch.slice(first, ROWS)


class _Table(NamedTuple):
    """An open table: its schema and how many rows it has.

    `batches` reads the record batches with the images as they are taken, `values` a small column at once.
    """

    schema: Any
    rows: int
    batches: Callable[[], Iterator[Any]]
    values: Callable[[str], list[Any]]


def _read_tables(
    path: Path,
    files: Sequence[Path],
    open_table: Callable[[Path], _Table],
    decoding: Decoding,
    *,
    kind: str,
    on_bad: str,
    storage: Storage,
    remarks: Sequence[str] = (),
) -> ImageDataset:
    """Decode the rows of tables. `remarks` are added to those on the images."""
    pyarrow = _import_pyarrow(path, "pyarrow")

    @contextmanager
    def damage_in_one_line(file: Path) -> Iterator[None]:
        try:
            yield
        except (pyarrow.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
            found = f"expected tables that can be read, got a damaged file, {file.name}: {reason_of(error)}"
            raise UserError(f"data.path={path}: {found}. Download or save it again.") from None

    def members() -> Iterator[Member]:
        row = 0
        for file in files:
            with damage_in_one_line(file):
                table = open_table(file)
                column = image_column(path, pyarrow, table.schema)
                for batch in table.batches():
                    for image in batch.column(column):
                        yield _row_member(row, image.as_py())
                        row += 1

    columns: list[tuple[str, TableLabels]] = []
    values: list[Any] = []
    for file in files:
        with damage_in_one_line(file):
            table = open_table(file)
            _check_names(path, pyarrow, table.schema)
            image_column(path, pyarrow, table.schema)
            label = label_column(pyarrow, table.schema)
            columns.append((file.relative_to(path).as_posix() if file != path else file.name, label))
            found = table.values(label.column) if label.is_read else [None] * table.rows
            if len(found) != table.rows:
                raise EOFError(f"it has {table.rows:,} rows and {len(found):,} labels")
            values += found
    classes = checked_class_names(str(path), columns)
    source = Source(
        members=members,
        read=partial(_read_row, decoding),
        count=len(values),
        size=sum(file.stat().st_size for file in files),
        key=lambda: key_of(str(path.absolute()), decoding, map(file_state, files)),
    )
    reading, reader = storage.read(source, image_shape=decoding.image_shape), FileReader(decoding)
    for image in reading.found:
        reader.add(image)
    dataset = reader.dataset(str(path), kind=kind, on_bad=on_bad, mapped=reading.mapped)
    value_of = {readable(image.name): value for image, value in zip(reading.found, values, strict=True)}
    labels = labels_of_rows([each for _, each in columns], {name: value_of[name] for name in dataset.names}, classes)
    remarks = (*remarks, *dataset.remarks, *labels.remarks)
    return reading.with_digest(replace(dataset, labels=labels.numbers, classes=labels.classes, remarks=remarks))


def _row_member(row: int, value: Any) -> Member:
    """Return a row: its name is the row's number, and the file's name if the row has one."""
    content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    name = f"{row:08d}" + (f"-{PureWindowsPath(path).name}" if path else "")  # It splits at both kinds of slashes.
    if content is None:  # Files elsewhere are not opened: a table is a stranger's.
        reason = f"the row has a path, {path}, and no bytes" if path else "the row has no image"
        return Member(name, reason=reason, is_bad=True)
    return Member(name, content)


def _read_row(decoding: Decoding, member: Member) -> ReadFile:
    """Read a row. A row without an image counts as bad, not as skipped."""
    found = read_content(decoding, member)
    return found._replace(is_bad=bool(found.reason))


def image_column(path: Path, pyarrow: Any, schema: Any) -> str:
    """Return the name of the column of images. Raise UserError, naming the columns, if there is none, or several."""
    found = _image_columns(pyarrow, schema)
    chosen = [name for name in PREFERRED if name in found][:1] or found
    if len(chosen) != 1:
        got = f"several: {', '.join(found)}" if found else "none"
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
        remedy = f"Call one of them {PREFERRED[0]}" if found else "Save images as the package datasets does"
        raise UserError(
            f"data.path={path}: expected one column of images (bytes, path), got {got}. Columns: {columns}. {remedy}."
        )
    return chosen[0]


def _check_names(path: Path, pyarrow: Any, schema: Any) -> None:
    """Raise UserError if two columns have the name of the images' or of the labels' column."""
    for name in (*_image_columns(pyarrow, schema), *COLUMNS):
        if (columns := schema.names.count(name)) > 1:
            found = f"got {columns} with the name {name}"
            raise UserError(f"data.path={path}: expected one column of each name, {found}. Give each a name of its own.")


def _image_columns(pyarrow: Any, schema: Any) -> list[str]:
    """Return the columns that the metadata says are of images or, if it says so of none, those of {bytes, path}."""
    features = features_of(schema)
    stored = [field.name for field in schema if _is_image_struct(pyarrow, field.type)]
    bytes_too = [*stored, *(field.name for field in schema if _is_bytes(pyarrow, field.type))]
    declared = [name for name in bytes_too if isinstance(features.get(name), dict) and features[name].get("_type") == "Image"]
    return declared or stored


def _is_bytes(pyarrow: Any, kind: Any) -> bool:
    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _is_image_struct(pyarrow: Any, kind: Any) -> bool:
    if not pyarrow.types.is_struct(kind) or {field.name for field in kind} != {"bytes", "path"}:
        return False
    return _is_bytes(pyarrow, kind.field("bytes").type)


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
