"""A small folder of images that are decoded into a file, for the tests of data/storage.py."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharingan_jax.data import storage
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.sources.folder import folder_dataset
from sharingan_jax.data.storage import Storage

DECODING = Decoding(size=8)


def use_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a megabyte have one byte, and a block four files."""
    monkeypatch.setattr(storage, "MEGABYTE", 1)
    monkeypatch.setattr(storage, "BLOCK_FILES", 4)


def make_images(folder: Path) -> Path:
    """Make a folder with eighteen images, a text and a broken image: five blocks of four files."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(18):
        Image.fromarray(rng.integers(0, 256, (9, 9, 4), np.uint8)).save(folder / f"{i:02d}.png")
    (folder / "05-notes.txt").write_text("not an image")
    (folder / "07-broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def count_pieces(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Return a list that gets the names of each piece of members that is decoded."""
    read, found = storage._read_piece, []

    def count(how: Callable[[Any], Any], piece: Any) -> Any:
        found.append([member.name for member in piece.members])
        return read(how, piece)

    monkeypatch.setattr(storage, "_read_piece", count)
    return found


def load(images: Path, cache: Path | None, say: Callable[[str], object] = lambda line: None) -> ImageDataset:
    held = Storage(memory_mb=2**31) if cache is None else Storage(1, str(cache), say)
    return folder_dataset(images, DECODING, on_bad="skip", storage=held)


def is_same(one: ImageDataset, other: ImageDataset) -> bool:
    described = [
        (each.digest, each.names, each.digests, dict(each.skipped), dict(each.bad), each.remarks, each.kind)
        for each in (one, other)
    ]
    return described[0] == described[1] and np.array_equal(one.preview(20), other.preview(20))


def packed(images: Path, place: Path) -> Path:
    with zipfile.ZipFile(place / "images.zip", "w") as archive:
        archive.writestr("__MACOSX/._00.png", b"")
        for path in sorted(images.iterdir()):
            archive.write(path, path.name)
        archive.writestr("../out.png", b"")
    return place / "images.zip"
