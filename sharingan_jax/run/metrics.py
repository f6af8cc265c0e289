"""`metrics.jsonl`: one record a step, read, appended and truncated."""

import json
import os
from collections.abc import Iterable
from typing import Any

from sharingan_jax.errors import UserError
from sharingan_jax.files import naming, write_text
from sharingan_jax.run.folder import PUT_BACK, RunDir, read_imported

FIGURES = ("loss_d", "loss_g", "d_real", "d_fake_before", "d_fake_after")
"""What every record has of its step; those of G are null where it was not updated."""


def read_metrics(run: RunDir) -> list[dict[str, Any]]:
    """The records of `metrics.jsonl`, in order, without a last line that a crash cut short.

    Raises UserError naming the line where any other is no record.
    """
    if not run.metrics.is_file():
        return []
    lines = run.metrics.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, 1):
        if not line and number == len(lines):
            break
        try:
            record = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
            if not _is_record(record):
                raise ValueError("no record of a step")
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise UserError(f"{run.metrics}, line {number}: {error}; {PUT_BACK}") from None
        records.append(record)
    return records


def _is_record(record: Any) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        return False
    return all(name in record and isinstance(record[name], int | float | None) for name in (*FIGURES, "time"))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no figure")


def append_metrics(run: RunDir, records: Iterable[dict[str, Any]]) -> None:
    """Adds one line for each record; they are on disk when it returns, before any checkpoint that stands on them."""
    lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    with naming(run.metrics), run.metrics.open("a", encoding="utf-8") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def cut_metrics(run: RunDir, *, last_step: int) -> None:
    """Drops the records after `last_step`, which are about to be made again.

    Raises UserError, and changes nothing, where one of the steps up to it has no record.
    """
    kept = [record for record in read_metrics(run) if record["step"] <= last_step]
    imported = read_imported(run)
    first = int(imported["step"]) + 1 if imported else 1
    steps = [record["step"] for record in kept]
    if steps != list(range(first, last_step + 1)):
        lost = sorted(set(range(first, last_step + 1)) - set(steps))
        what = f"has no record of step {lost[0]}" if lost else "has records that are not in order"
        raise UserError(
            f"{run.metrics} {what}, and the last checkpoint is of step {last_step}; put the file back as it was, or use"
            " another --workdir"
        )
    write_text(run.metrics, "".join(json.dumps(record, allow_nan=False) + "\n" for record in kept))
