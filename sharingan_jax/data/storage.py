"""Where decoded images are held: in memory, or if they are too many, in a file that is mapped into memory."""

import contextlib
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sharingan_jax.data.dataset import MappedDataset, Original
from sharingan_jax.data.sources.files import ReadFile
from sharingan_jax.data.workers import cores, map_in_processes
from sharingan_jax.errors import UserError
from sharingan_jax.files import cache_folder, make_folder, name_in_errors, read_json, write_json, write_text

MEGABYTE = 2**20
BLOCK_BYTES, BLOCK_FILES = 4 * MEGABYTE, 256
"""Files are read in blocks of at most so many bytes of pixels, and of so many files."""
SAY_EVERY = 10.0
"""Seconds between two lines that say how far decoding is."""
PIXELS, BLOCKS, DIGEST, LOCK = "pixels.u8", "blocks.jsonl", "digest.json", ".lock"
"""The files of a folder of decoded images: the pixels [M, H, W, C], what was read in each block, and the digest of all."""

Reader = Callable[[Sequence[str]], list[ReadFile]]
"""Reads the files of these names, in this order. It is called in other processes."""


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

    def read(self, names: Sequence[str], read: Reader, *, image_shape: Sequence[int], processes: int) -> Iterator[ReadFile]:
        """Yield what reading each file gives, in order, with its pixels."""
        progress = _Progress(len(names), self.say)
        for found in map_in_processes(read, blocks_of(names, image_shape=image_shape), processes=processes):
            yield from found
            progress.add(len(found))

    def open(self, key: str, *, count: int, image_shape: Sequence[int]) -> "ImageFile":
        """Return the file of a set's images. `key` names what the pixels depend on: the files and how they are decoded."""
        folder = Path(self.cache) if self.cache else cache_folder() / "sharingan_jax" / "images"
        return ImageFile(folder / key[:32], count=count, image_shape=image_shape, say=self.say)


def blocks_of(names: Sequence[str], *, image_shape: Sequence[int]) -> list[Sequence[str]]:
    """Return the names in blocks, all of one size but the last."""
    size = block_size(image_shape)
    return [names[first : first + size] for first in range(0, len(names), size)]


def block_size(image_shape: Sequence[int]) -> int:
    """Return how many files a block has."""
    return max(1, min(BLOCK_FILES, BLOCK_BYTES // math.prod(image_shape)))


class ImageFile:
    """A set's decoded images in a folder: a file of `count` images uint8 [count, H, W, C], and a journal of blocks.

    The file of place i of the set has its pixels at place i, or zeros if it is no image. A line of the journal has the SHA-256 of
    a block's pixels and what was read besides them, and is written after the pixels. So a start that is killed loses one block
    for each core, and a block that is damaged is decoded again.
    """

    def __init__(self, folder: Path, *, count: int, image_shape: Sequence[int], say: Callable[[str], object]) -> None:
        self.folder, self._say = folder, say
        self._shape = (count, *image_shape)
        self._block = block_size(image_shape)

    @property
    def pixels(self) -> np.ndarray:
        """The pixels, uint8 [count, H, W, C], mapped into memory and read-only."""
        return np.memmap(self.folder / PIXELS, np.uint8, "r", shape=self._shape)

    def fill(self, names: Sequence[str], read: Reader, *, processes: int) -> list[ReadFile]:
        """Verify all blocks, decode those that are missing or damaged, and return what was read of each file.

        Raise UserError if the disk has too little room.
        """
        make_folder(self.folder)
        blocks = blocks_of(names, image_shape=self._shape[1:])
        with self._held():
            journal = self._verified(len(blocks))
            missing = [number for number in range(len(blocks)) if number not in journal]
            if missing:
                self._check_room(sum(len(blocks[number]) for number in missing))
                write_text(self.folder / BLOCKS, "".join(f"{json.dumps(line)}\n" for line in journal.values()))
                self._decode(blocks, missing, read, journal, processes=processes)
        return [found for number in range(len(blocks)) for found in self._entries(number, journal[number])]

    def with_digest(self, dataset: MappedDataset) -> MappedDataset:
        """Return the data set of these images with its digest, which is taken once and then kept."""
        blocks = hashlib.sha256((self.folder / BLOCKS).read_bytes()).hexdigest()
        with contextlib.suppress(UserError):
            kept = read_json(self.folder / DIGEST)
            if kept.get("blocks") == blocks:
                return dataset.with_digest(str(kept["digest"]))
        write_json(self.folder / DIGEST, {"blocks": blocks, "digest": dataset.digest})
        return dataset

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the folder, or wait for the start that does, on systems that have `flock`."""
        with (self.folder / LOCK).open("ab") as file:
            with contextlib.suppress(ImportError):
                import fcntl

                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._say(f"waiting for another start, which decodes these images into {self.folder}")
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _verified(self, count: int) -> dict[int, Mapping[str, object]]:
        """Return the journal's lines whose pixels are as they were written, by the number of the block."""
        lines: dict[int, Mapping[str, object]] = {}
        with contextlib.suppress(FileNotFoundError):
            for text in (self.folder / BLOCKS).read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # The last line of a killed start may be cut off.
                    line = json.loads(text)
                    lines[int(line["block"])] = line
        path = self.folder / PIXELS
        if not path.is_file() or path.stat().st_size != math.prod(self._shape):
            return {}
        pixels = self.pixels

        def is_whole(number: int) -> bool:
            place = number * self._block
            return hashlib.sha256(pixels[place : place + self._block].data).hexdigest() == lines[number].get("sha256")

        numbers = sorted(number for number in lines if 0 <= number < count)
        with ThreadPoolExecutor(cores(), "verifier") as pool:  # hashlib works without Python's lock.
            whole = list(pool.map(is_whole, numbers))
        return {number: lines[number] for number, is_good in zip(numbers, whole, strict=True) if is_good}

    def _decode(
        self,
        blocks: Sequence[Sequence[str]],
        missing: Sequence[int],
        read: Reader,
        journal: dict[int, Mapping[str, object]],
        *,
        processes: int,
    ) -> None:
        count = sum(len(blocks[number]) for number in missing)
        self._say(f"decoding {count:,} of {self._shape[0]:,} images into {self.folder}; later starts read them from there")
        progress, path = _Progress(count, self._say), self.folder / PIXELS
        path.touch()
        results = map_in_processes(read, (blocks[number] for number in missing), processes=processes)
        with name_in_errors(path), path.open("r+b") as pixels, (self.folder / BLOCKS).open("a", encoding="utf-8") as lines:
            pixels.truncate(math.prod(self._shape))  # Not written yet, it takes no room on most disks.
            for number, found in zip(missing, results, strict=True):
                block = np.zeros((len(found), *self._shape[1:]), np.uint8)
                for place, entry in enumerate(found):
                    if entry.pixels is not None:
                        block[place] = entry.pixels
                pixels.seek(number * self._block * math.prod(self._shape[1:]))
                pixels.write(block.tobytes())
                pixels.flush()
                entries = [
                    [one.reason, one.is_bad]
                    if one.reason
                    else [one.digest, one.was_transparent, one.was_turned, list(one.original)]
                    for one in found
                ]
                journal[number] = {"block": number, "sha256": hashlib.sha256(block.data).hexdigest(), "files": entries}
                lines.write(f"{json.dumps(journal[number])}\n")
                lines.flush()
                progress.add(len(found))

    def _entries(self, number: int, line: Mapping[str, object]) -> Iterator[ReadFile]:
        entries = line["files"]
        assert isinstance(entries, list)
        for place, entry in enumerate(entries, number * self._block):
            if len(entry) == 2:
                yield ReadFile(reason=entry[0], is_bad=entry[1])
            else:
                digest, was_transparent, was_turned, original = entry
                yield ReadFile(digest, was_transparent, was_turned, Original(*original), place=place)

    def _check_room(self, count: int) -> None:
        needed, free = count * math.prod(self._shape[1:]), shutil.disk_usage(self.folder).free
        if needed > free:
            more = math.ceil(math.prod(self._shape) / MEGABYTE)
            raise UserError(
                f"data.cache={self.folder.parent}: expected {needed / 1e9:.1f} GB of free space for the decoded images, got"
                f" {free / 1e9:.1f} GB. Give a folder on another disk, or set data.memory_mb={more} to hold them in memory."
            )


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
