"""`metrics.jsonl`: one record a step, read, appended and truncated."""

import json
import os
from collections.abc import Iterable
from typing import Any

from sharingan_jax.errors import UserError
from sharingan_jax.files import PUT_BACK, name_in_errors, write_text
from sharingan_jax.gan.metrics import METRIC_NAMES
from sharingan_jax.run.folder import RunFolder

Record = dict[str, Any]


def read_metrics(folder: RunFolder) -> list[Record]:
    """Return the records of `metrics.jsonl`, in order, without a last line that a crash cut short.

    Raises UserError naming the line if any other line is not a record.
    """
    if not folder.metrics.is_file():
        return []
    lines = folder.metrics.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, 1):
        if not line and number == len(lines):
            break
        try:
            record = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
            if not _is_record(record):
                raise ValueError("not the record of a step")
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise UserError(f"{folder.metrics}, line {number}: {error}; {PUT_BACK}") from None
        records.append(record)
    return records


def _is_record(record: Any) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        return False
    return all(name in record and isinstance(record[name], int | float | None) for name in (*METRIC_NAMES, "time"))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a value of a metric")


def append_metrics(folder: RunFolder, records: Iterable[Record]) -> None:
    """Add one line for each record. They are on disk when this returns, before any checkpoint that depends on them."""
    lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    with name_in_errors(folder.metrics), folder.metrics.open("a", encoding="utf-8") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def write_metrics(folder: RunFolder, records: Iterable[Record]) -> None:
    """Replace `metrics.jsonl`, atomically."""
    write_text(folder.metrics, "".join(json.dumps(record, allow_nan=False) + "\n" for record in records))
