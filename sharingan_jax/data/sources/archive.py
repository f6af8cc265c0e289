"""Images from a .zip or .tar archive, read in place: nothing is unpacked, and one file at a time is in memory."""

import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Self

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.formats import largest_file
from sharingan_jax.data.sources.files import SYSTEM, FileReader, is_hidden, system_folder
from sharingan_jax.errors import UserError, reason_of

ENCRYPTED = 1
"""The bit of a .zip member's flags that says so."""
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, OSError, NotImplementedError, RuntimeError)
"""What reading a damaged archive, or one in a form that Python cannot read, raises."""


def archive_dataset(path: Path, decoding: Decoding, *, on_bad: str = "stop") -> ImageDataset:
    """Load the images in a .zip or .tar (also compressed: .tar.gz, .tar.bz2, .tar.xz), uint8 [N, size, size, channels].

    Names, order and digest are those of the folder that unpacking would give. Content decides what an image is. Links and
    members whose names lead out of the archive are skipped; of several members with one name, the first counts.
    Raise UserError if the archive is damaged or has no images, or with every image that cannot be read (encrypted ones
    included), unless `on_bad` is "skip".
    """
    reader, is_zip = FileReader(decoding), zipfile.is_zipfile(path)
    try:
        (_read_zip if is_zip else _read_tar)(path, reader)
    except DAMAGED as error:
        kind = ".zip" if is_zip else ".tar"
        raise UserError(
            f"data.path={path}: expected a {kind} archive, got a damaged one: {reason_of(error)}. Pack or download it again."
        ) from None
    return reader.dataset(str(path), kind="a .zip archive" if is_zip else "a .tar archive", on_bad=on_bad)


def _read_zip(path: Path, reader: FileReader) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = _wanted(member.filename, reader)
            if member.is_dir() or name is None:
                continue
            if stat.S_ISLNK(member.external_attr >> 16):  # The mode of a file that was packed on Unix.
                reader.skip(name, "a link")
                continue
            if member.flag_bits & ENCRYPTED:
                reader.refuse(name, "encrypted")
                continue
            try:
                with archive.open(member) as file:
                    _read_member(name, file, reader)
            except DAMAGED as error:  # The others can still be read.
                reader.refuse(name, reason_of(error))


class _Member(tarfile.TarInfo):
    """A member of a .tar. tarfile takes an archive that was cut off between two members for a whole one; this does not."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) < tarfile.BLOCKSIZE:  # A whole archive ends with blocks of zeros.
            raise EOFError("it is cut off")
        return super().frombuf(buf, encoding, errors)


def _read_tar(path: Path, reader: FileReader) -> None:
    with tarfile.open(
        path, "r|*", tarinfo=_Member
    ) as archive:  # As a stream: going back in a compressed archive means to read it again.
        for member in archive:
            name = _wanted(member.name, reader)
            if member.isdir() or name is None:
                continue
            file = archive.extractfile(member) if member.isreg() else None
            if file is None:
                reader.skip(name, "a link" if member.issym() or member.islnk() else "not a regular file")
                continue
            _read_member(name, file, reader)


def _wanted(name: str, reader: FileReader) -> str | None:
    """Return a member's relative name, or None if it is not to be read; `reader` then has the reason, if there is one."""
    if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive:
        reader.skip(name, "its name leads out of the archive")
        return None
    name = PurePosixPath(name).as_posix()  # Without the "./" that `tar -C folder .` puts there.
    if system := system_folder(name):
        reader.skip(system, SYSTEM)
        return None
    return None if is_hidden(name) or name == "." else name


def _read_member(name: str, file: IO[bytes], reader: FileReader) -> None:
    """Read a member into memory, up to the largest size of an image: what a header claims does not count."""
    most = largest_file(reader.decoding.max_pixels)
    content = b"".join(_blocks(file, most + 1))
    reader.read(name, io.BytesIO(content), size=len(content))


def _blocks(file: IO[bytes], most: int) -> Iterator[bytes]:
    """Yield the next `most` bytes of a file, or as many as there are, a megabyte at a time."""
    while most > 0 and (block := file.read(min(most, 2**20))):
        yield block
        most -= len(block)
