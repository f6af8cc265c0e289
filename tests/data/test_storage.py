"""Images that are decoded once into a file: the same images as in memory, kept, continued after a kill, and verified."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from faults import FAULTS
from PIL import Image

from sharingan_jax.data import storage
from sharingan_jax.data.dataset import ImageDataset, MappedDataset
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.sources import folder as folder_source
from sharingan_jax.data.sources.folder import folder_dataset
from sharingan_jax.data.storage import Storage
from sharingan_jax.errors import UserError

DECODING = Decoding(size=8)
KILLED = """
import os, signal, sys
from pathlib import Path
from sharingan_jax.data import storage
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.sources import folder
storage.MEGABYTE, storage.BLOCK_FILES, calls, read = 1, 4, [], folder._read_block
def read_or_die(*arguments):
    calls.append(arguments)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(*arguments)
folder._read_block = read_or_die
folder.folder_dataset(Path(sys.argv[1]), Decoding(size=8), on_bad="skip", storage=storage.Storage(1, sys.argv[2]))
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
    """The names of each block of files that is decoded."""
    read, found = folder_source._read_block, []

    def count(folder: Path, decoding: Decoding, names: Sequence[str]) -> list[storage.ReadFile]:
        found.append(names)
        return read(folder, decoding, names)

    monkeypatch.setattr(folder_source, "_read_block", count)
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


def test_a_changed_image_is_seen(images: Path, tmp_path: Path) -> None:
    before = _load(images, tmp_path / "cache")
    Image.new("RGB", (9, 9), "red").save(images / "03.png")
    after = _load(images, tmp_path / "cache")
    assert after.digest != before.digest
    assert _is_same(after, _load(images, None))


def test_a_disk_without_room_is_refused_with_what_to_do(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda folder: SimpleNamespace(free=9))
    with pytest.raises(UserError, match=r"^data\.cache=.*: expected 0\.0 GB of free space .*data\.memory_mb=\d+ to hold"):
        _load(images, tmp_path / "cache")


def test_files_are_read_in_other_processes_if_they_are_many(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _load(images, None)
    monkeypatch.setattr(folder_source, "PARALLEL_FILES", 10)
    monkeypatch.setattr(folder_source, "cores", lambda: 2)
    assert _is_same(_load(images, None), expected)
    assert _is_same(_load(images, tmp_path / "cache"), expected)


def test_decoding_says_how_far_it_is(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SAY_EVERY", 0.0)
    lines: list[str] = []
    _load(images, tmp_path / "cache", lines.append)
    assert lines[0].startswith(f"decoding 20 of 20 images into {tmp_path / 'cache'}")
    assert [line.split(" images")[0] for line in lines[1:]] == [f"decoded {n} of 20" for n in (4, 8, 12, 16)]
    assert all(line.endswith("0:00 left") for line in lines[1:])
