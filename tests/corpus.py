"""Odd and hostile files, and what becomes of each. Tests read their expectations here; docs/data.md's table is made from it.

python tests/corpus.py     writes the table of docs/data.md

An outcome is the four colours of an image's quarters: "red lime / blue white". A number is a grey level. Files that are
no images are "skipped: REASON", and images that cannot be read are "bad: REASON".
"""

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from made_tables import MadeTable
from odd_files import (
    SIDE,
    animation,
    bits,
    blocks,
    bomb,
    bound_socket,
    drawing,
    encoded,
    endless_program,
    fits,
    grey_jpeg,
    grey_with_alpha,
    lab,
    noise,
    opened,
    palette,
    png2,
    png16,
    png16_colour,
    saved,
    scene,
    sixteen_bits,
    tiff16,
    tiff_of,
    turned,
    with_alpha,
    written,
    wrong_checksum,
)
from PIL import Image

DOCUMENT = Path(__file__).parents[1] / "docs" / "data.md"
TABLE = MadeTable(DOCUMENT, "<!-- corpus: made by `python tests/corpus.py` -->", "<!-- end of corpus -->")
SCENE = "red lime / blue white"
GREYS = "0 85 / 170 255"
CLEAR_RIGHT = "red white / blue white"
"""The scene whose right half is transparent, on white."""


@dataclass(frozen=True)
class OddFile:
    """One row: `make` writes the file at a path; `within` is how far the colours may lie from `outcome`, of 255."""

    name: str
    what: str
    outcome: str
    make: Callable[[Path], object]
    within: int = 0


def _files() -> Iterator[OddFile]:
    yield from _depths()
    yield from _alphas()
    yield from _orientations()
    yield from _formats()
    yield from _broken()
    yield from _skipped()


def _depths() -> Iterator[OddFile]:
    sixteen = [0, 21845, 43690, 65535]
    yield OddFile("deep/grey16.png", "16-bit grey PNG", GREYS, written(lambda: png16(sixteen)))
    yield OddFile("deep/dim16.png", "16-bit grey PNG of low levels", "0 1 / 2 3", written(lambda: png16([0, 257, 514, 771])))
    yield OddFile("deep/grey16.tiff", "16-bit grey TIFF", GREYS, written(lambda: tiff16(sixteen)))
    yield OddFile(
        "deep/inverted16.tiff",
        "16-bit grey TIFF, white is zero",
        "255 170 / 85 0",
        written(lambda: tiff16(sixteen, white_is_zero=True)),
    )
    yield OddFile("deep/grey16.jp2", "16-bit grey JPEG 2000", GREYS, saved(lambda: sixteen_bits(sixteen), "JPEG2000"))
    yield OddFile("deep/grey16.pgm", "16-bit PGM", GREYS, saved(lambda: sixteen_bits(sixteen), "PPM"))
    yield OddFile(
        "deep/grey10.pgm",
        "PGM whose white is 1023",
        GREYS,
        written(lambda: b"P5 64 64 1023\n" + blocks([0, 341, 682, 1023]).astype(">u2").tobytes()),
    )
    yield OddFile("deep/colour16.png", "16-bit colour PNG", "red white / blue white", written(png16_colour))
    yield OddFile(
        "deep/near16.png",
        "16-bit colour PNG, near to the clear colour",
        "red white / #12ff56 white",
        written(lambda: png16_colour(near=(0x1235, 65535, 0x5679))),
    )
    orientation = Image.Exif()
    orientation[0x0112] = 3
    yield OddFile(
        "turned/colour16.png",
        "16-bit colour PNG, EXIF orientation 3",
        "white blue / white red",
        written(lambda: png16_colour(eXIf=orientation.tobytes().removeprefix(b"Exif\0\0"))),
    )
    signed = written(lambda: tiff_of(blocks([-5, 0, 5, 127]).astype(np.int8)))
    yield OddFile("deep/signed8.tiff", "8-bit integers with a sign", "bad: integers of 32 bits or with a sign", signed)
    yield OddFile("deep/int32.tiff", "32-bit integers", "bad: integers of 32 bits", written(lambda: tiff16(sixteen, signed=True)))
    for name, levels, outcome in (
        ("float", [0, 1 / 3, 2 / 3, 1], GREYS),
        ("float-of-255", [0, 85, 170, 255], "bad: floats from 0 to 255"),
        ("float-negative", [-1, 0, 0, 1], "bad: floats from -1 to 1"),
        ("float-nan", [np.nan, 0, 0, 1], "bad: floats from nan to nan"),
    ):
        picture = Image.fromarray(blocks(levels).astype(np.float32))  # type: ignore[arg-type]
        yield OddFile(f"deep/{name}.tiff", f"32-bit floats: {name}", outcome, saved(picture.copy, "TIFF"))
    for name, values, outcome in (
        ("float16", blocks([0, 1, 0, 1]).astype("<f2"), "bad: a TIFF with 1 channel of floats of 16 bits, which Pillow cannot"),
        ("float64", blocks([0, 1, 0, 1]).astype("<f8"), "bad: a TIFF with 1 channel of floats of 64 bits, which Pillow cannot"),
        ("colour-floats", np.zeros((9, 9, 3), "<f4"), "bad: a TIFF with 3 channels of floats of 32 bits, which Pillow cannot"),
    ):
        yield OddFile(f"deep/{name}.tiff", f"TIFF of floats: {name}", outcome, written(lambda values=values: tiff_of(values)))  # type: ignore[misc]
    yield OddFile("deep/grey2.png", "2-bit grey PNG", GREYS, written(png2))
    yield OddFile("deep/one-bit.png", "1-bit PNG", "0 255 / 255 0", saved(bits, "PNG"))
    yield OddFile(
        "deep/one-bit.tiff",
        "1-bit TIFF, group 4",
        "0 255 / 255 0",
        saved(bits, "TIFF", compression="group4"),
    )


def _alphas() -> Iterator[OddFile]:
    yield OddFile("alpha/drawing.png", "black on a clear ground, RGBA", "black white / white white", saved(drawing, "PNG"))
    yield OddFile(
        "alpha/half.png",
        "RGBA, right half half-transparent",
        "red #80ff80 / blue white",
        saved(lambda: with_alpha(255, 127, 255, 127), "PNG"),
        within=1,
    )
    for format, ending, options in (
        ("PNG", "png", {}), ("WEBP", "webp", {"lossless": True}), ("TIFF", "tiff", {}), ("TGA", "tga", {}),
        ("JPEG2000", "jp2", {}), ("DDS", "dds", {}), ("ICO", "ico", {"sizes": [(SIDE, SIDE)]}), ("QOI", "qoi", {}),
    ):  # fmt: skip
        make = saved(lambda: with_alpha(255, 0, 255, 0), format, **options)
        yield OddFile(f"alpha/rgba.{ending}", f"{format}, right half clear with colour under it", CLEAR_RIGHT, make)
    yield OddFile(
        "alpha/rgba.avif",
        "AVIF, right half clear",
        CLEAR_RIGHT,
        saved(lambda: with_alpha(255, 0, 255, 0), "AVIF", quality=100),
        within=6,
    )
    yield OddFile("alpha/grey.png", "LA, left half clear", "white 85 / white 255", saved(grey_with_alpha, "PNG"))
    yield OddFile("alpha/palette.png", "palette, one colour clear", CLEAR_RIGHT, written(lambda: palette(clear=1)))
    yield OddFile("alpha/palette.gif", "GIF, one colour clear", CLEAR_RIGHT, saved(lambda: opened(palette(clear=1)), "GIF"))
    yield OddFile(
        "alpha/key8.png", "RGB with a transparent colour", "red white / blue white", saved(scene, "PNG", transparency=(0, 255, 0))
    )
    key = struct.pack(">H", 1)
    yield OddFile("alpha/key2.png", "2-bit grey, level 1 clear", "0 255 / 170 255", written(lambda: png2(tRNS=key)))
    key16 = struct.pack(">H", 21845)
    yield OddFile(
        "alpha/key16.png",
        "16-bit grey, one level clear",
        "0 255 / 170 255",
        written(lambda: png16([0, 21845, 43690, 65535], tRNS=key16)),
    )
    yield OddFile(
        "alpha/all-clear.png", "wholly clear", "white white / white white", saved(lambda: with_alpha(0, 0, 0, 0), "PNG")
    )


def _orientations() -> Iterator[OddFile]:
    for format, ending, within in (("JPEG", "jpg", 6), ("PNG", "png", 0), ("WEBP", "webp", 0), ("TIFF", "tiff", 0)):
        for number in range(2, 9):
            name = f"turned/{number}.{ending}"
            yield OddFile(name, f"{format}, EXIF orientation {number}", SCENE, turned(number, format), within=within)
    nonsense = Image.Exif()
    nonsense[0x0112] = 77
    yield OddFile("turned/77.png", "EXIF orientation 77", SCENE, saved(scene, "PNG", exif=nonsense))
    yield OddFile(
        "turned/damaged.png",
        "damaged EXIF",
        SCENE,
        written(lambda: encoded(scene(), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")),
    )


def _formats() -> Iterator[OddFile]:
    yield OddFile("kinds/no-ending", "JPEG without an ending", SCENE, JPEG, within=6)
    yield OddFile("kinds/x.jpg_large", "JPEG with an ending of its own", SCENE, JPEG, within=6)
    yield OddFile("kinds/photo.JPG", "ending in capitals", SCENE, JPEG, within=6)
    yield OddFile("kinds/really-a-jpeg.png", "wrong ending", SCENE, JPEG, within=6)
    yield OddFile("kinds/really-a-png.txt", "PNG called .txt", SCENE, saved(scene, "PNG"))
    yield OddFile("kinds/really-a-bmp.tga", "BMP called .tga", SCENE, saved(scene, "BMP"))
    yield OddFile("kinds/cmyk.jpg", "CMYK JPEG", SCENE, saved(lambda: scene("CMYK"), "JPEG", quality=95), within=8)
    yield OddFile("kinds/cmyk.tiff", "CMYK TIFF", SCENE, saved(lambda: scene("CMYK"), "TIFF"))
    yield OddFile("kinds/lab.tiff", "LAB TIFF", SCENE, saved(lab, "TIFF"), within=24)
    yield OddFile("kinds/ycbcr.tiff", "YCbCr TIFF", SCENE, saved(lambda: scene("YCbCr"), "TIFF"), within=3)
    yield OddFile("kinds/grey.jpg", "grey JPEG", "85 85 / 85 85", grey_jpeg(SIDE, SIDE), within=1)
    yield OddFile(
        "kinds/progressive.jpg", "progressive JPEG", SCENE, saved(scene, "JPEG", progressive=True, quality=95), within=8
    )
    for format, ending in (
        ("BMP", "bmp"), ("PCX", "pcx"), ("TGA", "tga"), ("SGI", "sgi"), ("PPM", "ppm"), ("ICNS", "icns"), ("DIB", "dib"),
        ("JPEG2000", "j2k"),
    ):  # fmt: skip
        yield OddFile(f"kinds/scene.{ending}", format, SCENE, saved(scene, format))
    for format in ("XBM", "MSP"):
        yield OddFile(f"kinds/scene.{format.lower()}", format, "0 255 / 255 0", saved(bits, format))
    yield OddFile("kinds/animation.gif", "GIF of two frames: the first", SCENE, animation("GIF"))
    yield OddFile("kinds/animation.png", "PNG of two frames: the first", SCENE, animation("PNG"))
    yield OddFile("kinds/animation.webp", "WebP of two frames: the first", SCENE, animation("WEBP"))
    yield OddFile(
        "kinds/pages.tiff", "TIFF of two pages: the first", SCENE, saved(scene, "TIFF", save_all=True, append_images=[drawing()])
    )
    for width, height in ((1, 1), (2, 2), (1, 500), (500, 1), (3, 2000)):
        grey = saved(lambda sides=(width, height): Image.new("L", sides, 85), "PNG")  # type: ignore[misc]
        yield OddFile(f"sides/{width}x{height}.png", f"{width}×{height} pixels", "85 85 / 85 85", grey)
    yield OddFile("sides/90-megapixels.jpg", "9,500×9,500 pixels", "85 85 / 85 85", grey_jpeg(9500, 9500), within=1)
    for name, what in (
        ("ä ö 猫 🐈.png", "unicode name"), ("e\u0301.png", "decomposed accent"), ("n" * 240 + ".png", "long name"),
        ("two\nlines.png", "a line break in the name"), ("-rf.png", "a name like an option"), ("a..b.png", "two dots"),
        (os.fsdecode(b"caf\xe9.png"), "a name that is not UTF-8"),
    ):  # fmt: skip
        yield OddFile(f"names/{name}", what, SCENE, saved(scene, "PNG"))
    for folder in ("a", "b"):
        yield OddFile(f"names/{folder}/same.png", "one name in two folders", SCENE, saved(scene, "PNG"))


def _broken() -> Iterator[OddFile]:
    yield OddFile("broken/cut.jpg", "JPEG cut in the middle", "bad: ", written(lambda: encoded(noise(), "JPEG")[:2000]))
    yield OddFile(
        "broken/cut-without-ending", "cut JPEG without an ending", "bad: ", written(lambda: encoded(noise(), "JPEG")[:2000])
    )
    yield OddFile("broken/cut.png", "PNG cut in the middle", "bad: ", written(lambda: encoded(noise(), "PNG")[:2000]))
    yield OddFile("broken/cut.webp", "WebP cut in the middle", "bad: ", written(lambda: encoded(noise(), "WEBP")[:900]))
    yield OddFile("broken/cut.tiff", "TIFF cut in the middle", "bad: ", written(lambda: encoded(noise(), "TIFF")[:900]))
    yield OddFile(
        "broken/cut.avif",
        "AVIF cut in the middle",
        "bad: a damaged HEIC or AVIF file",
        written(lambda: encoded(noise(), "AVIF")[:900]),
    )
    yield OddFile("broken/cut.gif", "GIF cut in its header", "bad: ", written(lambda: encoded(scene(), "GIF")[:9]))
    yield OddFile("broken/empty.png", "no bytes", "bad: an empty file", written(bytes))
    yield OddFile("broken/zeros.jpg", "zeros", "bad: named like an image, but not one", written(lambda: bytes(5000)))
    yield OddFile(
        "broken/page.jpg", "an error page saved as .jpg", "bad: named like an image", written(lambda: b"<html>404</html>")
    )
    yield OddFile("broken/checksum.png", "PNG with a wrong checksum", "bad: ", written(wrong_checksum))
    yield OddFile("broken/bomb.png", "PNG that claims 10,000 megapixels", "bad: more than 250,000,000 pixels", written(bomb))
    yield OddFile("broken/bomb-without-ending", "the same without an ending", "bad: more than 250,000,000", written(bomb))
    yield OddFile(
        "broken/thin.png",
        "1×400,000 pixels",
        "bad: 1×400000 would become 32×12800000",
        saved(lambda: Image.new("1", (1, 400_000)), "PNG"),
    )
    yield OddFile("broken/no-sides.gif", "0×0 pixels", "bad: ", written(lambda: b"GIF89a" + bytes(7) + b"\x3b"))


def _skipped() -> Iterator[OddFile]:
    eps = "skipped: EPS, which is not made of pixels and is never run"
    yield OddFile("others/program.eps", "PostScript that never ends", eps, endless_program)
    yield OddFile("others/program.png", "the same called .png", eps, endless_program)
    yield OddFile("others/program", "the same without an ending", eps, endless_program)
    wmf = "skipped: WMF, which is not made of pixels and is never run"
    yield OddFile("others/drawing.wmf", "Windows metafile", wmf, written(lambda: b"\xd7\xcd\xc6\x9a" + bytes(40)))
    yield OddFile("others/drawing.emf", "enhanced metafile", wmf, written(lambda: b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(90)))
    for name, what, content in (
        ("notes.txt", "text", b"hello"), ("BMW.txt", "text that begins as a BMP", b"BMW is a make of cars"),
        ("P1.md", "text that begins as a PBM", b"P1 planning"), ("header.h", "a C header", b"#define a_width 5\n"),
        ("drawing.svg", "SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), ("nothing", "no bytes and no ending", b""),
        ("Thumbs.db", "a system's thumbnails", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)),
        ("film.mp4", "a film", b"\0\0\0\x18ftypmp42" + bytes(64)), ("code.py", "a program", b"raise SystemExit\n"),
        ("pickle.pkl", "a pickle", b"\x80\x04cos\nsystem\n(S'true'\ntR."), ("inner.zip", "an archive", b"PK\x05\x06" + bytes(18)),
    ):  # fmt: skip
        yield OddFile(f"others/{name}", what, "skipped: not an image", written(lambda content=content: content))  # type: ignore[misc]
    yield OddFile("others/paper.pdf", "PDF", "skipped: PDF", written(lambda: b"%PDF-1.4 ..."))
    yield OddFile("others/telescope.fits", "FITS", "skipped: FITS, whose numbers do not say which one is white", written(fits))
    raw = written(lambda: tiff_of(np.zeros((9, 9, 3), np.uint8), subfile_type=1))
    for ending, what in (("nef", "a raw photo of a camera"), ("tiff", "the same called .tiff")):
        yield OddFile(f"others/raw.{ending}", what, "skipped: a raw photo, of which only its thumbnail would be read", raw)
    yield OddFile("others/pipe.png", "a named pipe", "skipped: not a regular file", os.mkfifo)
    yield OddFile("others/socket.png", "a socket", "skipped: not a regular file", bound_socket)
    yield OddFile(
        "others/device.png",
        "a link to an endless device",
        "skipped: not a regular file",
        lambda path: path.symlink_to("/dev/zero"),
    )
    yield OddFile(
        "others/lost.png", "a link to nothing", "skipped: a link that leads nowhere", lambda path: path.symlink_to("gone.png")
    )
    for folder in ("@eaDir", "__MACOSX", "lost+found"):
        outcome = "skipped: a folder that a system made for itself"
        yield OddFile(f"others/{folder}/thumbnail.png", f"in the folder {folder}", outcome, saved(scene, "PNG"))


JPEG = saved(scene, "JPEG", quality=95, subsampling=0)
FILES = {file.name: file for file in _files()}


def make_corpus(folder: Path) -> None:
    """Write all files below a folder."""
    for file in FILES.values():
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        file.make(path)


def table() -> str:
    """Return the rows as Markdown, between the marks."""
    lines = ["| file | what it is | outcome |", "|---|---|---|"]
    for file in FILES.values():
        name = os.fsencode(file.name.partition("/")[2]).decode("utf-8", "backslashreplace")
        name = name.replace("\n", "\\n").replace("n" * 240, "n…n")
        about = f" (±{file.within})" if file.within else ""
        outcome = file.outcome.removesuffix(": ") + about
        lines.append(f"| `{name}` | {file.what} | {outcome} |")
    return TABLE.marked(lines)


def with_table(document: str) -> str:
    """Return the document with the current table."""
    return TABLE.put(table(), document)


if __name__ == "__main__":
    TABLE.write(table())
