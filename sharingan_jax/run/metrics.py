"""`metrics.jsonl`: one record a step, read, written whole, and appended to while a run trains."""

import contextlib
import difflib
import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from sharingan_jax.errors import UserError
from sharingan_jax.files import PUT_BACK, name_in_errors, write_atomically, write_text
from sharingan_jax.gan.metrics import METRIC_NAMES
from sharingan_jax.run.folder import RunFolder

Record = dict[str, Any]


class UnknownMetricError(UserError, KeyError):
    """A metric that a run did not record."""

    __str__ = Exception.__str__  # A KeyError's text would be in quotes.


class Metrics(dict[str, np.ndarray]):
    """Metrics by name, each an array [steps]. A name that is not there raises UnknownMetricError with the nearest one."""

    def __missing__(self, name: object) -> np.ndarray:
        nearest = difflib.get_close_matches(str(name).lower(), self, n=1, cutoff=0.6)
        hint = f"Did you mean {nearest[0]}?" if nearest else f"The run has: {', '.join(self) or 'none'}."
        raise UnknownMetricError(f"{name}: no such metric. {hint}")


def read_metrics(folder: RunFolder) -> list[Record]:
    """Return the records of `metrics.jsonl`, in order, without a last line that a crash cut short.

    Raise UserError naming the line if any other line is not a record.
    """
    records, problem = read_whole_records(folder)
    if problem:
        raise UserError(f"{problem}; {PUT_BACK}")
    return records


def read_whole_records(folder: RunFolder) -> tuple[list[Record], str]:
    """Return the records before the first line that is not a record, and what is wrong with this line: "" if there is none.

    A last line that a crash cut short is left out.
    """
    if not folder.metrics.is_file():
        return [], ""
    lines = folder.metrics.read_bytes().split(b"\n")
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        if not line and number == len(lines):
            break
        try:
            record = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_refuse_doubles)
            if not _is_record(record):
                raise ValueError("not the record of a step")
        except (ValueError, RecursionError) as error:
            return records, "" if number == len(lines) else f"{folder.metrics}, line {number}: {error}"
        records.append(record)
    return records, ""


def _refuse_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a name that appears twice")
    return record


def _is_record(record: Any) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        return False
    return all(name in record and isinstance(record[name], int | float | None) for name in (*METRIC_NAMES, "time"))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a value of a metric")


def write_metrics(folder: RunFolder, records: Iterable[Record]) -> None:
    """Replace `metrics.jsonl`, atomically."""
    write_text(folder.metrics, _lines(records))


def _lines(records: Iterable[Record]) -> str:
    return "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)


class MetricsFile:
    """`metrics.jsonl` while a run trains: held open, so that records are not lost if the file is deleted.

    Use as a context manager.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.metrics
        self._file = self._path.open("a+b")
        self._size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> "MetricsFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, records: Iterable[Record]) -> bool:
        """Add one line for each record. They are on disk when this returns, before any checkpoint that depends on them.

        Return whether the file had been deleted or replaced, and was written again. Raise UserError if another program has
        changed its length.
        """
        lost = self._restore_if_lost()
        with name_in_errors(self._path):
            self._file.write(_lines(records).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        self._size = os.fstat(self._file.fileno()).st_size
        return lost

    def _restore_if_lost(self) -> bool:
        held = os.fstat(self._file.fileno())
        if held.st_size != self._size:
            raise UserError(
                f"{self._path}: expected {self._size} bytes, got {held.st_size}: another program has changed it while the run"
                f" trained, so the run has stopped; {PUT_BACK}"
            )
        with contextlib.suppress(OSError):
            if os.path.samestat(held, self._path.stat()):
                return False
        self._file.seek(0)
        content = self._file.read()
        write_atomically(self._path, lambda file: file.write(content))
        self._file.close()
        self._file = self._path.open("a+b")
        return True
