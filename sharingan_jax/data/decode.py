"""Decode an image file, then resize and crop it as the reference does."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageColor, ImageFile, TiffImagePlugin

from sharingan_jax.data.dataset import Original
from sharingan_jax.data.formats import BrokenImageError, NotAnImageError, open_image, quiet_pillow
from sharingan_jax.errors import reason_of

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode for each number of channels."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to turn an image of each EXIF orientation upright."""
WHITE_IS_ZERO = 0
"""The photometric interpretation of a TIFF whose higher levels are darker."""
SHORT_SAMPLES = {"L;2": 2, "L;4": 4}
"""Pillow's raw modes of PNG files with fewer than 8 bits for a grey level: how many bits."""
HIGH_BYTES, LOW_BYTES = "RGB;16B", "RGB;16L"
"""Pillow's raw modes that take of each colour of 16 bits, written high byte first, the high byte or the low one."""
SIGNED = 2
"""The sample format of a TIFF whose integers have a sign."""


@dataclass(frozen=True)
class Decoding:
    """How an image becomes uint8 [size, size, channels]. The other settings are those of `config.data` with these names."""

    size: int = 64
    channels: int = 3
    fit: str = "crop"
    filter: str = "bilinear"
    background: str = "white"
    exif: str = "apply"
    max_pixels: int = 250_000_000

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of each image."""
        return self.size, self.size, self.channels


class Decoded(NamedTuple):
    """`pixels` is uint8 [size, size, channels]. The others say what the image was, and what had to be changed."""

    pixels: np.ndarray
    was_transparent: bool
    was_turned: bool
    original: Original


def decode_image(file: BinaryIO, name: str, decoding: Decoding) -> Decoded:
    """Decode the first frame of a seekable image file called `name`.

    Raise NotAnImageError or BrokenImageError, with the reason. Formats that would run a program are not opened.
    """
    try:
        with quiet_pillow(decoding.max_pixels), open_image(file, name) as image:
            plain, was_turned = _load_upright(image, decoding)
            transparent = plain.mode == "RGBA" and np.asarray(plain.getchannel("A")).min() < 255
            original = Original(*plain.size, image.format or "")
            return Decoded(fit_image(plain, decoding), bool(transparent), was_turned, original)
    except (NotAnImageError, BrokenImageError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        too_large = f"more than {decoding.max_pixels:,} pixels; data.max_pixels allows more"
        raise BrokenImageError(too_large) from None
    except Exception as error:  # The bytes are a stranger's, and Pillow's decoders raise many kinds of error on them.
        raise BrokenImageError(reason_of(error)) from None


def load_original(path: Path, decoding: Decoding) -> Image.Image:
    """Return the image in a file at its own size, upright, with 8 bits a channel: RGBA if it has transparency.

    Raise what `decode_image` raises.
    """
    with path.open("rb") as file, quiet_pillow(decoding.max_pixels), open_image(file, path.name) as image:
        return _load_upright(image, decoding)[0].copy()


def _load_upright(image: ImageFile.ImageFile, decoding: Decoding) -> tuple[Image.Image, bool]:
    """Decode an opened image as 8 bits a channel, RGBA if it has transparency, and turn it upright. Say whether it was turned."""
    samples, file = _raw_mode(image), image.fp
    image.load()
    if file and samples == HIGH_BYTES and isinstance(image.info.get("transparency"), tuple):
        _clear_colour(image, file)
    turned = _upright(image) if decoding.exif == "apply" else image
    return _with_alpha(_to_8_bits(turned, image), samples), turned is not image


def fit_image(image: Image.Image, decoding: Decoding) -> np.ndarray:
    """Return a decoded image of 8 bits a channel at the network's size, uint8 [size, size, channels].

    Transparent parts are laid on the background, unless the network has 4 channels. Then, by `decoding.fit`:

    - "crop", as the reference: the shorter side becomes `size`, the longer int(size · long / short), and the centre is cut out
      at offset int(round((side − size) / 2)), with Python's round. Torch: torchvision's Resize and CenterCrop;
    - "pad": the longer side becomes `size`, the shorter max(1, round(size · short / long)), in the middle of the background;
    - "stretch": both sides become `size`.

    Raise BrokenImageError if the resized image of a long, thin one would have more than `max_pixels` pixels.
    """
    size, mode = decoding.size, MODES[decoding.channels]
    background = ImageColor.getrgb(decoding.background)[:3]
    if image.has_transparency_data and decoding.channels < 4:
        image = lay_on_background(image, decoding.background)
    if image.mode == "RGBA" and decoding.channels < 4:
        image = image.convert("RGB")
    if image.mode != mode:  # `convert` copies an image that has the mode.
        image = image.convert(mode)
    resized = _resized(image.size, decoding)
    if resized[0] * resized[1] > decoding.max_pixels:
        width, height = image.size
        raise BrokenImageError(
            f"{width}×{height} would become {resized[0]}×{resized[1]} before it is cropped, more than"
            f" {decoding.max_pixels:,} pixels; data.max_pixels allows more, and data.fit=pad or stretch need not"
        )
    if resized != image.size:
        image = image.resize(resized, Image.Resampling[decoding.filter.upper()])
    if decoding.fit == "pad":
        canvas = empty_canvas((size, size), background=decoding.background, channels=decoding.channels)
        canvas.paste(image, ((size - resized[0]) // 2, (size - resized[1]) // 2))
        image = canvas
    elif resized != (size, size):
        left, top = (round((side - size) / 2) for side in resized)
        image = image.crop((left, top, left + size, top + size))
    pixels = np.array(image, np.uint8).reshape(size, size, decoding.channels)
    if decoding.channels == 4:
        pixels[pixels[..., 3] == 0, :3] = background  # A colour that nobody sees is not for the network to learn.
    return pixels


def lay_on_background(image: Image.Image, background: str) -> Image.Image:
    """Return an image with transparency laid on a colour, given by its name: RGBA, opaque."""
    over = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, ImageColor.getrgb(background)[:3])
    ground.alpha_composite(over)
    return ground


def empty_canvas(sides: tuple[int, int], *, background: str, channels: int) -> Image.Image:
    """Return an image of nothing but the background, a colour's name. With 4 channels it is transparent."""
    colour = (*ImageColor.getrgb(background)[:3], 0 if channels == 4 else 255)
    return Image.new("RGBA", sides, colour).convert(MODES[channels])


def scale_to_u8(values: np.ndarray, *, white: int = 65535) -> np.ndarray:
    """Return numbers as uint8 of the same shape: integers from 0 to `white` by round(255 · value / white), floats from 0 to 1.

    Raise BrokenImageError if a float lies outside of that range or is not finite.
    """
    if values.dtype.kind == "f":
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        if not (low >= 0.0 and high <= 1.0):
            raise BrokenImageError(f"floats from {low:g} to {high:g}; only floats from 0 (black) to 1 (white) are read")
        return np.floor(values.astype(np.float32) * 255 + 0.5).astype(np.uint8)
    clipped = np.minimum(values.astype(np.uint32), white)
    return ((clipped * 255 + white // 2) // white).astype(np.uint8)


def _resized(sides: tuple[int, int], decoding: Decoding) -> tuple[int, int]:
    (width, height), size = sides, decoding.size
    match decoding.fit:
        case "stretch":
            return size, size
        case "pad":
            longest = max(width, height)
            return max(1, round(size * width / longest)), max(1, round(size * height / longest))
    return (size, int(size * height / width)) if width <= height else (int(size * width / height), size)


def _raw_mode(image: Image.Image) -> str:
    """Return Pillow's name for the samples in the file, such as "L;2". It is known only before the image is decoded."""
    tile = getattr(image, "tile", None)
    arguments = tile[0].args if tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _upright(image: Image.Image) -> Image.Image:
    """Return the image turned as its EXIF orientation says, or itself if it has none. Pillow itself turns a TIFF."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Damaged metadata; a viewer shows the image as it is.
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _to_8_bits(image: Image.Image, opened: Image.Image) -> Image.Image:
    """Return an image of more than 8 bits a channel as 8 bits: grey levels over the format's range, floats from 0 to 1.

    16 bits a channel in colour arrive here as 8, the upper ones: so Pillow decodes them. Raise BrokenImageError for integers of
    32 bits or with a sign, which do not say which number is white.
    """
    tags = opened.tag_v2 if isinstance(opened, TiffImagePlugin.TiffImageFile) else {}
    is_long = image.mode == "I" and opened.format not in ("PPM", "PNG")  # Pillow brings these two to the range of 16 bits.
    if is_long or SIGNED in tags.get(TiffImagePlugin.SAMPLEFORMAT, ()):
        raise BrokenImageError("integers of 32 bits or with a sign, which do not say what number is white; save 8 or 16 bits")
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values, white = np.asarray(image), 65535
    if image.mode.startswith("I;16"):
        white = 2 ** int(tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]) - 1
    grey = scale_to_u8(values, white=white)
    if image.mode != "F" and tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO:
        grey = 255 - grey
    plain, key = Image.fromarray(grey), image.info.get("transparency")
    if not isinstance(key, int):  # The grey level that is transparent.
        return plain
    return Image.merge("LA", (plain, Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))))


def _clear_colour(image: Image.Image, file: IO[bytes]) -> None:
    """Make the transparent colour of a PNG with 16 bits a channel transparent in `image`, decoded from `file`.

    Only colours that equal it in all 16 bits are. Pillow keeps the high bytes, so the low ones are decoded for this.
    """
    key = np.array(image.info.pop("transparency"))
    file.seek(0)
    with Image.open(file, formats=("PNG",)) as other:
        other.tile = [tile._replace(args=LOW_BYTES) for tile in other.tile]
        is_key = (np.asarray(image) == key >> 8).all(-1) & (np.asarray(other) == key & 255).all(-1)  # [H, W]
    image.putalpha(Image.fromarray(np.where(is_key, 0, 255).astype(np.uint8)))


def _with_alpha(image: Image.Image, samples: str) -> Image.Image:
    """Return an image with transparency in any form as RGBA, and another one as it is, or as RGB if it is LAB.

    Pillow converts LAB to no other mode.

    Pillow compares a PNG's transparent colour with its own 8-bit levels, though the file counts in its own number of bits.
    """
    key = image.info.get("transparency")
    if image.mode in ("La", "RGBa"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    elif samples in SHORT_SAMPLES and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2 ** SHORT_SAMPLES[samples] - 1)
    elif image.mode == "LAB":
        image = image.convert("RGB")
    return image.convert("RGBA") if image.has_transparency_data else image
