"""Class labels from the tables of Hugging Face: a column of whole numbers, with their names in the metadata, or of texts."""

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from sharingan_jax.data.sources.files import label_remarks, shown
from sharingan_jax.errors import UserError

COLUMNS = ("label", "labels")
MOST_CLASSES = 65536


class TableLabels(NamedTuple):
    """A table's column of labels: its name ("" if there is none), its type, and the classes' names in the metadata."""

    column: str = ""
    kind: str = ""
    classes: tuple[str, ...] = ()
    is_read: bool = False


class Labels(NamedTuple):
    """The class of each image, int64 [N], and the classes; or None. `remarks` say what they are, or why there are none."""

    numbers: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def label_column(pyarrow: Any, schema: Any) -> TableLabels:
    """Return a table's column of labels. It is to be read if it has whole numbers or texts."""
    named = [name for name in COLUMNS if name in schema.names]
    readable = [name for name in named if _is_read(pyarrow.types, schema.field(name).type)]
    if not named:
        return TableLabels()
    column = (readable or named)[0]
    feature = features_of(schema).get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    classes = tuple(map(str, names)) if isinstance(names, list) else ()
    return TableLabels(column, str(schema.field(column).type), classes, bool(readable))


def features_of(schema: Any) -> dict[str, Any]:
    """Return what the package datasets wrote about the columns, or {}."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def checked_class_names(path: str, tables: Sequence[tuple[str, TableLabels]]) -> tuple[str, ...]:
    """Return the names that the files' metadata has for the classes, or (). `tables` has each file's name with its labels.

    Raise UserError, naming two files, if these call a class differently: their numbers do not mean the same.
    """
    named = [(file, labels.classes) for file, labels in tables if labels.classes]
    for file, classes in named[1:]:
        first, expected = named[0]
        for number, (one, other) in enumerate(zip_longest(expected, classes, fillvalue="missing")):
            if one != other:
                found = f"class {number} is {shown(one)} in {first} and {shown(other)} in {file}"
                raise UserError(
                    f"data.path={path}: expected the same class names in all files, got others: {found}. Save both with one list."
                )
    return named[0][1] if named else ()


def labels_of_rows(tables: Sequence[TableLabels], rows: Mapping[str, Any], classes: Sequence[str]) -> Labels:
    """Return the labels of rows, with a remark. `rows` maps the name of each image's row to its value.

    Whole numbers from 0 are labels, and `classes` their names. Texts are classes in byte order, if each has 2 images on average.
    """
    if not any(table.column for table in tables):
        return Labels()
    if others := [table for table in tables if table.column and not table.is_read]:
        column, kind = others[0].column, others[0].kind
        return Labels(remarks=(f"no classes: expected whole numbers or texts in the column {column}, got {shown(kind)}",))
    column = next(table.column for table in tables if table.column)
    are_texts = any(isinstance(value, str) for value in rows.values())
    is_label = _is_text if are_texts else _is_number
    if wrong := [name for name, value in rows.items() if not is_label(value)]:
        expected = "texts" if are_texts else f"whole numbers from 0 to {MOST_CLASSES - 1}"
        more = f" and {len(wrong) - 1:,} more" if wrong[1:] else ""
        found = f"{_in_words(rows[wrong[0]])} in the row {shown(wrong[0])}{more}"
        return Labels(remarks=(f"no classes: expected {expected} in the column {column}, got {found}",))
    if are_texts:
        return _labels_of_texts(column, [*rows.values()])
    numbers = np.array([*rows.values()], np.int64)
    needed = int(numbers.max()) + 1
    return _described(numbers, tuple(classes) if len(classes) >= needed else tuple(map(str, range(needed))))


def _labels_of_texts(column: str, texts: Sequence[str]) -> Labels:
    classes = sorted(set(texts), key=str.encode)
    if len(texts) < 2 * len(classes) or len(classes) > MOST_CLASSES:
        found = f"{len(classes):,} texts in the column {column} for {len(texts):,} images"
        return Labels(remarks=(f"no classes: expected a text for at least 2 images on average, got {found}",))
    place = {name: number for number, name in enumerate(classes)}
    return _described(np.array([place[text] for text in texts], np.int64), tuple(classes))


def _described(numbers: np.ndarray, classes: tuple[str, ...]) -> Labels:
    return Labels(numbers, classes, label_remarks(numbers, classes, origin="by the column of labels"))


def _is_read(types: Any, kind: Any) -> bool:
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind))


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < MOST_CLASSES


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _in_words(value: Any) -> str:
    return "no label" if value is None else shown(str(value))
