"""Read files as images: what folders and archives have in common."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import BinaryIO, TypeVar

import numpy as np

from sharingan_jax.data.dataset import ArrayDataset, ImageDataset
from sharingan_jax.data.decode import Decoded, Decoding, decode_image
from sharingan_jax.data.formats import BrokenImageError, NotAnImageError, has_image_ending, largest_file
from sharingan_jax.data.labels import describe_labels, labels_from_folders
from sharingan_jax.errors import UserError, listed

T = TypeVar("T")
SYSTEM_FOLDERS = frozenset(
    {"@eadir", "__macosx", "lost+found", "#recycle", "@recycle", "$recycle.bin", "system volume information", "found.000"}
)
"""Folders that systems and storage devices make for themselves, in lower case: thumbnails, recovered and deleted files."""
SYSTEM = "a folder that a system made for itself"
FEW = 3
"""Files that a line at the start names; the others are in data.json."""


def is_hidden(name: str) -> bool:
    """Return whether a file or a folder above it is hidden: its name begins with a dot."""
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def system_folder(name: str) -> str:
    """Return the outermost folder of a relative name that a system has made for itself, with a final "/", or ""."""
    parts = PurePosixPath(name).parts
    for depth, part in enumerate(parts[:-1], 1):
        if part.lower() in SYSTEM_FOLDERS:
            return "/".join(parts[:depth]) + "/"
    return ""


def readable(name: str) -> str:
    """Return a file's name as UTF-8 can hold it: bytes that are none, as in names of old systems, become \\x and two digits."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def shown(name: str) -> str:
    """Return a name for a line of text: control characters escaped, and the middle of a long name left out."""
    text = "".join(character if character >= " " and character != "\x7f" else repr(character)[1:-1] for character in name)
    return text if len(text) <= 80 else f"{text[:50]}…{text[-25:]}"


def with_reasons(files: Mapping[str, str], *, most: int) -> str:
    """Return files with their reasons in a sentence: `a.txt (not an image), b.eps (...) and 3 more`."""
    return listed([f"{shown(name)} ({reason})" for name, reason in files.items()], most=most)


class FileReader:
    """Collects the images among files, given one at a time in any order. `skipped` and `bad` map other files to the reason."""

    def __init__(self, decoding: Decoding) -> None:
        self.decoding = decoding
        self.skipped: dict[str, str] = {}
        self.bad: dict[str, str] = {}
        self._images: dict[str, tuple[str, Decoded]] = {}

    def read(self, name: str, file: BinaryIO, *, size: int) -> None:
        """Decode a seekable file of `size` bytes if it is an image; otherwise record why not."""
        name = readable(name)
        most = largest_file(self.decoding.max_pixels)
        try:
            if name in self._images:
                raise NotAnImageError("a second file of this name")
            if size > most and has_image_ending(name):
                raise BrokenImageError(f"{size:,} bytes, of at most {most:,}; data.max_pixels allows more")
            if size > most:
                raise NotAnImageError(f"{size:,} bytes, more than an image may have")
            decoded = decode_image(file, name, self.decoding)
            self._images[name] = _sha256(file), decoded
        except NotAnImageError as reason:
            self.skipped.setdefault(name, str(reason))
        except BrokenImageError as reason:
            self.bad[name] = str(reason)

    def read_image(self, name: str, file: BinaryIO, *, size: int) -> None:
        """Decode a file that has to be an image: if it is none, it counts as bad and not as skipped."""
        self.read(name, file, size=size)
        if reason := self.skipped.pop(readable(name), None):
            self.bad[readable(name)] = reason

    def refuse(self, name: str, reason: str) -> None:
        """Record a file that cannot be read: as bad if it is called an image, else as skipped."""
        (self.bad if has_image_ending(name) else self.skipped)[readable(name)] = reason

    def skip(self, name: str, reason: str) -> None:
        """Record a file that is not to be read."""
        self.skipped.setdefault(readable(name), reason)

    def dataset(self, place: str, *, kind: str, on_bad: str) -> ImageDataset:
        """Return the images in the byte order of their names, with labels if their folders are classes (`labels_from_folders`).

        `place` and `kind` say where the images were, for messages.

        Raise UserError if there are none, or with all bad files and their reasons unless `on_bad` is "skip".
        """
        if self.bad and on_bad != "skip":
            bad = with_reasons(_in_order(self.bad), most=10)
            raise UserError(
                f"data.path={place}: expected images that can be read, got {len(self.bad):,} that cannot: {bad}."
                " Repair or remove them, or use --config.data.on_bad=skip."
            )
        if not self._images:
            others = _in_order(self.skipped | self.bad)
            named = f": {with_reasons(others, most=FEW)}" if others else ""
            expected = f"expected {kind} of images, got no images and {len(others):,} other files{named}"
            raise UserError(f"data.path={place}: {expected}. Give a folder with .png, .jpg, ... files.")
        images = _in_order(self._images)
        labels, classes = labels_from_folders([*images]) or (None, ())
        return ArrayDataset(
            images=np.stack([decoded.pixels for _, decoded in images.values()]),
            names=tuple(images),
            digests=tuple(digest for digest, _ in images.values()),
            labels=labels,
            classes=classes,
            originals=tuple(decoded.original for _, decoded in images.values()),
            skipped=_in_order(self.skipped),
            bad=_in_order(self.bad),
            kind=kind,
            remarks=(*self._remarks(images), *label_remarks(labels, classes, origin="by subfolder")),
        )

    def _remarks(self, images: Mapping[str, tuple[str, Decoded]]) -> tuple[str, ...]:
        clear = [name for name, (_, decoded) in images.items() if decoded.was_transparent]
        turned = [name for name, (_, decoded) in images.items() if decoded.was_turned]
        lines = []
        if clear and self.decoding.channels < 4:
            lines.append(f"{_some(clear)} transparent parts, laid on data.background={self.decoding.background}")
        if turned:
            verb = "was" if len(turned) == 1 else "were"
            lines.append(f"{_some(turned)} an EXIF orientation, and {verb} turned upright (data.exif=apply)")
        return tuple(lines)


def label_remarks(labels: np.ndarray | None, classes: Sequence[str], *, origin: str) -> tuple[str, ...]:
    """Return the line on a source's labels, if it has some."""
    return () if labels is None else (describe_labels(labels, [shown(name) for name in classes], origin=origin),)


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def _in_order(files: Mapping[str, T]) -> dict[str, T]:
    return dict(sorted(files.items(), key=lambda item: os.fsencode(item[0])))


def _some(names: Sequence[str]) -> str:
    return f"{shown(names[0])} has" if len(names) == 1 else f"{len(names):,} images, such as {shown(names[0])}, have"
