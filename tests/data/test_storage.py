"""Images that are decoded once into a file: the same images as in memory, kept, continued after a kill, and verified."""

import os
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from faults import FAULTS
from kept_images import DECODING, count_pieces, is_same, load, make_images, packed, use_small_blocks
from odd_files import encoded
from PIL import Image

from sharingan_jax.config.load import load_config
from sharingan_jax.data import storage
from sharingan_jax.data.dataset import ImageDataset, MappedDataset
from sharingan_jax.data.sources.files import read_content
from sharingan_jax.data.sources.load import load_dataset, load_dataset_from_config
from sharingan_jax.data.storage import Storage
from sharingan_jax.data.turned import TurnedDataset
from sharingan_jax.errors import UserError

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
    """The folder of `make_images`, of which a block has four files."""
    use_small_blocks(monkeypatch)
    return make_images(tmp_path / "images")


@pytest.fixture
def blocks_read(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The names of each piece of members that is decoded."""
    return count_pieces(monkeypatch)


def test_images_in_a_file_are_those_in_memory_and_are_decoded_once(
    images: Path, tmp_path: Path, blocks_read: list[Sequence[str]]
) -> None:
    expected = load(images, None)
    blocks_read.clear()
    first = load(images, tmp_path / "cache")
    assert isinstance(first, MappedDataset)
    assert first.count == 18
    assert len(blocks_read) == 5
    again = load(images, tmp_path / "cache")
    assert len(blocks_read) == 5
    assert is_same(first, expected)
    assert is_same(again, expected)
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
    found = load(images, tmp_path / "cache", lines.append)
    assert fault.is_shown_in(lines[0])
    assert [names[0] for names in blocks_read] == ["07-broken.png", "10.png", "14.png"]
    assert is_same(found, load(images, None))


def test_a_changed_image_is_seen(images: Path, tmp_path: Path) -> None:
    before = load(images, tmp_path / "cache")
    Image.new("RGB", (9, 9), "red").save(images / "03.png")
    after = load(images, tmp_path / "cache")
    assert after.digest != before.digest
    assert is_same(after, load(images, None))


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


def test_files_are_read_in_other_processes_if_they_are_many(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load(images, None)
    monkeypatch.setattr(storage, "PARALLEL_MEMBERS", 10)
    monkeypatch.setattr(storage, "cores", lambda: 2)
    assert is_same(load(images, None), expected)
    assert is_same(load(images, tmp_path / "cache"), expected)


def test_decoding_says_how_far_it_is(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SAY_EVERY", 0.0)
    lines: list[str] = []
    load(images, tmp_path / "cache", lines.append)
    assert lines[0].startswith(f"decoding 20 of 20 images into {tmp_path / 'cache'}")
    assert [line.split(" images")[0] for line in lines[1:]] == [f"decoded {n} of 20" for n in (4, 8, 12, 16)]
    assert all(line.endswith("0:00 left") for line in lines[1:])


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


@pytest.mark.parametrize(("pack", "processes"), [(packed, 1), (packed, 2), (_tar_gz, 1), (_npz, 1), (_parquet, 1)])
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
        assert is_same(found, expected)
        assert found.originals == expected.originals
        np.testing.assert_array_equal(found.labels, expected.labels)
        assert found.classes == expected.classes


def test_images_in_memory_are_there_once_whatever_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PIECE_BYTES", 2**20)
    rng, side = np.random.default_rng(0), 256
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for i in rng.permutation(64).tolist():
            archive.writestr(f"{i:02d}.bmp", encoded(Image.new("RGB", (side, side), (i, 2 * i, 3 * i)), "BMP"))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        found = load_dataset(tmp_path / "images.zip", size=side)
        most = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert found.names == tuple(f"{i:02d}.bmp" for i in range(64))
    assert [image[0, 0].tolist() for image in found.preview(64)] == [[i, 2 * i, 3 * i] for i in range(64)]
    assert most < 1.5 * 64 * side * side * 3  # The array, and a piece of the archive as bytes and as pixels.


def test_an_archive_that_was_replaced_is_read_again(images: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"size": 8, "on_bad": "skip", "memory_mb": 1, "cache": str(tmp_path / "cache")}
    before = load_dataset(packed(images, tmp_path), **settings, say=lambda line: None)
    (images / "03.png").unlink()
    after = load_dataset(packed(images, tmp_path), **settings, say=lambda line: None)
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
    def load_turned(memory_mb: int) -> ImageDataset:
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

    expected, first = load_turned(2**31 - 1), load_turned(1)
    assert isinstance(first, TurnedDataset)
    np.testing.assert_array_equal(first.preview(108), expected.preview(108))
    blocks_read.clear()
    again = load_turned(1)
    assert isinstance(again, TurnedDataset)
    assert isinstance(again._images, np.memmap)
    np.testing.assert_array_equal(again.preview(108), expected.preview(108))
    assert blocks_read == []
