"""Read files as images: what folders and archives have in common."""

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from sharingan_jax.data.dataset import ArrayDataset, ImageDataset, MappedDataset, Original
from sharingan_jax.data.decode import Decoding, decode_image, fit_image, scale_to_u8
from sharingan_jax.data.formats import BrokenImageError, NotAnImageError, has_image_ending, largest_file
from sharingan_jax.data.labels import describe_labels, labels_from_folders
from sharingan_jax.errors import UserError, counted, listed

T = TypeVar("T")


class Member(NamedTuple):
    """What a source has at one place: a file to be opened by its `name`, or a file's bytes or pixels, as `content`.

    With a `reason` it is not to be read, and counts as bad or as skipped.
    """

    name: str
    content: bytes | np.ndarray | None = None
    label: int | None = None
    reason: str = ""
    is_bad: bool = False

    @property
    def size(self) -> int:
        """The bytes of the content."""
        return self.content.nbytes if isinstance(self.content, np.ndarray) else len(self.content or b"")


class ReadFile(NamedTuple):
    """A member that was read: an image with its SHA-256 and what had to be changed, or the `reason` why it is not one.

    An image's pixels are `pixels` uint8 [size, size, channels]; or they are at `place` in an array of all images.
    """

    name: str = ""
    label: int | None = None
    digest: str = ""
    was_transparent: bool = False
    was_turned: bool = False
    original: Original = Original(0, 0, "")
    reason: str = ""
    is_bad: bool = False
    pixels: np.ndarray | None = None
    place: int = -1


SYSTEM_FOLDERS = frozenset(
    {"@eadir", "__macosx", "lost+found", "#recycle", "@recycle", "$recycle.bin", "system volume information", "found.000"}
)
"""Folders that systems and storage devices make for themselves, in lower case: thumbnails, recovered and deleted files."""
SYSTEM = "a folder that a system made for itself"
SECOND = "a second file of this name"
PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
"""Endings of archives. One among images is not opened."""
IMAGES = "a folder or an archive with .png, .jpg, ... files, or a table with rows of images"
MOST = 200
"""Bad files that an error lists. More would hide the screen's other lines, and all are in data.json."""
FEW = 3
"""Files that a line at the start names; the others are in data.json."""


def is_hidden(name: str) -> bool:
    """Return whether a file or a folder above it is hidden: its name begins with a dot."""
    may_be = name.startswith(".") or "/." in name  # A path object takes longer, and a folder has many files.
    return may_be and any(part.startswith(".") for part in PurePosixPath(name).parts)


def lies_among(folder: Path, images: Path) -> bool:
    """Return whether a folder lies in a folder of images, so that files in it would be read with them. Hidden folders are not."""
    folder, images = folder.resolve(), images.resolve()
    return images.is_dir() and folder.is_relative_to(images) and not is_hidden(folder.relative_to(images).as_posix())


def system_folder(name: str) -> str:
    """Return the outermost folder of a relative name that a system has made for itself, with a final "/", or ""."""
    folders = name.split("/")[:-1]
    for depth, folder in enumerate(folders, 1):
        if folder.lower() in SYSTEM_FOLDERS:
            return "/".join(folders[:depth]) + "/"
    return ""


def readable(name: str) -> str:
    """Return a file's name as UTF-8 can hold it: bytes that are none, as in names of old systems, become \\x and two digits."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def shown(name: str) -> str:
    """Return a name for a line of text: control characters escaped, and the middle of a long name left out."""
    if name.isprintable() and len(name) <= 80:  # As nearly all are.
        return name
    text = "".join(character if character >= " " and character != "\x7f" else repr(character)[1:-1] for character in name)
    return text if len(text) <= 80 else f"{text[:50]}…{text[-25:]}"


def with_reasons(files: Mapping[str, str], *, most: int) -> str:
    """Return files with their reasons in a sentence: `a.txt (not an image), b.eps (...) and 3 more`."""
    return listed([f"{shown(name)} ({reason})" for name, reason in files.items()], most=most)


class FileReader:
    """Collects the images among files that were read, in any order. `skipped` and `bad` map other files to the reason."""

    def __init__(self, decoding: Decoding) -> None:
        self.decoding = decoding
        self.skipped: dict[str, str] = {}
        self.bad: dict[str, str] = {}
        self._images: dict[str, ReadFile] = {}

    def add(self, found: ReadFile) -> None:
        """Record what reading a member has found."""
        name = readable(found.name)
        if found.is_bad:
            self.bad[name] = found.reason
        elif found.reason or name in self._images:
            self.skipped.setdefault(name, found.reason or SECOND)
        else:
            self._images[name] = found

    def skip(self, name: str, reason: str) -> None:
        """Record a file that is not to be read."""
        self.skipped.setdefault(readable(name), reason)

    def dataset(self, place: str, *, kind: str, on_bad: str, mapped: np.ndarray | None = None) -> ImageDataset:
        """Return the images in the byte order of their names, with labels if their folders are classes (`labels_from_folders`).

        `place` and `kind` say where the images were, for messages. The pixels are at the images' places in `mapped`, uint8
        [M, H, W, C], or else their own.
        Raise UserError if there are none, or with all bad files and their reasons unless `on_bad` is "skip".
        """
        images = self._checked_images(place, kind=kind, on_bad=on_bad)
        return held([*images.values()], mapped, **self._described(images, kind=kind))

    def _checked_images(self, place: str, *, kind: str, on_bad: str) -> dict[str, ReadFile]:
        if self.bad and on_bad != "skip":
            bad = with_reasons(_in_order(self.bad), most=MOST)
            whole = ", which lists all in the run's data.json" if len(self.bad) > MOST else ""
            raise UserError(
                f"data.path={place}: expected images that can be read, got {len(self.bad):,} that cannot: {bad}."
                f" Repair or remove them. A run skips them with data.on_bad=skip{whole}."
            )
        if not self._images:
            others = _in_order(self.skipped | self.bad)
            named = f": {with_reasons(others, most=FEW)}" if others else ""
            expected = f"expected {kind} of images, got no images and {counted(len(others), 'other file')}{named}"
            packed = next((name for name in others if name.lower().endswith(PACKED)), "")
            inside = f" {shown(packed)} is not opened there: unpack it, or give it as data.path." if packed else ""
            raise UserError(f"data.path={place}: {expected}.{inside} Give {IMAGES}.")
        return _in_order(self._images)

    def _described(self, images: Mapping[str, ReadFile], *, kind: str) -> dict[str, Any]:
        labels, classes = labels_from_folders([*images]) or (None, ())
        return {
            "names": tuple(images),
            "digests": tuple(image.digest for image in images.values()),
            "labels": labels,
            "classes": classes,
            "originals": tuple(image.original for image in images.values()),
            "skipped": _in_order(self.skipped),
            "bad": _in_order(self.bad),
            "kind": kind,
            "remarks": (*self._remarks(images), *label_remarks(labels, classes, origin="by subfolder")),
        }

    def _remarks(self, images: Mapping[str, ReadFile]) -> tuple[str, ...]:
        clear = [name for name, image in images.items() if image.was_transparent]
        turned = [name for name, image in images.items() if image.was_turned]
        lines = []
        if clear and self.decoding.channels < 4:
            lines.append(f"{_some(clear)} transparent parts, laid on data.background={self.decoding.background}")
        if turned:
            verb = "was" if len(turned) == 1 else "were"
            lines.append(f"{_some(turned)} an EXIF orientation, and {verb} turned upright (data.exif=apply)")
        return tuple(lines)


def held(images: Sequence[ReadFile], mapped: np.ndarray | None, **described: Any) -> ImageDataset:
    """Return images that were read as a data set. Their pixels are at their places in `mapped`, or else their own.

    If `mapped` is in memory, and not mapped from a file, the images are brought into their order there.
    `described` are the other fields of `ImageDataset`.
    """
    if mapped is None:
        return ArrayDataset(images=np.stack([image.pixels for image in images if image.pixels is not None]), **described)
    places = np.array([image.place for image in images], np.int64)
    if isinstance(mapped, np.memmap):
        return MappedDataset(mapped=mapped, places=places, **described)
    return ArrayDataset(images=_reordered(mapped, places), **described)


def _reordered(pixels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the images at `places` of [M, H, W, C], in the memory of these, which is written over."""
    chosen = pixels[: len(places)]
    if not np.array_equal(places, np.arange(len(places))):
        for row in range(pixels.shape[1]):  # A row of all images at a time, so that no second copy of all is made.
            chosen[:, row] = pixels[places, row]
    return chosen


def label_remarks(labels: np.ndarray | None, classes: Sequence[str], *, origin: str) -> tuple[str, ...]:
    """Return the line on a source's labels, if it has some."""
    return () if labels is None else (describe_labels(labels, [shown(name) for name in classes], origin=origin),)


def read_file(name: str, file: BinaryIO, *, size: int, decoding: Decoding) -> ReadFile:
    """Decode a seekable file of `size` bytes if it is an image; otherwise say why not."""
    shown_name, most = readable(name), largest_file(decoding.max_pixels)
    try:
        if size > most and has_image_ending(shown_name):
            raise BrokenImageError(f"{size:,} bytes, of at most {most:,}; data.max_pixels allows more")
        if size > most:
            raise NotAnImageError(f"{size:,} bytes, more than an image may have")
        decoded = decode_image(file, shown_name, decoding)
    except (NotAnImageError, BrokenImageError) as reason:
        return ReadFile(name, reason=str(reason), is_bad=isinstance(reason, BrokenImageError))
    pixels, was_transparent, was_turned, original = decoded
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    return ReadFile(name, None, digest, was_transparent, was_turned, original, pixels=pixels)


def read_content(decoding: Decoding, member: Member) -> ReadFile:
    """Decode a member's bytes if they are an image; otherwise say why not."""
    assert isinstance(member.content, bytes)
    return read_file(member.name, io.BytesIO(member.content), size=len(member.content), decoding=decoding)


def read_array(decoding: Decoding, member: Member) -> ReadFile:
    """Fit a member's pixels [H, W] or [H, W, C]: uint8, uint16 or floats from 0 to 1. The digest is that of the fitted pixels."""
    values = member.content
    assert isinstance(values, np.ndarray)
    try:
        pixels = values if values.dtype == np.uint8 else scale_to_u8(values)
        fitted = fit_image(Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels), decoding)
    except BrokenImageError as error:
        return ReadFile(member.name, reason=str(error), is_bad=True)
    original = Original(values.shape[1], values.shape[0], "")
    return ReadFile(member.name, digest=hashlib.sha256(fitted.tobytes()).hexdigest(), original=original, pixels=fitted)


def refused(name: str, reason: str) -> Member:
    """Return a file that cannot be read: it is bad if it is called an image."""
    return Member(name, reason=reason, is_bad=has_image_ending(readable(name)))


def _in_order(files: Mapping[str, T]) -> dict[str, T]:
    return dict(sorted(files.items(), key=lambda item: os.fsencode(item[0])))


def _some(names: Sequence[str]) -> str:
    return f"{shown(names[0])} has" if len(names) == 1 else f"{len(names):,} images, such as {shown(names[0])}, have"
