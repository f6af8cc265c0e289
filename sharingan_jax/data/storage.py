"""Where decoded images are held: in memory, or if they are too many, in a file that is mapped into memory."""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import PIL

from sharingan_jax.data.dataset import ImageDataset, MappedDataset, Original
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.formats import without_warnings
from sharingan_jax.data.sources.files import Member, ReadFile, held
from sharingan_jax.data.workers import cores, map_in_processes
from sharingan_jax.errors import UserError, reason_of
from sharingan_jax.files import cache_folder, sealed, unsealed, write_json, write_text

MEGABYTE = 2**20
KEY_FORMAT = 3
"""Raise it when the same files give other pixels, or another journal."""
BLOCK_BYTES, BLOCK_FILES = 4 * MEGABYTE, 256
"""Pixels are written in blocks of at most so many bytes, and of so many members."""
PIECE_BYTES = 8 * MEGABYTE
"""Members with contents are given to another process in pieces of about so many bytes."""
PARALLEL_MEMBERS, PARALLEL_BYTES = 1000, 2**25
"""From so many members, or bytes of them, on all cores read them. Fewer are read before another process would have started."""
SAY_EVERY = 10.0
"""Seconds between two lines that say how far decoding is."""
PIXELS, BLOCKS, DIGEST, LOCK = "pixels.u8", "blocks.jsonl", "digest.json", ".lock"
"""The files of a folder of decoded images: the pixels [M, H, W, C], what was read in each block, and the digest of all."""
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
"""What opening a file to write it raises on a disk, or in a folder, that may only be read."""


@dataclass(frozen=True)
class Source:
    """A place with images: `members` opens it and yields its `count` members, always the same ones in the same order.

    `read` decodes one of them, perhaps in another process. `key` names what the pixels depend on, `size` is in bytes.
    """

    members: Callable[[], Iterable[Member]]
    read: Callable[[Member], ReadFile]
    count: int
    size: int
    key: Callable[[], str]


class Reading(NamedTuple):
    """What was read of a source, a ReadFile for each member. Their pixels are at their places in `pixels`, or in `file`."""

    found: list[ReadFile]
    pixels: np.ndarray | None = None
    file: "ImageFile | None" = None

    @property
    def mapped(self) -> np.ndarray:
        """The pixels, uint8 [M, H, W, C], mapped into memory if they are in a file."""
        if self.file:
            return self.file.pixels
        assert self.pixels is not None
        return self.pixels

    def dataset(self, **described: Any) -> ImageDataset:
        """Return the data set of these images, if every member is one. `described` are the other fields of `ImageDataset`."""
        names, digests = tuple(image.name for image in self.found), tuple(image.digest for image in self.found)
        originals = tuple(image.original for image in self.found)
        dataset = held(self.found, self.mapped, names=names, digests=digests, originals=originals, **described)
        return self.with_digest(dataset)

    def with_digest(self, dataset: ImageDataset) -> ImageDataset:
        """Return the data set of these images; from a file with its digest, which is taken once and then kept there."""
        return self.file.with_digest(dataset) if self.file and isinstance(dataset, MappedDataset) else dataset


@dataclass(frozen=True)
class Storage:
    """Decoded images of at most `memory_mb` are held in memory, others in a file in the folder `cache` ("": the user's).

    `say` gets lines that say how far decoding is.
    """

    memory_mb: int = 1024
    cache: str = ""
    say: Callable[[str], object] = lambda line: None

    def fits(self, count: int, *, image_shape: Sequence[int]) -> bool:
        """Return whether so many images are held in memory."""
        return count * math.prod(image_shape) <= self.memory_mb * MEGABYTE

    def read(self, source: Source, *, image_shape: Sequence[int]) -> Reading:
        """Read all members of a source, on all cores if they are many.

        If so many images do not fit into memory, they are decoded once into a file, which later starts read. Raise UserError if
        the source yields another number of members than it has said, or if the disk has too little room.
        """
        processes = cores() if source.count >= PARALLEL_MEMBERS or source.size >= PARALLEL_BYTES else 1
        if not self.fits(source.count, image_shape=image_shape):
            folder = Path(self.cache) if self.cache else cache_folder() / "sharingan_jax" / "images"
            file = ImageFile(folder / source.key()[:32], count=source.count, image_shape=image_shape, say=self.say)
            return Reading(file.fill(source, processes=processes), file=file)
        progress, found, place = _Progress(source.count, self.say), list[ReadFile](), 0
        pixels = np.empty((source.count, *image_shape), np.uint8)  # What is not written yet takes no memory on most systems.
        pieces = _pieces(source, block=block_size(image_shape))
        for read in map_in_processes(partial(_read_piece, source.read), pieces, processes=processes):
            if len(read.images):
                pixels[place : place + len(read.images)] = read.images
            for one in read.found:
                found.append(one if one.reason else one._replace(place=place))
                place += not one.reason
            progress.add(len(read.found))
        return Reading(found, pixels[:place])


IN_MEMORY = Storage(memory_mb=2**31 - 1)


def key_of(place: str, decoding: Decoding, parts: Iterable[bytes]) -> str:
    """Return the SHA-256 over what decoded pixels depend on: a place, what lies there, how it is decoded, and by what."""
    installed = [PIL.__version__, find_spec("pillow_heif") is not None]
    total = hashlib.sha256(json.dumps([KEY_FORMAT, place, installed, asdict(decoding)]).encode())
    for part in parts:
        total.update(b"%d " % len(part))
        total.update(part)
    return total.hexdigest()


def file_state(path: Path) -> bytes:
    """Return what shows that a file was changed, as a part of a key: see `state_of`."""
    return state_of(path.name, path.stat())


def state_of(name: str, status: os.stat_result) -> bytes:
    """Return a file's name, its size, and when its content and its entry on the disk changed, as a part of a key.

    The second time shows a change by a program that puts the first one back, as tools that copy or synchronise files do.
    """
    return b"%s\0%d %d %d" % (os.fsencode(name), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def block_size(image_shape: Sequence[int]) -> int:
    """Return how many members a block has."""
    return max(1, min(BLOCK_FILES, BLOCK_BYTES // math.prod(image_shape)))


class _Piece(NamedTuple):
    """Some members in a row of a block. `ends` says that they are its last ones."""

    block: int
    ends: bool
    members: list[Member]


def _pieces(source: Source, *, block: int, unwanted: Collection[int] = ()) -> Iterator[_Piece]:
    """Yield a source's members in pieces that bound the memory, without those of the blocks that are unwanted."""
    members: list[Member] = []
    size = place = 0
    for place, member in enumerate(source.members(), 1):
        number, is_last = (place - 1) // block, place % block == 0 or place == source.count
        if number not in unwanted and place <= source.count:
            members.append(member)
            size += member.size
            if is_last or size >= PIECE_BYTES:
                yield _Piece(number, is_last, members)
                members, size = [], 0
    if place != source.count:
        raise UserError(f"the images have changed while they were read: {source.count:,} files, then {place:,}. Start again.")


class _ReadPiece(NamedTuple):
    """A piece that was read. The pixels of its images are in one array [I, H, W, C], which is sent faster than many."""

    block: int
    ends: bool
    found: list[ReadFile]
    images: np.ndarray


def _read_piece(read: Callable[[Member], ReadFile], piece: _Piece) -> _ReadPiece:
    """Decode the members of a piece."""
    found, images, count = list[ReadFile](), np.empty(0, np.uint8), 0
    with without_warnings():
        for member in piece.members:
            refused = ReadFile(member.name, reason=member.reason, is_bad=member.is_bad)
            entry = refused if member.reason else read(member)
            if entry.pixels is not None:
                if not count:  # One array from the first image on: to keep each and join them later takes a tenth of the time.
                    images = np.empty((len(piece.members), *entry.pixels.shape), np.uint8)
                images[count] = entry.pixels
                count += 1
            found.append(entry._replace(label=member.label, pixels=None))
    return _ReadPiece(piece.block, piece.ends, found, images[:count])


class ImageFile:
    """A set's decoded images in a folder: a file of `count` images uint8 [count, H, W, C], and a journal of blocks.

    The file of place i of the set has its pixels at place i, or zeros if it is no image. A line of the journal has the SHA-256 of
    a block's pixels, what was read besides them, and the SHA-256 of this line. It is written after the pixels. So a start that is
    killed loses one block for each core, and a block is decoded again if its pixels or its line are damaged.
    """

    def __init__(self, folder: Path, *, count: int, image_shape: Sequence[int], say: Callable[[str], object]) -> None:
        self.folder, self._say = folder, say
        self._shape = (count, *image_shape)
        self._block = block_size(image_shape)

    @property
    def pixels(self) -> np.ndarray:
        """The pixels, uint8 [count, H, W, C], mapped into memory and read-only."""
        return np.memmap(self.folder / PIXELS, np.uint8, "r", shape=self._shape)

    def fill(self, source: Source, *, processes: int) -> list[ReadFile]:
        """Verify all blocks, decode those that are missing or damaged, and return what was read of each member.

        Raise UserError if the disk has too little room or cannot be written, or if the source has another number of members.
        """
        count = math.ceil(source.count / self._block)
        with self._errors_named():
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._held() as refusal:
            with self._errors_named():
                journal = self._verified(count)
                if len(journal) < count and refusal:
                    raise refusal
            if len(journal) < count:
                self._check_room(count - len(journal))
                with self._errors_named():
                    write_text(self.folder / BLOCKS, "".join(f"{json.dumps(sealed(line))}\n" for line in journal.values()))
                self._decode(source, journal, processes=processes)
        return [found for number in range(count) for found in self._entries(number, journal[number])]

    def with_digest(self, dataset: MappedDataset) -> MappedDataset:
        """Return the data set of these images with its digest, which is taken once and then kept."""
        path, blocks = self.folder / DIGEST, hashlib.sha256((self.folder / BLOCKS).read_bytes()).hexdigest()
        kept = unsealed(path.read_bytes()) if path.is_file() else None
        if kept and kept["blocks"] == blocks:
            return dataset.with_digest(str(kept["digest"]))
        with contextlib.suppress(OSError):  # On a disk that is read-only it is taken at each start.
            write_json(path, sealed({"blocks": blocks, "digest": dataset.digest}))
        return dataset

    @contextlib.contextmanager
    def _held(self) -> Iterator[OSError | None]:
        """Hold the folder, or wait for the start that does, on systems that have `flock`.

        Yield the reason if nobody can write there: whole images can still be read.
        """
        with contextlib.ExitStack() as opened:
            try:
                with self._errors_named(allowed=READ_ONLY):
                    file = opened.enter_context((self.folder / LOCK).open("ab"))
            except OSError as error:
                yield error
                return
            with contextlib.suppress(ImportError):
                import fcntl

                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._say(f"waiting for another start, which decodes these images into {self.folder}")
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield None

    @contextlib.contextmanager
    def _errors_named(self, *, allowed: Collection[int] = ()) -> Iterator[None]:
        """Raise UserError in place of an OSError of this folder's files, but for those with an `allowed` number."""
        try:
            yield
        except OSError as error:
            if error.errno in allowed:
                raise
            raise UserError(
                f"data.cache={self.folder.parent}: expected a folder for the decoded images, got one that cannot be used:"
                f" {error.strerror or reason_of(error)}. Give another folder, or {self._in_memory_instead()}."
            ) from None

    def _verified(self, count: int) -> dict[int, Mapping[str, Any]]:
        """Return the journal's lines whose pixels are as they were written, by the number of the block."""
        lines: dict[int, Mapping[str, Any]] = {}
        with contextlib.suppress(FileNotFoundError):
            for text in (self.folder / BLOCKS).read_bytes().splitlines():
                if line := unsealed(text):
                    lines[int(line["block"])] = line
        path = self.folder / PIXELS
        if not path.is_file() or path.stat().st_size != math.prod(self._shape):
            return {}
        pixels = self.pixels

        def is_whole(number: int) -> bool:
            place = number * self._block
            return hashlib.sha256(pixels[place : place + self._block].data).hexdigest() == lines[number]["sha256"]

        numbers = sorted(number for number in lines if 0 <= number < count)
        with ThreadPoolExecutor(cores(), "verifier") as pool:  # hashlib works without Python's lock.
            whole = list(pool.map(is_whole, numbers))
        return {number: lines[number] for number, is_good in zip(numbers, whole, strict=True) if is_good}

    def _decode(self, source: Source, journal: dict[int, Mapping[str, Any]], *, processes: int) -> None:
        missing = source.count - sum(min(self._block, source.count - number * self._block) for number in journal)
        self._say(f"decoding {missing:,} of {source.count:,} images into {self.folder}; later starts read them from there")
        progress, path = _Progress(missing, self._say), self.folder / PIXELS
        pieces = _pieces(source, block=self._block, unwanted=frozenset(journal))
        results = map_in_processes(partial(_read_piece, source.read), pieces, processes=processes)
        found, images = list[ReadFile](), list[np.ndarray]()
        with contextlib.ExitStack() as opened:
            with self._errors_named():
                path.touch()
                pixels = opened.enter_context(path.open("r+b"))
                lines = opened.enter_context((self.folder / BLOCKS).open("a", encoding="utf-8"))
                pixels.truncate(math.prod(self._shape))  # Not written yet, it takes no room on most disks.
            for number, ends, read, of_read in results:
                found += read
                images += [of_read] if len(of_read) else []
                if ends:
                    with self._errors_named():
                        journal[number] = {"block": number, **self._write(pixels, number, found, images)}
                        lines.write(f"{json.dumps(sealed(journal[number]))}\n")
                        lines.flush()
                    found, images = [], []
                progress.add(len(read))

    def _write(self, pixels: BinaryIO, number: int, found: list[ReadFile], images: list[np.ndarray]) -> dict[str, object]:
        """Write the pixels of a block, those of its images in their order, and return what the journal says of it.

        `images` are those of its pieces [I, H, W, C].
        """
        block = images[0] if images else np.empty(0, np.uint8)
        if len(block) < len(found):  # It has several pieces, or members that are no images.
            block = np.zeros((len(found), *self._shape[1:]), np.uint8)
            if images:
                block[[not one.reason for one in found]] = np.concatenate(images)
        pixels.seek(number * self._block * math.prod(self._shape[1:]))
        pixels.write(block.data)
        pixels.flush()
        facts = [
            [one.reason, one.is_bad] if one.reason else [one.digest, one.was_transparent, one.was_turned, list(one.original)]
            for one in found
        ]
        names = [[one.name, one.label] for one in found]
        return {"sha256": hashlib.sha256(block.data).hexdigest(), "names": names, "files": facts}

    def _entries(self, number: int, line: Mapping[str, Any]) -> Iterator[ReadFile]:
        entries = zip(line["names"], line["files"], strict=True)
        for place, ((name, label), entry) in enumerate(entries, number * self._block):
            if len(entry) == 2:
                yield ReadFile(name, label, reason=entry[0], is_bad=entry[1])
            else:
                digest, was_transparent, was_turned, original = entry
                yield ReadFile(name, label, digest, was_transparent, was_turned, Original(*original), place=place)

    def _check_room(self, blocks: int) -> None:
        needed, free = blocks * self._block * math.prod(self._shape[1:]), shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(
                f"data.cache={self.folder.parent}: expected {math.ceil(needed / 1e6):,} MB of free space for the decoded images,"
                f" got {free // 10**6:,} MB. Give a folder on another disk, or {self._in_memory_instead()}."
            )

    def _in_memory_instead(self) -> str:
        return f"set data.memory_mb={math.ceil(math.prod(self._shape) / MEGABYTE)} to hold them in memory"


class _Progress:
    """Says how many images are decoded, how fast, and how long the others will take."""

    def __init__(self, total: int, say: Callable[[str], object]) -> None:
        self._total, self._say, self._done = total, say, 0
        self._start = self._last = time.monotonic()

    def add(self, count: int) -> None:
        """Count images that are decoded."""
        self._done += count
        now = time.monotonic()
        if now - self._last >= SAY_EVERY and self._done < self._total:
            self._last = now
            rate = self._done / (now - self._start)
            minutes, seconds = divmod(round((self._total - self._done) / rate), 60)
            left = f"{minutes}:{seconds:02d} left"
            self._say(f"decoded {self._done:,} of {self._total:,} images, {rate:,.0f} a second, {left}")
