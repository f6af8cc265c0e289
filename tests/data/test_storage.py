"""Images that are decoded once into a file: the same images as in memory, kept, continued after a kill, and verified."""

import errno
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from faults import FAULTS
from PIL import Image

from sharingan_jax.config.load import load_config
from sharingan_jax.data import storage
from sharingan_jax.data.dataset import ImageDataset, MappedDataset
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.sources.files import read_content
from sharingan_jax.data.sources.folder import folder_dataset
from sharingan_jax.data.sources.load import load_dataset, load_dataset_from_config
from sharingan_jax.data.storage import Storage
from sharingan_jax.data.turned import TurnedDataset
from sharingan_jax.errors import UserError

DECODING = Decoding(size=8)
KILLED = """
import os, signal, sys
from pathlib import Path
from sharingan_jax.data import storage
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.sources.folder import folder_dataset
storage.MEGABYTE, storage.BLOCK_FILES, calls, read = 1, 4, [], storage._read_piece
def read_or_die(*arguments):
    calls.append(arguments)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(*arguments)
storage._read_piece = read_or_die
folder_dataset(Path(sys.argv[1]), Decoding(size=8), on_bad="skip", storage=storage.Storage(1, sys.argv[2]))
"""
"""A start that is killed while it reads the third block of four files."""


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with eighteen images, a text and a broken image: five blocks of four files, larger than a megabyte of one byte."""
    monkeypatch.setattr(storage, "MEGABYTE", 1)
    monkeypatch.setattr(storage, "BLOCK_FILES", 4)
    folder, rng = tmp_path / "images", np.random.default_rng(0)
    folder.mkdir()
    for i in range(18):
        Image.fromarray(rng.integers(0, 256, (9, 9, 4), np.uint8)).save(folder / f"{i:02d}.png")
    (folder / "05-notes.txt").write_text("not an image")
    (folder / "07-broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


@pytest.fixture
def blocks_read(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The names of each piece of members that is decoded."""
    read, found = storage._read_piece, []

    def count(how: Callable[[Any], Any], piece: Any) -> Any:
        found.append([member.name for member in piece.members])
        return read(how, piece)

    monkeypatch.setattr(storage, "_read_piece", count)
    return found


def _load(images: Path, cache: Path | None, say: Callable[[str], object] = lambda line: None) -> ImageDataset:
    held = Storage(memory_mb=2**31) if cache is None else Storage(1, str(cache), say)
    return folder_dataset(images, DECODING, on_bad="skip", storage=held)


def _is_same(one: ImageDataset, other: ImageDataset) -> bool:
    described = [
        (each.digest, each.names, each.digests, dict(each.skipped), dict(each.bad), each.remarks, each.kind)
        for each in (one, other)
    ]
    return described[0] == described[1] and np.array_equal(one.preview(20), other.preview(20))


def test_images_in_a_file_are_those_in_memory_and_are_decoded_once(
    images: Path, tmp_path: Path, blocks_read: list[Sequence[str]]
) -> None:
    expected = _load(images, None)
    blocks_read.clear()
    first = _load(images, tmp_path / "cache")
    assert isinstance(first, MappedDataset)
    assert first.count == 18
    assert len(blocks_read) == 5
    again = _load(images, tmp_path / "cache")
    assert len(blocks_read) == 5
    assert _is_same(first, expected)
    assert _is_same(again, expected)
    np.testing.assert_array_equal(again.gather([[3, 0], [7, 7]]), expected.gather([[3, 0], [7, 7]]))


def test_a_start_after_a_kill_decodes_only_the_other_blocks(
    images: Path, tmp_path: Path, blocks_read: list[Sequence[str]]
) -> None:
    command = [sys.executable, "-c", KILLED, str(images), str(tmp_path / "cache")]
    fault = FAULTS["decoding-killed"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 128 - int(fault.code)
    (journal,) = (tmp_path / "cache").glob(f"*/{storage.BLOCKS}")
    with journal.open("a") as lines:
        lines.write('{"block": 2, "sha')  # As if it had been writing.
    lines: list[str] = []
    found = _load(images, tmp_path / "cache", lines.append)
    assert fault.is_shown_in(lines[0])
    assert [names[0] for names in blocks_read] == ["07-broken.png", "10.png", "14.png"]
    assert _is_same(found, _load(images, None))


def test_a_damaged_block_is_decoded_again(images: Path, tmp_path: Path, blocks_read: list[Sequence[str]]) -> None:
    _load(images, tmp_path / "cache")
    (pixels,) = (tmp_path / "cache").glob(f"*/{storage.PIXELS}")
    content = bytearray(pixels.read_bytes())
    content[-1] ^= 1
    pixels.write_bytes(content)
    blocks_read.clear()
    lines: list[str] = []
    found = _load(images, tmp_path / "cache", lines.append)
    assert FAULTS["decoded-damaged"].is_shown_in(lines[0])
    assert [names[0] for names in blocks_read] == ["14.png"]
    assert _is_same(found, _load(images, None))


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
    _load(images, tmp_path / "cache")
    (journal,) = (tmp_path / "cache").glob(f"*/{storage.BLOCKS}")
    *others, last = journal.read_text().splitlines()
    changed = DAMAGES[damage](last)
    assert changed != last
    content = changed if isinstance(changed, bytes) else changed.encode()
    journal.write_bytes("".join(f"{line}\n" for line in others).encode() + content + b"\n")
    blocks_read.clear()
    assert _is_same(_load(images, tmp_path / "cache"), _load(images, None))
    assert [names[0] for names in blocks_read[:1]] == ["14.png"]


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b'{"blocks": 1}', b"[]"])
def test_a_kept_digest_that_was_changed_is_taken_again(content: bytes, images: Path, tmp_path: Path) -> None:
    expected = _load(images, tmp_path / "cache").digest
    (path,) = (tmp_path / "cache").glob(f"*/{storage.DIGEST}")
    whole = path.read_text()
    for changed in (content, whole.replace(expected, "0" * 64).encode()):
        path.write_bytes(changed)
        assert _load(images, tmp_path / "cache").digest == expected
        assert path.read_text() == whole


def test_a_changed_image_is_seen(images: Path, tmp_path: Path) -> None:
    before = _load(images, tmp_path / "cache")
    Image.new("RGB", (9, 9), "red").save(images / "03.png")
    after = _load(images, tmp_path / "cache")
    assert after.digest != before.digest
    assert _is_same(after, _load(images, None))


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_change_that_keeps_the_size_and_the_time_of_writing_is_seen(is_packed: bool, tmp_path: Path) -> None:
    place = tmp_path / "images"
    place.mkdir()

    def write(colour: str) -> Path:
        Image.new("RGB", (9, 9), colour).save(place / "a.bmp")
        os.utime(place / "a.bmp", (1e9, 1e9))
        if is_packed:
            with tarfile.open(tmp_path / "images.tar", "w") as archive:
                archive.add(place / "a.bmp", "a.bmp")
            os.utime(tmp_path / "images.tar", (1e9, 1e9))
        return tmp_path / "images.tar" if is_packed else place

    for colour, expected in (("red", [255, 0, 0]), ("blue", [0, 0, 255])):
        path = write(colour)
        found = load_dataset(path, size=640, memory_mb=1, cache=str(tmp_path / "cache"), say=lambda line: None)
        assert isinstance(found, MappedDataset)
        assert found.gather([0])[0, 0, 0].tolist() == expected


def test_a_disk_without_room_is_refused_with_what_to_do(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda folder: SimpleNamespace(free=9))
    room = r"expected 1 MB of free space for the decoded images, got 0 MB\. .*"
    with pytest.raises(UserError, match=rf"^data\.cache=.*: {room}data\.memory_mb=\d+ to hold"):
        _load(images, tmp_path / "cache")


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
    _load(images, tmp_path / "cache")
    blocks_read.clear()
    (digest,) = (tmp_path / "cache").glob(f"*/{storage.DIGEST}")
    digest.unlink()
    read_only(number)
    assert _is_same(_load(images, tmp_path / "cache"), _load(images, None))
    assert blocks_read[:-5] == []  # The last five are those of the set in memory.
    assert not digest.exists()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
@pytest.mark.parametrize("is_damaged", [True, False])
def test_images_on_a_disk_that_cannot_be_written_are_refused_if_some_are_missing(
    number: int, is_damaged: bool, images: Path, tmp_path: Path, read_only: Callable[[int], None]
) -> None:
    if is_damaged:
        _load(images, tmp_path / "cache")
        (pixels,) = (tmp_path / "cache").glob(f"*/{storage.PIXELS}")
        pixels.write_bytes(pixels.read_bytes()[:-1] + b"?")
    read_only(number)
    message = rf"^data\.cache=.*: expected a folder .* cannot be used: {os.strerror(number)}\. .*data\.memory_mb=\d+ to hold"
    with pytest.raises(UserError, match=message):
        _load(images, tmp_path / "cache")


@pytest.mark.parametrize("pack", ["folder", "archive"])
def test_a_disk_that_is_full_while_images_are_decoded_is_named(
    pack: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.ImageFile, "_write", fail)
    path = images if pack == "folder" else _zip(images, tmp_path)
    with pytest.raises(UserError, match=r"^data\.cache=.*: No space left on device\. Give another folder"):
        load_dataset(path, size=8, on_bad="skip", memory_mb=1, cache=str(tmp_path / "cache"), say=lambda line: None)


def test_files_are_read_in_other_processes_if_they_are_many(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _load(images, None)
    monkeypatch.setattr(storage, "PARALLEL_MEMBERS", 10)
    monkeypatch.setattr(storage, "cores", lambda: 2)
    assert _is_same(_load(images, None), expected)
    assert _is_same(_load(images, tmp_path / "cache"), expected)


def test_decoding_says_how_far_it_is(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SAY_EVERY", 0.0)
    lines: list[str] = []
    _load(images, tmp_path / "cache", lines.append)
    assert lines[0].startswith(f"decoding 20 of 20 images into {tmp_path / 'cache'}")
    assert [line.split(" images")[0] for line in lines[1:]] == [f"decoded {n} of 20" for n in (4, 8, 12, 16)]
    assert all(line.endswith("0:00 left") for line in lines[1:])


def _zip(images: Path, place: Path) -> Path:
    with zipfile.ZipFile(place / "images.zip", "w") as archive:
        archive.writestr("__MACOSX/._00.png", b"")
        for path in sorted(images.iterdir()):
            archive.write(path, path.name)
        archive.writestr("../out.png", b"")
    return place / "images.zip"


def _tar_gz(images: Path, place: Path) -> Path:
    with tarfile.open(place / "images.tar.gz", "w:gz") as archive:
        for path in sorted(images.iterdir()):
            archive.add(path, path.name)
    return place / "images.tar.gz"


def _npz(images: Path, place: Path) -> Path:
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(images.glob("[01][0-9].png"))])
    np.savez(place / "images.npz", images=pixels, labels=np.arange(len(pixels)) % 3)
    return place / "images.npz"


def _parquet(images: Path, place: Path) -> Path:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(images.iterdir())]
    table = pyarrow.table({"image": [*rows, {"bytes": None, "path": "elsewhere.png"}], "label": [i % 3 for i in range(21)]})
    parquet.write_table(table, place / "images.parquet")
    return place / "images.parquet"


@pytest.mark.parametrize(("pack", "processes"), [(_zip, 1), (_zip, 2), (_tar_gz, 1), (_npz, 1), (_parquet, 1)])
def test_archives_arrays_and_tables_are_decoded_once_too(
    pack: Callable[[Path, Path], Path],
    processes: int,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage, "PIECE_BYTES", 500)  # So that a block has several pieces.
    monkeypatch.setattr(storage, "PARALLEL_MEMBERS", 1 if processes == 2 else 1000)
    monkeypatch.setattr(storage, "cores", lambda: processes)
    path, lines = pack(images, tmp_path), list[str]()
    settings: dict[str, Any] = {"size": 8, "on_bad": "skip", "say": lines.append}
    expected = load_dataset(path, **settings, memory_mb=2**31 - 1)
    assert lines == []
    first = load_dataset(path, **settings, memory_mb=1, cache=str(tmp_path / "cache"))
    assert lines.pop().startswith("decoding ")
    again = load_dataset(path, **settings, memory_mb=1, cache=str(tmp_path / "cache"))
    assert lines == []
    assert expected.count == 18
    for found in (first, again):
        assert isinstance(found, MappedDataset)
        assert _is_same(found, expected)
        assert found.originals == expected.originals
        np.testing.assert_array_equal(found.labels, expected.labels)
        assert found.classes == expected.classes


def test_an_archive_that_was_replaced_is_read_again(images: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"size": 8, "on_bad": "skip", "memory_mb": 1, "cache": str(tmp_path / "cache")}
    before = load_dataset(_zip(images, tmp_path), **settings, say=lambda line: None)
    (images / "03.png").unlink()
    after = load_dataset(_zip(images, tmp_path), **settings, say=lambda line: None)
    assert (before.count, after.count) == (18, 17)


def test_a_source_that_changes_while_it_is_read_is_refused(images: Path, tmp_path: Path) -> None:
    members = [storage.Member(path.name, path.read_bytes()) for path in sorted(images.glob("*.png"))]
    for count in (3, len(members) + 1):
        source = storage.Source(lambda: iter(members), partial(read_content, DECODING), count, 0, lambda: "key" * 11)
        found = f"the images have changed while they were read: {count} files, then {len(members)}"
        for held in (Storage(memory_mb=2**31), Storage(1, str(tmp_path / "cache"))):
            with pytest.raises(UserError, match=found):
                held.read(source, image_shape=DECODING.image_shape)


def test_turned_images_that_are_many_are_in_a_file(images: Path, tmp_path: Path, blocks_read: list[Sequence[str]]) -> None:
    def load(memory_mb: int) -> ImageDataset:
        data: dict[str, Any] = {
            "size": 32,
            "source": "folder",
            "path": str(images),
            "on_bad": "skip",
            "turns": 3,
            "mirrors": True,
        }
        data |= {"memory_mb": memory_mb, "cache": str(tmp_path / "cache")}
        config = load_config("smoke", {f"data.{key}": value for key, value in data.items()})
        return load_dataset_from_config(config.data)

    expected, first = load(2**31 - 1), load(1)
    assert isinstance(first, TurnedDataset)
    np.testing.assert_array_equal(first.preview(108), expected.preview(108))
    blocks_read.clear()
    again = load(1)
    assert isinstance(again, TurnedDataset)
    assert isinstance(again._images, np.memmap)
    np.testing.assert_array_equal(again.preview(108), expected.preview(108))
    assert blocks_read == []
