"""Images from a folder."""

import io
import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.formats import has_image_ending
from sharingan_jax.data.sources.files import SYSTEM, FileReader, Member, ReadFile, is_hidden, read_file, readable, system_folder
from sharingan_jax.data.storage import IN_MEMORY, Source, Storage, key_of, state_of
from sharingan_jax.errors import UserError

WHOLE_BYTES = 2**24
"""Files of at most so many bytes are read once, for decoding and for their SHA-256; of larger ones parts are in memory."""


class _File(NamedTuple):
    """A file by its relative name, with its size in bytes, and with what shows that it was changed (`state_of`)."""

    name: str
    size: int
    state: bytes


def folder_dataset(folder: Path, decoding: Decoding, *, on_bad: str = "stop", storage: Storage = IN_MEMORY) -> ImageDataset:
    """Load the images below a folder, uint8 [N, size, size, channels], in the byte order of their relative names.

    If `storage` does not hold so many in memory, they are decoded once into a file, which later starts read if no file's name,
    size or time of change differs.
    Content decides what an image is, and a broken file counts as one only under an image's ending. Hidden files and folders are
    ignored. The folders of a system, pipes, devices and links to nothing are skipped without being opened.
    Raise UserError if the folder cannot be read or has no images, or with every image and every folder in it that cannot be read,
    unless `on_bad` is "skip".
    """
    reader = FileReader(decoding)
    files = list(_regular_files(folder, reader))
    source = Source(
        members=lambda: (Member(file.name) for file in files),
        read=partial(_read_member, folder, decoding),
        count=len(files),
        size=sum(file.size for file in files),
        key=lambda: key_of(str(folder.absolute()), decoding, (file.state for file in files)),
    )
    reading = storage.read(source, image_shape=decoding.image_shape)
    for found in reading.found:
        reader.add(found)
    return reading.with_digest(reader.dataset(str(folder), kind="a folder", on_bad=on_bad, mapped=reading.mapped))


def _regular_files(folder: Path, reader: FileReader) -> Iterator[_File]:
    """Yield the files that are to be read, in the byte order of their names, and let `reader` record why others are not."""
    for name in sorted(relative_names(folder, reader), key=os.fsencode):
        try:
            status = os.stat(os.path.join(folder, name))  # Path objects would take longer than this.
        except PermissionError as error:
            reader.add(_unreadable(name, error))
            continue
        except OSError:
            reader.skip(name, "a link that leads nowhere")
            continue
        if not stat.S_ISREG(status.st_mode):
            reader.skip(name, "not a regular file")  # Opening a pipe would wait for its other end.
            continue
        yield _File(name, status.st_size, state_of(name, status))


def _read_member(folder: Path, decoding: Decoding, member: Member) -> ReadFile:
    """Read a file of a folder as an image."""
    name = member.name
    try:
        # A path object, and a buffer for a file that is read at once, would take a twentieth of the time.
        with open(os.path.join(folder, name), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            whole = io.BytesIO(file.read()) if size <= WHOLE_BYTES else io.BufferedReader(file)
            return read_file(name, whole, size=size, decoding=decoding)
    except OSError as error:
        return _unreadable(name, error)


def _unreadable(name: str, error: OSError) -> ReadFile:
    """Return a file that the system does not give: it is bad if it is called an image."""
    return ReadFile(name, reason=error.strerror or type(error).__name__, is_bad=has_image_ending(readable(name)))


def relative_names(folder: Path, reader: FileReader) -> Iterator[str]:
    """Yield the names of all files that are not hidden, and let `reader` record the folders that are skipped or unreadable.

    Raise UserError if `folder` itself cannot be read.
    """

    def record(error: OSError) -> None:
        reason, name = error.strerror or type(error).__name__, os.path.relpath(error.filename, folder)
        if name == ".":
            raise UserError(f"data.path={folder}: expected a folder that can be read, got one that cannot: {reason}.") from None
        reader.add(ReadFile(f"{name}/", reason=reason, is_bad=True))  # Its images would be missing without a word.

    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=record, followlinks=True):
        if os.path.realpath(parent) in seen:  # A link back to a folder above it, or a second link to the same folder.
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        relative = Path(parent).relative_to(folder)
        for name in folders:
            if system := system_folder((relative / name / "any").as_posix()):
                reader.skip(system, SYSTEM)
        folders[:] = sorted(name for name in folders if not is_hidden(name) and not system_folder(f"{name}/any"))
        above = "" if relative == Path() else f"{relative.as_posix()}/"
        yield from (above + name for name in files if not is_hidden(name))
