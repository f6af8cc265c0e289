"""Output that its reader, its disk or its encoding cannot take ends nothing."""

import io
import os
from pathlib import Path

import pytest

from sharingan_jax.reporting.output import lasting


def test_a_reader_that_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        out = lasting(stream)
        os.close(reader)
        for _ in range(3):
            assert out.write("x" * 100_000) == 100_000
            out.flush()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no file that is always full")
def test_a_full_disk_is_no_error() -> None:
    with open("/dev/full", "w") as full:
        out = lasting(full)
        for _ in range(2):
            print("a line", file=out, flush=True)


def test_a_missing_or_closed_stream_is_no_error(tmp_path: Path) -> None:
    closed = (tmp_path / "log").open("w")
    closed.close()
    for stream in (None, closed):
        out = lasting(stream)
        print("a line", file=out, flush=True)
        assert not out.isatty()
        out.close()


def test_characters_that_a_console_lacks_have_plain_ones() -> None:
    console = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print("3 × 2 – 1 − 0… é", file=lasting(console), flush=True)
    assert console.buffer.getvalue().decode() == f"3 x 2 - 1 - 0... ?{os.linesep}"


def test_a_stream_that_works_gets_every_character_and_is_wrapped_once() -> None:
    stream = io.StringIO()
    out = lasting(stream)
    print("3 × 2 – 1", file=out)
    assert stream.getvalue() == "3 × 2 – 1\n"
    assert lasting(out) is out
