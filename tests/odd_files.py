"""Makers of odd and hostile files, for the corpus in corpus.py."""

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

SIDE = 64
PROOF = "SHARINGAN_CORPUS_RAN"
"""A file of this name would mean that a program in the corpus has run."""


def quarters(*colours: object, mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Return an image of four colours: top left, top right, bottom left, bottom right."""
    image = Image.new(mode, size)
    width, height = size
    for number, colour in enumerate(colours):
        row, column = divmod(number, 2)
        box = (column * width // 2, row * height // 2, (column + 1) * width // 2, (row + 1) * height // 2)
        image.paste(colour, box)  # type: ignore[arg-type]
    return image


def scene(mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    return quarters((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), size=size).convert(mode)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def saved(image: Callable[[], Image.Image], format: str, **options: object) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(encoded(image(), format, **options))


def written(content: Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content())


def png(width: int, height: int, rows: list[bytes], *, bits: int, colour: int, **chunks: bytes) -> bytes:
    """Return a PNG written by hand, since Pillow writes few of its forms."""

    def chunk(kind: str, data: bytes) -> bytes:
        body = kind.encode() + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    middle = b"".join(chunk(kind, data) for kind, data in chunks.items())
    pixels = chunk("IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + middle + pixels + chunk("IEND", b"")


def blocks(levels: list[int], side: int = SIDE) -> np.ndarray:
    """Return four levels as the quarters of an array [side, side]."""
    return np.repeat(np.repeat(np.array(levels).reshape(2, 2), side // 2, 0), side // 2, 1)


def png16(levels: list[int], **chunks: bytes) -> bytes:
    return png(SIDE, SIDE, [row.astype(">u2").tobytes() for row in blocks(levels)], bits=16, colour=0, **chunks)


def png2(**chunks: bytes) -> bytes:
    rows = blocks([0, 1, 2, 3]).astype(np.uint8).reshape(SIDE, -1, 4)
    return png(SIDE, SIDE, [(row @ [64, 16, 4, 1]).astype(np.uint8).tobytes() for row in rows], bits=2, colour=0, **chunks)


def png16_colour(*, near: tuple[int, int, int] = (0, 0, 65535), **chunks: bytes) -> bytes:
    """The scene with 16 bits a channel, in which exactly one green is transparent. The colour `near` takes the place of blue."""
    colours = np.array([[65535, 0, 0], [0x1234, 65535, 0x5678], near, [65535] * 3])
    rows = [colours[row].reshape(-1).astype(">u2").tobytes() for row in blocks([0, 1, 2, 3])]
    return png(SIDE, SIDE, rows, bits=16, colour=2, tRNS=struct.pack(">3H", 0x1234, 65535, 0x5678), **chunks)


def with_alpha(*alphas: int) -> Image.Image:
    image = scene("RGBA")
    image.putalpha(Image.fromarray(blocks(list(alphas)).astype(np.uint8)))
    return image


def palette(*, clear: int | None = None) -> bytes:
    image = Image.fromarray(blocks([0, 1, 2, 3]).astype(np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255])
    return encoded(image, "PNG", **({} if clear is None else {"transparency": clear}))


def drawing() -> Image.Image:
    """A black square on a clear ground, as drawing programs save it: all colours are black."""
    image = Image.new("RGBA", (SIDE, SIDE))
    image.paste((0, 0, 0, 255), (0, 0, SIDE // 2, SIDE // 2))
    return image


def turned(orientation: int, format: str) -> Callable[[Path], object]:
    """Return the scene stored so that this EXIF orientation shows it upright."""
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = scene().transpose(stored[orientation])
    options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    return saved(lambda: image, format, exif=exif, **options)


def tiff16(levels: list[int], *, white_is_zero: bool = False, signed: bool = False) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 0 if white_is_zero else 1
    content = encoded(Image.fromarray(blocks(levels).astype(np.int32 if signed else np.uint16)), "TIFF", tiffinfo=tags)
    return content


def tiff_of(values: np.ndarray, **tags: int) -> bytes:
    """Return a TIFF written by hand, since Pillow writes few of its forms. `values` are [H, W] or [H, W, C]."""
    height, width, channels = (*values.shape, 1)[:3]
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    photometric = 2 if channels == 3 else 1
    bits, long, short = 8 * values.dtype.itemsize, 4, 3
    data, repeated = values.tobytes(), {258: bits, 339: kind}
    numbers = {256: width, 257: height, 259: 1, 262: photometric, 273: 8, 277: channels, 278: height, 279: len(data)}
    numbers |= {{"subfile_type": 254}[name]: value for name, value in tags.items()}
    count = len(numbers) + len(repeated)
    after = 8 + len(data) + 2 + 12 * count + 4
    entries, behind = b"", b""
    for tag, value in sorted((numbers | repeated).items()):
        if tag not in repeated:
            entries += struct.pack("<HHII", tag, long, 1, value)
        elif channels == 1:
            entries += struct.pack("<HHIHH", tag, short, 1, value, 0)
        else:
            entries += struct.pack("<HHII", tag, short, channels, after + len(behind))
            behind += struct.pack(f"<{channels}H", *[value] * channels)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", count) + entries + bytes(4) + behind


def fits() -> bytes:
    """Return four levels in 16 bits, of which 32768 is to be added to each, as telescopes save them."""
    cards = ["SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    2"]
    cards += [f"NAXIS1  = {SIDE:>20}", f"NAXIS2  = {SIDE:>20}", "BZERO   =                32768", "END"]
    header = "".join(f"{card:<80}" for card in cards).ljust(2880).encode()
    return header + (blocks([0, 21845, 43690, 65535]) - 32768).astype(">i2").tobytes()


def animation(format: str) -> Callable[[Path], object]:
    return saved(scene, format, save_all=True, append_images=[Image.new("RGB", (SIDE, SIDE), "black")], lossless=True)


def lab() -> Image.Image:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    image = ImageCms.applyTransform(scene(), to_lab)
    assert image is not None
    return image


def endless_program(path: Path) -> None:
    """A PostScript program that never ends, and one line before it that writes a file."""
    path.write_text(f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n({PROOF}) (w) file closefile\n{{}} loop\n")


def bomb() -> bytes:
    """A PNG of a few bytes that claims 100,000 × 100,000 pixels."""
    return png(100_000, 100_000, [b"\0"], bits=8, colour=0)


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        here = os.getcwd()
        os.chdir(path.parent)  # The path of a socket may have about 100 bytes.
        try:
            end.bind(path.name)
        finally:
            os.chdir(here)


def grey_jpeg(width: int, height: int) -> Callable[[Path], object]:
    return saved(lambda: Image.new("L", (width, height), 85), "JPEG")


def sixteen_bits(levels: list[int]) -> Image.Image:
    return Image.fromarray(blocks(levels).astype(np.uint16))


def grey_with_alpha() -> Image.Image:
    grey = Image.fromarray(blocks([0, 85, 170, 255]).astype(np.uint8))
    return Image.merge("LA", (grey, Image.fromarray(blocks([0, 255, 0, 255]).astype(np.uint8))))


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8))


def wrong_checksum() -> bytes:
    content = bytearray(encoded(noise(), "PNG"))
    content[200] ^= 255
    return bytes(content)


def bits() -> Image.Image:
    """Return a chessboard of black and white, 1 bit a pixel."""
    return quarters(0, 1, 1, 0, mode="1")
