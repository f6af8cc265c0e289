"""Images from a .zip or .tar archive, read in place: nothing is unpacked, and a few files at a time are in memory."""

import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Self

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.formats import PREFIX, has_image_ending, largest_file, may_be_image
from sharingan_jax.data.sources.files import SYSTEM, FileReader, Member, is_hidden, read_content, readable, refused, system_folder
from sharingan_jax.data.storage import IN_MEMORY, Source, Storage, file_state, key_of
from sharingan_jax.errors import UserError, reason_of

ZIP_MARK = b"PK\x03\x04"
"""The first bytes of a .zip that has members."""
UNUSUAL = re.compile(r"^$|^/|/$|//|[\\:]|(^|/)\.\.?(/|$)")
"""In names that may lead out of the archive, or that a path writes in another way."""
ENCRYPTED = 1
"""The bit of a .zip member's flags that says so."""
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, OSError, NotImplementedError, RuntimeError)
"""What reading a damaged archive, or one in a form that Python cannot read, raises."""


def is_archive(path: Path) -> bool:
    """Return whether a file is a .zip or .tar archive, or the beginning of a .zip that was cut off."""
    return _is_zip(path) or tarfile.is_tarfile(path)


def _is_zip(path: Path) -> bool:
    """Return whether a file is a .zip by its end, where its directory is, or by its beginning."""
    with path.open("rb") as file:
        return file.read(len(ZIP_MARK)) == ZIP_MARK or zipfile.is_zipfile(path)


def archive_dataset(path: Path, decoding: Decoding, *, on_bad: str = "stop", storage: Storage = IN_MEMORY) -> ImageDataset:
    """Load the images in a .zip or .tar (also compressed: .tar.gz, .tar.bz2, .tar.xz), uint8 [N, size, size, channels].

    Names, order and digest are those of the folder that unpacking would give, without its links. Content decides what an image
    is. Links are skipped, and so are the hard links with which a .tar stores a file's second name. Members whose names lead out
    of the archive are skipped, too. Of several members with one name, the first counts. A member that its name and first bytes
    show to be no image is not read further. More than `storage` holds in memory are decoded once into a file, which later starts
    read if the archive has not changed.
    Raise UserError if the archive is damaged or has no images, or with every image that cannot be read (encrypted ones
    included), unless `on_bad` is "skip".
    """
    kind = ".zip" if _is_zip(path) else ".tar"
    members = partial(_zip_members if kind == ".zip" else _tar_members, path, most=largest_file(decoding.max_pixels) + 1)
    try:
        source = Source(
            members=members,
            read=partial(read_content, decoding),
            count=sum(1 for _ in members(with_contents=False)),
            size=path.stat().st_size,
            key=lambda: key_of(str(path.absolute()), decoding, [file_state(path)]),
        )
        reading = storage.read(source, image_shape=decoding.image_shape)
    except DAMAGED as error:
        raise UserError(
            f"data.path={path}: expected a {kind} archive, got a damaged one: {reason_of(error)}. Pack or download it again."
        ) from None
    reader = FileReader(decoding)
    for found in reading.found:
        reader.add(found)
    return reading.with_digest(reader.dataset(str(path), kind=f"a {kind} archive", on_bad=on_bad, mapped=reading.mapped))


def _zip_members(path: Path, *, most: int, with_contents: bool = True) -> Iterator[Member]:
    """Yield what is in a .zip, with up to `most` bytes of each file that may be an image."""
    systems: set[str] = set()
    if not zipfile.is_zipfile(path):
        raise EOFError("it is cut off")
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = entry.filename.replace("\\", "/")  # Some programs for Windows write backslashes, against the format.
            member = _listed(name, systems)
            if member is None or (name.endswith("/") and not member.reason):
                continue
            if member.reason:
                yield member
            elif stat.S_ISLNK(entry.external_attr >> 16):  # The mode of a file that was packed on Unix.
                yield member._replace(reason="a link")
            elif entry.flag_bits & ENCRYPTED:
                yield refused(member.name, "encrypted")
            elif not with_contents:
                yield member
            else:
                try:
                    with archive.open(entry) as file:
                        content = _content(file, member.name, most)
                except DAMAGED as error:  # The others can still be read.
                    yield refused(member.name, reason_of(error))
                else:
                    yield member._replace(content=content)


class _Member(tarfile.TarInfo):
    """A member of a .tar. tarfile takes an archive that was cut off between two members for a whole one; this does not."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) < tarfile.BLOCKSIZE:  # A whole archive ends with blocks of zeros.
            raise EOFError("it is cut off")
        return super().frombuf(buf, encoding, errors)


def _tar_members(path: Path, *, most: int, with_contents: bool = True) -> Iterator[Member]:
    """Yield what is in a .tar, with up to `most` bytes of each file that may be an image."""
    systems: set[str] = set()
    # As a stream: going back in a compressed archive means to read it again.
    with tarfile.open(path, "r|*", tarinfo=_Member) as archive:
        for entry in archive:
            member = _listed(entry.name, systems)
            if member is None or (entry.isdir() and not member.reason):
                continue
            file = archive.extractfile(entry) if entry.isreg() and not member.reason else None
            if member.reason:
                yield member
            elif file is None:
                yield member._replace(reason="a link" if entry.issym() or entry.islnk() else "not a regular file")
            else:
                yield member._replace(content=_content(file, member.name, most)) if with_contents else member


def _listed(name: str, systems: set[str]) -> Member | None:
    """Return a member by its relative name, perhaps with the reason why it is skipped; None if it is ignored without a word.

    `systems` are the folders of systems that have been returned: each is once.
    """
    if UNUSUAL.search(name):  # Path objects take longer, and most names need none.
        path = PurePosixPath(name)
        if ".." in path.parts or path.is_absolute() or PureWindowsPath(name).is_absolute():
            return Member(name, reason="its name leads out of the archive")
        name = path.as_posix()  # Without the "./" that `tar -C folder .` puts there.
    if system := system_folder(name):
        if system in systems:
            return None
        systems.add(system)
        return Member(system, reason=SYSTEM)
    return None if is_hidden(name) or name == "." else Member(name)


def _content(file: IO[bytes], name: str, most: int) -> bytes:
    """Return up to `most` bytes of a file, or just the first few if they show that it is no image: that is then the result."""
    if has_image_ending(readable(name)):  # It may be one, however it begins.
        return _bytes(file, most)
    first = _bytes(file, PREFIX)
    return first + _bytes(file, most - len(first)) if may_be_image(readable(name), first) else first


def _bytes(file: IO[bytes], most: int) -> bytes:
    """Return the next `most` bytes of a file, or all if it has fewer: what a header claims does not count."""
    blocks = []
    while most > 0 and (block := file.read(min(most, 2**20))):
        blocks.append(block)
        most -= len(block)
    return b"".join(blocks)
