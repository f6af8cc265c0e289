"""Decoding, resizing and cropping, byte for byte as the reference does it."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from decoded import load_image
from faults import FAULTS
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_files import encoded
from PIL import ExifTags, Image

from sharingan_jax.config.load import load_config
from sharingan_jax.data import formats
from sharingan_jax.data.decode import Decoding, fit_image
from sharingan_jax.data.formats import BrokenImageError, NotAnImageError
from sharingan_jax.data.sources.files import ReadFile, read_file


def _reference(image: Image.Image, size: int) -> np.ndarray:
    """torchvision's Resize(size) and CenterCrop(size) on RGB, written from their source."""
    image = image.convert("RGB")
    width, height = image.size
    short, long = min(width, height), max(width, height)
    new_short, new_long = size, int(size * long / short)
    new_width, new_height = (new_short, new_long) if width <= height else (new_long, new_short)
    image = image.resize((new_width, new_height), Image.BILINEAR)
    top = int(round((new_height - size) / 2.0))
    left = int(round((new_width - size) / 2.0))
    return np.asarray(image)[top : top + size, left : left + size]


def _noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@settings(max_examples=60, deadline=None)
@given(width=st.integers(8, 200), height=st.integers(8, 200), size=st.sampled_from([32, 64, 128]))
def test_resizing_and_cropping_equal_the_reference_formula(width: int, height: int, size: int) -> None:
    image = _noise(width, height)
    np.testing.assert_array_equal(fit_image(image, Decoding(size=size)), _reference(image, size))


def test_the_hundred_images_equal_the_reference_formula(sharingan_folder: Path) -> None:
    for path in sharingan_folder.iterdir():
        with Image.open(path) as image:
            np.testing.assert_array_equal(load_image(path, Decoding()), _reference(image, 64))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16"])
def test_every_mode_becomes_colour_or_grey(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.tiff"
    image = Image.fromarray(np.full((40, 40), 300, np.uint16)) if mode == "I;16" else _noise(40, 40).convert(mode)
    image.save(path)
    assert load_image(path, Decoding(size=32)).shape == (32, 32, 3)
    assert load_image(path, Decoding(size=32, channels=1)).shape == (32, 32, 1)


def test_the_error_for_a_truncated_file_gives_the_reason(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jpg", tmp_path / "cut.jpg"
    _noise(90, 90).save(whole)
    cut.write_bytes(whole.read_bytes()[:1500])
    with pytest.raises(BrokenImageError, match=r"truncated.*[^.]$"):
        load_image(cut, Decoding())


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_file_that_only_looks_like_an_image_is_refused_with_the_reason(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises((BrokenImageError, NotAnImageError), match=r".+[^.]$"):
        load_image(path, Decoding())


def test_an_image_of_absurd_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    _noise(60, 60).save(path)
    before = Image.MAX_IMAGE_PIXELS
    for limit in (1000, 3599):  # Pillow has a warning for some pixels too many, and an error for twice as many.
        with pytest.raises(BrokenImageError, match=rf"^more than {limit:,} pixels; data\.max_pixels") as error:
            load_image(path, Decoding(size=32, max_pixels=limit))
    assert load_image(path, Decoding(size=32, max_pixels=3600)).shape == (32, 32, 3)
    assert before == Image.MAX_IMAGE_PIXELS
    assert FAULTS["bomb"].is_shown_in(str(error.value))


@pytest.mark.parametrize("sides", [(1, 400_000), (400_000, 1), (1, 60_000_000)])
def test_an_image_that_would_become_too_large_is_refused_before_it_is_resized(tmp_path: Path, sides: tuple[int, int]) -> None:
    path = tmp_path / "thin.png"
    Image.new("L", sides).save(path)
    message = rf"{sides[0]}×{sides[1]} would become .* more than 250,000,000 pixels; data\.max_pixels"
    with pytest.raises(BrokenImageError, match=message) as error:
        load_image(path, Decoding())
    assert FAULTS["bomb"].is_shown_in(str(error.value))


def _bar(width: int, height: int) -> Image.Image:
    """Red, lime and blue in three equal parts along the longer side."""
    image = Image.new("RGB", (width, height))
    for number, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        along = number * max(width, height) // 3
        image.paste(colour, (along, 0, width, height) if width > height else (0, along, width, height))
    return image


@pytest.mark.parametrize("is_wide", [True, False])
def test_fit_decides_how_an_image_becomes_square(is_wide: bool) -> None:
    image = _bar(96, 32) if is_wide else _bar(32, 96)

    def middle(**changes: str) -> list[list[int]]:
        pixels = fit_image(image, Decoding(size=32, filter="nearest", **changes))
        line = pixels[16] if is_wide else pixels[:, 16]
        return [line[0].tolist(), line[16].tolist(), line[-1].tolist()]

    red, lime, blue = [255, 0, 0], [0, 255, 0], [0, 0, 255]
    assert middle() == [lime, lime, lime]
    assert middle(fit="stretch") == [red, lime, blue]
    assert middle(fit="pad") == [red, lime, blue]
    padded = fit_image(image, Decoding(size=32, fit="pad", background="#010203"))
    padded = padded if is_wide else padded.transpose(1, 0, 2)
    outside = np.flatnonzero((padded == [1, 2, 3]).all((1, 2)))
    assert outside.tolist() == [*range(10), *range(21, 32)]  # The 11 rows of the bar are in the middle.


@pytest.mark.parametrize("filter", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_filter_is_pillows_of_that_name(filter: str) -> None:
    image = _noise(70, 70)
    expected = np.asarray(image.resize((32, 32), Image.Resampling[filter.upper()]))
    np.testing.assert_array_equal(fit_image(image, Decoding(size=32, filter=filter)), expected)


def test_the_background_shows_through_by_the_share_of_transparency(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 40), (200, 100, 0, 51)).save(tmp_path / "a.png")  # A fifth of it is opaque.
    for background, expected in (("white", [244, 224, 204]), ("black", [40, 20, 0]), ("#0000ff", [40, 20, 204])):
        pixels = load_image(tmp_path / "a.png", Decoding(size=32, background=background))
        assert np.abs(pixels.astype(int) - expected).max() <= 1
    grey = load_image(tmp_path / "a.png", Decoding(size=32, channels=1))
    assert abs(int(grey[0, 0, 0]) - round(0.299 * 244 + 0.587 * 224 + 0.114 * 204)) <= 1


def test_four_channels_keep_transparency_and_hide_what_nobody_sees(tmp_path: Path) -> None:
    image = Image.new("RGBA", (40, 40), (200, 100, 0, 0))
    image.paste((10, 20, 30, 255), (0, 0, 40, 20))
    image.save(tmp_path / "a.png")
    pixels = load_image(tmp_path / "a.png", Decoding(size=40, channels=4))
    assert pixels.shape == (40, 40, 4)
    assert pixels[0, 0].tolist() == [10, 20, 30, 255]
    assert pixels[-1, 0].tolist() == [255, 255, 255, 0]
    assert fit_image(_noise(40, 40), Decoding(size=32, channels=4))[..., 3].min() == 255
    padded = fit_image(image.crop((0, 0, 40, 20)), Decoding(size=40, channels=4, fit="pad"))
    assert padded[0, 0].tolist() == [255, 255, 255, 0]


def test_exif_ignore_is_the_references_way(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = _bar(96, 96)
    image.save(tmp_path / "a.png", exif=exif)
    ignored = load_image(tmp_path / "a.png", Decoding(size=32, exif="ignore"))
    np.testing.assert_array_equal(ignored, _reference(image, 32))
    np.testing.assert_array_equal(load_image(tmp_path / "a.png", Decoding(size=32)), np.rot90(ignored, -1))


def test_the_defaults_are_those_of_the_configuration() -> None:
    data = load_config("default").data
    assert {name: getattr(data, name) for name in Decoding.__dataclass_fields__} == asdict(Decoding())


@pytest.mark.parametrize("orientation", [1, 6])
def test_pillow_heif_is_used_if_it_is_installed(orientation: int, tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    _bar(96, 96).save(tmp_path / "phone.heic", quality=95, exif=exif)
    (tmp_path / "phone.heic").rename(tmp_path / "phone")
    red = load_image(tmp_path / "phone", Decoding(size=32))[4, 16]  # In HEIC the file's own turn counts, never EXIF's.
    assert np.abs(red.astype(int) - [255, 0, 0]).max() < 16


def _read(path: Path, content: bytes) -> ReadFile:
    path.write_bytes(content)
    with path.open("rb") as file:
        return read_file(path.name, file, size=len(content), decoding=Decoding(size=32))


@pytest.mark.parametrize(
    ("format", "reason"),
    [("HEIF", "HEIC, which needs another package: pip install"), ("AVIF", "AVIF, which this Pillow cannot read; Pillow 11.3")],
)
def test_a_damaged_photo_is_bad_and_one_that_cannot_be_read_here_is_skipped(
    format: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    content = encoded(_noise(96, 96), format)
    for name in ("photo.heic", "photo"):
        damaged = _read(tmp_path / name, content[:60])
        assert (damaged.reason, damaged.is_bad) == ("a damaged HEIC or AVIF file", True)
    openers = {name: opener for name, opener in formats._openers().items() if name != format}
    monkeypatch.setattr(formats, "_openers", lambda: openers)
    monkeypatch.setattr(formats, "_formats", lambda is_named: ("PNG",))
    monkeypatch.setattr(formats.features, "check", lambda name: False)
    unreadable = _read(tmp_path / "photo.heic", content)
    assert reason in unreadable.reason
    assert not unreadable.is_bad
