"""Decoding and fitting, byte for byte as the reference does it."""

from pathlib import Path

import numpy as np
import pytest
from faults import FAULTS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sharingan_jax.data.decode import fit_picture, load_picture
from sharingan_jax.errors import UserError


def _reference(image: Image.Image, size: int) -> np.ndarray:
    """torchvision's Resize(size) and CenterCrop(size) in their own words, on RGB."""
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
def test_fitting_equals_the_reference_formula(width: int, height: int, size: int) -> None:
    image = _noise(width, height)
    np.testing.assert_array_equal(fit_picture(image, size=size), _reference(image, size))


def test_the_hundred_pictures_come_out_as_the_reference_has_them(sharingan_folder: Path) -> None:
    for path in sharingan_folder.iterdir():
        with Image.open(path) as image:
            np.testing.assert_array_equal(load_picture(path, size=64), _reference(image, 64))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16"])
def test_every_mode_becomes_colour_or_grey(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "picture.tiff"
    image = Image.fromarray(np.full((40, 40), 300, np.uint16)) if mode == "I;16" else _noise(40, 40).convert(mode)
    image.save(path)
    assert load_picture(path, size=32).shape == (32, 32, 3)
    assert load_picture(path, size=32, channels=1).shape == (32, 32, 1)


def test_a_cut_off_file_is_named_with_the_reason(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jpg", tmp_path / "cut.jpg"
    _noise(90, 90).save(whole)
    cut.write_bytes(whole.read_bytes()[:1500])
    with pytest.raises(UserError, match=r"cut\.jpg: a broken picture: .*truncated"):
        load_picture(cut, size=64)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_only_has_the_name_of_a_picture_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.png: a broken picture"):
        load_picture(path, size=64)


def test_a_picture_of_absurd_size_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.png"
    _noise(60, 60).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match=rf"huge\.png: {FAULTS['bomb'].seen}"):
        load_picture(path, size=32)


@pytest.mark.parametrize("sides", [(1, 400_000), (400_000, 1), (1, 60_000_000)])
def test_a_picture_that_would_grow_to_an_absurd_size_is_refused_before_it_does(tmp_path: Path, sides: tuple[int, int]) -> None:
    path = tmp_path / "thin.png"
    Image.new("L", sides).save(path)
    with pytest.raises(UserError, match=rf"thin\.png: {FAULTS['bomb'].seen}.*{sides[0]}×{sides[1]} would become"):
        load_picture(path, size=64)
