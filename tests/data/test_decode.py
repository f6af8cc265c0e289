"""Decoding, resizing and cropping, byte for byte as the reference does it."""

from pathlib import Path

import numpy as np
import pytest
from faults import FAULTS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sharingan_jax.data.decode import fit_image, load_image
from sharingan_jax.errors import UserError


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
    np.testing.assert_array_equal(fit_image(image, size=size), _reference(image, size))


def test_the_hundred_images_equal_the_reference_formula(sharingan_folder: Path) -> None:
    for path in sharingan_folder.iterdir():
        with Image.open(path) as image:
            np.testing.assert_array_equal(load_image(path, size=64), _reference(image, 64))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16"])
def test_every_mode_becomes_colour_or_grey(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.tiff"
    image = Image.fromarray(np.full((40, 40), 300, np.uint16)) if mode == "I;16" else _noise(40, 40).convert(mode)
    image.save(path)
    assert load_image(path, size=32).shape == (32, 32, 3)
    assert load_image(path, size=32, channels=1).shape == (32, 32, 1)


def test_the_error_for_a_truncated_file_names_it_with_the_reason(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jpg", tmp_path / "cut.jpg"
    _noise(90, 90).save(whole)
    cut.write_bytes(whole.read_bytes()[:1500])
    with pytest.raises(
        UserError, match=r"cut\.jpg: expected an image that Pillow can read, got: .*truncated.*[^.]\. Repair the file"
    ):
        load_image(cut, size=64)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_the_error_for_a_file_that_only_looks_like_an_image_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.png: expected an image that Pillow can read, got: .+[^.]\. Repair the file"):
        load_image(path, size=64)


def test_an_image_of_absurd_size_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.png"
    _noise(60, 60).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match=r"huge\.png: expected an image of at most 1000 pixels, got: Image size \(3600") as error:
        load_image(path, size=32)
    assert FAULTS["bomb"].is_shown_in(str(error.value))


@pytest.mark.parametrize("sides", [(1, 400_000), (400_000, 1), (1, 60_000_000)])
def test_an_image_that_would_become_too_large_is_refused_before_it_is_resized(tmp_path: Path, sides: tuple[int, int]) -> None:
    path = tmp_path / "thin.png"
    Image.new("L", sides).save(path)
    message = rf"thin\.png: expected an image of at most .*{sides[0]}×{sides[1]} would become"
    with pytest.raises(UserError, match=message) as error:
        load_image(path, size=64)
    assert FAULTS["bomb"].is_shown_in(str(error.value))
