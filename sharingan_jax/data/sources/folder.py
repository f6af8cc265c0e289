"""Images from a folder."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import PIL

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.sources.files import SYSTEM, FileReader, ReadFile, is_hidden, read_file, refused, system_folder
from sharingan_jax.data.storage import Storage
from sharingan_jax.data.workers import cores

IN_MEMORY = Storage(memory_mb=2**31 - 1)
KEY_FORMAT = 1
"""Raise it when the same files give other pixels."""

PARALLEL_FILES, PARALLEL_BYTES = 1000, 2**25
"""From so many files, or bytes of files, on all cores read them. Fewer are read before another process would have started."""


class _File(NamedTuple):
    """A file by its relative name, with its size in bytes and the time of its last change, in nanoseconds."""

    name: str
    size: int
    changed: int


def folder_dataset(folder: Path, decoding: Decoding, *, on_bad: str = "stop", storage: Storage = IN_MEMORY) -> ImageDataset:
    """Load the images below a folder, uint8 [N, size, size, channels], in the byte order of their relative names.

    If `storage` does not hold so many in memory, they are decoded once into a file, which later starts read if no file's name,
    size or time of change differs.
    Content decides what an image is, and a broken file counts as one only under an image's ending. Hidden files and folders are
    ignored. The folders of a system, pipes, devices and links to nothing are skipped without being opened.
    Raise UserError if the folder has no images, or with every image that cannot be read, unless `on_bad` is "skip".
    """
    reader = FileReader(decoding)
    files = list(_regular_files(folder, reader))
    names, shape = [file.name for file in files], (decoding.size, decoding.size, decoding.channels)
    read = partial(_read_block, folder, decoding)
    many = len(files) >= PARALLEL_FILES or sum(file.size for file in files) >= PARALLEL_BYTES
    processes = cores() if many else 1
    if storage.fits(len(files), image_shape=shape):
        for name, found in zip(names, storage.read(names, read, image_shape=shape, processes=processes), strict=True):
            reader.add(name, found)
        return reader.dataset(str(folder), kind="a folder", on_bad=on_bad)
    images = storage.open(_key(folder, files, decoding), count=len(files), image_shape=shape)
    for name, found in zip(names, images.fill(names, read, processes=processes), strict=True):
        reader.add(name, found)
    return images.with_digest(reader.mapped_dataset(str(folder), kind="a folder", on_bad=on_bad, mapped=images.pixels))


def _regular_files(folder: Path, reader: FileReader) -> Iterator[_File]:
    """Yield the files that are to be read, in the byte order of their names, and let `reader` record why others are not."""
    for name in sorted(relative_names(folder, reader), key=os.fsencode):
        try:
            status = (folder / name).stat()
        except OSError:
            reader.skip(name, "a link that leads nowhere")
            continue
        if not stat.S_ISREG(status.st_mode):
            reader.skip(name, "not a regular file")  # Opening a pipe would wait for its other end.
            continue
        yield _File(name, status.st_size, status.st_mtime_ns)


def _read_block(folder: Path, decoding: Decoding, names: Sequence[str]) -> list[ReadFile]:
    """Read files of a folder as images."""
    found = []
    for name in names:
        try:
            with (folder / name).open("rb") as file:
                found.append(read_file(name, file, size=os.fstat(file.fileno()).st_size, decoding=decoding))
        except OSError as error:
            found.append(refused(name, error.strerror or type(error).__name__))
    return found


def _key(folder: Path, files: Sequence[_File], decoding: Decoding) -> str:
    """Return the SHA-256 over what decoded pixels depend on: the folder's files, how they are decoded, and by what."""
    installed = [PIL.__version__, find_spec("pillow_heif") is not None]
    total = hashlib.sha256(json.dumps([KEY_FORMAT, str(folder.absolute()), installed, asdict(decoding)]).encode())
    for file in files:
        total.update(b"%s\0%d %d\n" % (os.fsencode(file.name), file.size, file.changed))
    return total.hexdigest()


def relative_names(folder: Path, reader: FileReader) -> Iterator[str]:
    """Yield the names of all files that are not hidden, and let `reader` record the folders that are skipped."""

    def fail(error: OSError) -> None:
        raise error  # By default os.walk ignores an unreadable folder, and its images would be missing without a word.

    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        if os.path.realpath(parent) in seen:  # A link back to a folder above it, or a second link to the same folder.
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        relative = Path(parent).relative_to(folder)
        for name in folders:
            if system := system_folder((relative / name / "any").as_posix()):
                reader.skip(system, SYSTEM)
        folders[:] = sorted(name for name in folders if not is_hidden(name) and not system_folder(f"{name}/any"))
        yield from ((relative / name).as_posix() for name in files if not is_hidden(name))
