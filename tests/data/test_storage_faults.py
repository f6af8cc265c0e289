"""Decoded images that were damaged, or whose disk is full or cannot be written: nothing wrong is read."""

import errno
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faults import FAULTS
from kept_images import count_pieces, is_same, load, make_images, packed, use_small_blocks

from sharingan_jax.data import storage
from sharingan_jax.data.sources.load import load_dataset
from sharingan_jax.errors import UserError


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `make_images`, of which a block has four files."""
    use_small_blocks(monkeypatch)
    return make_images(tmp_path / "images")


@pytest.fixture
def blocks_read(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The names of each piece of members that is decoded."""
    return count_pieces(monkeypatch)


def test_a_damaged_block_is_decoded_again(images: Path, tmp_path: Path, blocks_read: list[Sequence[str]]) -> None:
    load(images, tmp_path / "cache")
    (pixels,) = (tmp_path / "cache").glob(f"*/{storage.PIXELS}")
    content = bytearray(pixels.read_bytes())
    content[-1] ^= 1
    pixels.write_bytes(content)
    blocks_read.clear()
    lines: list[str] = []
    found = load(images, tmp_path / "cache", lines.append)
    assert FAULTS["decoded-damaged"].is_shown_in(lines[0])
    assert [names[0] for names in blocks_read] == ["14.png"]
    assert is_same(found, load(images, None))


def _edited(line: str, **changes: object) -> str:
    return json.dumps(json.loads(line) | changes)


DAMAGES: dict[str, Callable[[str], str | bytes]] = {
    "garbage": lambda line: b"\xff\xfe\0garbage\x80",
    "no keys": lambda line: "{}",
    "a list": lambda line: "[1, 2]",
    "only its block": lambda line: json.dumps({"block": 4}),
    "deep": lambda line: "[" * 100_000,
    "another name": lambda line: line.replace("14.png", "99.png"),
    "other digests": lambda line: _edited(line, files=json.loads(line)["files"][::-1]),
    "another block": lambda line: _edited(line, block=3),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_block_whose_line_in_the_journal_was_changed_is_decoded_again(
    damage: str, images: Path, tmp_path: Path, blocks_read: list[Sequence[str]]
) -> None:
    load(images, tmp_path / "cache")
    (journal,) = (tmp_path / "cache").glob(f"*/{storage.BLOCKS}")
    *others, last = journal.read_text().splitlines()
    changed = DAMAGES[damage](last)
    assert changed != last
    content = changed if isinstance(changed, bytes) else changed.encode()
    journal.write_bytes("".join(f"{line}\n" for line in others).encode() + content + b"\n")
    blocks_read.clear()
    assert is_same(load(images, tmp_path / "cache"), load(images, None))
    assert [names[0] for names in blocks_read[:1]] == ["14.png"]


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b'{"blocks": 1}', b"[]"])
def test_a_kept_digest_that_was_changed_is_taken_again(content: bytes, images: Path, tmp_path: Path) -> None:
    expected = load(images, tmp_path / "cache").digest
    (path,) = (tmp_path / "cache").glob(f"*/{storage.DIGEST}")
    whole = path.read_text()
    for changed in (content, whole.replace(expected, "0" * 64).encode()):
        path.write_bytes(changed)
        assert load(images, tmp_path / "cache").digest == expected
        assert path.read_text() == whole


def test_a_disk_without_room_is_refused_with_what_to_do(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda folder: SimpleNamespace(free=9))
    room = r"expected 1 MB of free space for the decoded images, got 0 MB\. .*"
    with pytest.raises(UserError, match=rf"^data\.cache=.*: {room}data\.memory_mb=\d+ to hold"):
        load(images, tmp_path / "cache")


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that makes the folder of decoded images one that cannot be written, with this number of error."""
    open_file, make = Path.open, Path.mkdir

    def fail_if_written(path: Path, how: str, number: int) -> None:
        if path.is_relative_to(tmp_path / "cache") and set(how) & set("awx+"):
            raise OSError(number, os.strerror(number), str(path))

    def protect(number: int) -> None:
        def open_or_fail(path: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            fail_if_written(path, mode, number)
            return open_file(path, mode, *arguments, **named)

        def make_or_fail(path: Path, *arguments: Any, **named: Any) -> None:
            if not path.is_dir():
                fail_if_written(path, "x", number)
            make(path, *arguments, **named)

        monkeypatch.setattr(Path, "open", open_or_fail)
        monkeypatch.setattr(Path, "mkdir", make_or_fail)

    return protect


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_whole_images_on_a_disk_that_cannot_be_written_are_read(
    number: int, images: Path, tmp_path: Path, blocks_read: list[Sequence[str]], read_only: Callable[[int], None]
) -> None:
    load(images, tmp_path / "cache")
    blocks_read.clear()
    (digest,) = (tmp_path / "cache").glob(f"*/{storage.DIGEST}")
    digest.unlink()
    read_only(number)
    assert is_same(load(images, tmp_path / "cache"), load(images, None))
    assert blocks_read[:-5] == []  # The last five are those of the set in memory.
    assert not digest.exists()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
@pytest.mark.parametrize("is_damaged", [True, False])
def test_images_on_a_disk_that_cannot_be_written_are_refused_if_some_are_missing(
    number: int, is_damaged: bool, images: Path, tmp_path: Path, read_only: Callable[[int], None]
) -> None:
    if is_damaged:
        load(images, tmp_path / "cache")
        (pixels,) = (tmp_path / "cache").glob(f"*/{storage.PIXELS}")
        pixels.write_bytes(pixels.read_bytes()[:-1] + b"?")
    read_only(number)
    message = rf"^data\.cache=.*: expected a folder .* cannot be used: {os.strerror(number)}\. .*data\.memory_mb=\d+ to hold"
    with pytest.raises(UserError, match=message):
        load(images, tmp_path / "cache")


@pytest.mark.parametrize("place", ["taken", "taken/below"])
def test_a_file_in_place_of_the_cache_is_named(place: str, images: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=rf"^data\.cache=.*{place}: expected a folder for the decoded images, got one"):
        load(images, tmp_path / place)


@pytest.mark.parametrize("pack", ["folder", "archive"])
def test_a_disk_that_is_full_while_images_are_decoded_is_named(
    pack: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.ImageFile, "_write", fail)
    path = images if pack == "folder" else packed(images, tmp_path)
    with pytest.raises(UserError, match=r"^data\.cache=.*: No space left on device\. Give another folder"):
        load_dataset(path, size=8, on_bad="skip", memory_mb=1, cache=str(tmp_path / "cache"), say=lambda line: None)
