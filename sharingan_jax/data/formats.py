"""Which files are images: their content decides, and only formats of pixels are opened, never one that is a program."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, BinaryIO

from PIL import Image, ImageFile, TiffImagePlugin, features

from sharingan_jax.errors import reason_of

MARKED = (
    "PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "HEIF", "JPEG2000", "PSD", "ICO", "CUR", "ICNS", "QOI", "DDS",
    "BLP", "DCX", "FTEX", "GBR", "MCIDAS", "MSP", "PIXAR", "SUN", "XPM", "XVTHUMB",
)  # fmt: skip
"""Formats whose files begin with a mark of their own, by Pillow's names. A file of one of these is an image whatever its name."""
UNMARKED = ("DIB", "FLI", "IM", "PCD", "PCX", "SGI", "TGA", "XBM")
"""Formats with no mark, or with one that other files carry by chance: they count only under the ending of an image."""
REFUSED = {
    **dict.fromkeys(("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"), "which is not made of pixels and is never run"),
    "FITS": "whose numbers do not say which one is white",
}
"""What Pillow recognises and would run, hand to another program, or read wrongly, with the reasons. These are not opened."""
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")
TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SUBFILE_TYPE = 254
"""The tag of a TIFF whose lowest bit says that this is a smaller version of an image that is elsewhere in the file."""
SAMPLES = {1: "integers", 2: "integers with a sign", 3: "floats"}
"""What the sample formats of a TIFF are."""
PREFIX = 16
"""Bytes by which Pillow recognises a format."""
BYTES_PER_PIXEL = 4
"""A file may have this many bytes for each pixel that is allowed, and METADATA more."""
METADATA = 2**24
FILTERS = [("error", None, Image.DecompressionBombWarning, None, 0), ("ignore", None, Warning, None, 0)]
"""Python's first filters of warnings inside `without_warnings`."""


class NotAnImageError(Exception):
    """The file is not an image, and is skipped. The message is the reason."""


class BrokenImageError(Exception):
    """The file should be an image and cannot be read. The message is the reason."""


@cache
def image_endings() -> frozenset[str]:
    """Return the endings of images in lower case, with their dots: those that Pillow knows for the formats above."""
    known = Image.registered_extensions().items()
    return frozenset(ending for ending, name in known if name in MARKED + UNMARKED) | {".heic", ".heif", ".hif", ".mpo"}


def has_image_ending(name: str) -> bool:
    """Return whether a name ends as an image's does, such as `a.PNG`."""
    stem, _, ending = name.rpartition("/")[2].rpartition(".")  # As a path's suffix, which would take longer.
    return bool(stem) and f".{ending}".lower() in image_endings()


def may_be_image(name: str, first: bytes) -> bool:
    """Return whether a file is called as an image, or its first `PREFIX` bytes are those of a format that counts by any name.

    Any other file is not an image for `open_image` either, however it continues.
    """
    if has_image_ending(name) or _brand(first) in HEIC_BRANDS + AVIF_BRANDS:  # Known also to a Pillow that cannot read them.
        return True
    accepts = (_openers()[known][1] for known in MARKED if known in _openers())
    return any(accept is None or accept(first[:PREFIX]) for accept in accepts)


def largest_file(max_pixels: int) -> int:
    """Return how many bytes of a file are read at most."""
    return BYTES_PER_PIXEL * max_pixels + METADATA


@contextmanager
def quiet_pillow(max_pixels: int) -> Iterator[None]:
    """Let Pillow raise DecompressionBombWarning for an image of more than `max_pixels`, and print no other warning."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with without_warnings():
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@contextmanager
def without_warnings() -> Iterator[None]:
    """Let Python raise DecompressionBombWarning, and print no other warning. Around many images, it is cheap for each."""
    if warnings.filters[: len(FILTERS)] == FILTERS:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Users need not repair odd metadata or unusual palettes.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def open_image(file: BinaryIO, name: str) -> ImageFile.ImageFile:
    """Open, but do not decode, the image in a file; `name` gives the ending. Call it inside `quiet_pillow`.

    Raise NotAnImageError or BrokenImageError with the reason. A file is broken, not "no image", if its name ends as an image's.
    Raise Pillow's DecompressionBombWarning or DecompressionBombError if it has too many pixels.
    """
    is_named = has_image_ending(name)
    try:
        image = Image.open(file, formats=_formats(is_named))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise
    except Exception as error:  # Pillow's readers raise many kinds of error on other files.
        file.seek(0)
        prefix = file.read(PREFIX)
        if reason := _why_not(prefix):
            raise NotAnImageError(reason) from None
        if _brand(prefix) in HEIC_BRANDS + AVIF_BRANDS:
            raise BrokenImageError("a damaged HEIC or AVIF file") from None
        numbers = _unreadable_numbers(file) if prefix.startswith(TIFF_MARKS) else ""
        if not is_named:
            raise NotAnImageError(numbers or "not an image") from None
        found = "named like an image, but not one" if isinstance(error, Image.UnidentifiedImageError) else reason_of(error)
        raise BrokenImageError(numbers or (found if prefix else "an empty file")) from None
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(SUBFILE_TYPE, 0) & 1:
        raise NotAnImageError("a raw photo, of which only its thumbnail would be read")
    return image


def _why_not(prefix: bytes) -> str:
    """Return why files that begin so are not images here, or "" if no reason is known."""
    brand = _brand(prefix)
    if brand in HEIC_BRANDS and "HEIF" not in _openers():
        return "HEIC, which needs another package: pip install pillow-heif"
    if brand in AVIF_BRANDS and not features.check("avif"):
        return "AVIF, which this Pillow cannot read; Pillow 11.3 or later can"
    if prefix.startswith(b"%PDF"):
        return "PDF, which is a document and has no pixels of its own"
    for name, reason in REFUSED.items():
        accepts = _openers()[name][1] if name in _openers() else None
        if accepts and accepts(prefix):
            return f"{name}, {reason}"
    return ""


def _brand(prefix: bytes) -> bytes:
    """Return the kind of a file in the container that HEIC, AVIF and films have, or b""."""
    return prefix[8:12] if prefix[4:8] == b"ftyp" else b""


def _unreadable_numbers(file: BinaryIO) -> str:
    """Return which numbers a TIFF has, if these keep Pillow from opening it, or "" if there is another reason."""
    try:
        file.seek(0)
        mark = file.read(8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(mark + file.read(8) if 43 in mark[2:4] else mark)
        file.seek(tags.next)
        tags.load(file)
        bits = tags[TiffImagePlugin.BITSPERSAMPLE]
        kind = SAMPLES[tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0]]
    except Exception:  # Its tags are damaged too.
        return ""
    if kind == SAMPLES[1] and bits[0] <= 8:
        return ""
    channels = "1 channel" if len(bits) == 1 else f"{len(bits)} channels"
    return f"a TIFF with {channels} of {kind} of {bits[0]} bits, which Pillow cannot read; save 8 bits a channel"


@cache
def _formats(is_named: bool) -> tuple[str, ...]:
    """Return the formats, of those that Pillow can read here, that a file with or without an image's ending may have."""
    _register_heif()
    return tuple(known for known in (*MARKED, *(UNMARKED if is_named else ())) if known in _openers())


@cache
def _register_heif() -> None:
    """Teach Pillow HEIC if the package pillow-heif is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()


def _openers() -> dict[str, Any]:
    Image.init()
    return Image.OPEN
