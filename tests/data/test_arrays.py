"""Images from .npy and .npz files: the same as through an image file, or one line that says what is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharingan_jax.data.decode import Decoding, fit_image
from sharingan_jax.data.sources.load import load_dataset
from sharingan_jax.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 40, 48, 3), np.uint8)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_an_array_becomes_what_an_image_file_becomes(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, IMAGES)
    else:
        np.savez_compressed(path, images=IMAGES)
    dataset = load_dataset(str(path), size=32)
    expected = np.stack([fit_image(Image.fromarray(image), Decoding(size=32)) for image in IMAGES])
    np.testing.assert_array_equal(dataset.preview(5), expected)
    assert dataset.names == ("000000", "000001", "000002", "000003", "000004")
    assert (dataset.labels, dataset.kind) == (None, f"a {path.suffix} array")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 257, 32896, 65535], np.uint16), [0, 1, 128, 255]),
        (np.array([0, 257, 32896, 65535], ">u2"), [0, 1, 128, 255]),
        (np.array([0, 0.25, 0.5, 1], np.float32), [0, 64, 128, 255]),
        (np.array([0, 0.25, 0.5, 1], np.float16), [0, 64, 128, 255]),
        (np.array([0, 0.25, 0.5, 1], np.float64), [0, 64, 128, 255]),
        (np.array([0, 0.25, 0.5, 1], ">f4"), [0, 64, 128, 255]),
    ],
    ids=lambda value: getattr(value, "dtype", None),
)
def test_numbers_are_scaled_by_their_type(values: np.ndarray, expected: list[int], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.broadcast_to(values[:, None, None], (4, 32, 32)))
    images = load_dataset(tmp_path / "a.npy", size=32, channels=1).preview(4)
    assert images.reshape(4, -1).min(1).tolist() == images.reshape(4, -1).max(1).tolist() == expected


def test_channels_are_grey_colour_or_transparency(tmp_path: Path) -> None:
    clear = np.zeros((2, 32, 32, 4), np.uint8)
    for shape, images in (("grey", IMAGES[..., :1]), ("clear", clear)):
        np.save(tmp_path / f"{shape}.npy", images)
    grey = load_dataset(tmp_path / "grey.npy", size=32).preview(1)
    assert (grey[..., :1] == grey).all()
    assert (load_dataset(tmp_path / "clear.npy", size=32).preview(2) == 255).all()
    assert (load_dataset(tmp_path / "clear.npy", size=32, background="#010203").preview(2) == [1, 2, 3]).all()


def test_labels_and_their_names_come_along(tmp_path: Path) -> None:
    path, labels = tmp_path / "a.npz", np.array([[0], [2], [1], [0], [2]], np.uint8)
    np.savez(path, images=IMAGES, labels=labels)
    dataset = load_dataset(path, size=32)
    assert dataset.labels is not None
    assert (dataset.labels.tolist(), dataset.labels.dtype, dataset.classes) == ([0, 2, 1, 0, 2], np.int64, ("0", "1", "2"))
    np.savez(path, images=IMAGES, labels=labels, classes=["cat", "dog", "猫"])
    assert load_dataset(path, size=32).classes == ("cat", "dog", "猫")
    np.savez(path, x=IMAGES, y=labels)
    dataset = load_dataset(path, size=32)
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 2, 1, 0, 2]
    assert dataset.remarks == ("3 classes, by the array y: 0 (2), 1 (1), 2 (2)",)
    np.savez(path, y=IMAGES)
    assert load_dataset(path, size=32).labels is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": IMAGES.transpose(0, 3, 1, 2).copy()},
            r"got uint8 \[5, 3, 40, 48\]\. Save images\.transpose\(0, 2, 3, 1\)\.$",
        ),
        ({"images": IMAGES[0, 0]}, r"expected images \[N, H, W\] or \[N, H, W, C\] with C = 1, 3 or 4, got uint8 \[48, 3\]"),
        (
            {"images": IMAGES[0]},
            r"got uint8 \[40, 48, 3\], which may be one image \[H, W, C\] or 40 grey images 3 pixels wide\. Save images\[None\]",
        ),
        ({"images": IMAGES[:0]}, r"got uint8 \[0, 40, 48, 3\]"),
        ({"images": IMAGES.astype(np.int64)}, r"expected uint8, uint16 or floats from 0 to 1, got int64"),
        (
            {"images": IMAGES / 127.5 - 1},
            r"image 0 cannot be read: floats from -1 to 1; only floats from 0 \(black\) to 1 \(white\)",
        ),
        ({"images": np.full((2, 8, 8), np.nan)}, r"image 0 cannot be read: floats from nan to nan"),
        ({"images": np.asfortranarray(IMAGES)}, r"expected an array in C order, got Fortran order\. Save np\.ascontiguousarray"),
        ({"images": np.array([{}, {}])}, r"it holds Python objects, which are never loaded\. Save it again\.$"),
        ({"x": IMAGES, "z": IMAGES}, r"expected an array called images, got x, z\. Save it under that name\.$"),
        (
            {"images": IMAGES, "labels": np.arange(4)},
            r"expected labels of whole numbers \[5\], one for each image, got int64 \[4\]",
        ),
        ({"images": IMAGES, "labels": np.ones(5)}, r"expected labels of whole numbers \[5\].*got float64 \[5\]"),
        ({"images": IMAGES, "labels": np.arange(5) - 1}, r"expected labels from 0 to 65535, got -1 to 3"),
        ({"images": IMAGES, "labels": np.arange(5), "classes": ["a"]}, r"expected classes of at least 5 names"),
    ],
)
def test_what_is_no_array_of_images_is_one_line(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=rf"^data\.path=.*a\.npz: .*{message}"):
        load_dataset(tmp_path / "a.npz", size=32)


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "claims.npy").write_bytes(content.replace(b"(5, 40", b"(9999999, 40").replace(b"      \n", b"\n", 1))
    with pytest.raises(UserError, match=r"it claims 57,599,994,240 bytes of shape"):
        load_dataset(tmp_path / "claims.npy")
    (tmp_path / "header.npy").write_bytes(b"\x93NUMPY\1\0\x20\0" + b"{'descr': (,".ljust(32))
    with pytest.raises(UserError, match=r"header\.npy: expected an array of images, got: its header is damaged: "):
        load_dataset(tmp_path / "header.npy")
    (tmp_path / "cut.npy").write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"it ends in image 4 of 5\. Save it again\.$"):
        load_dataset(tmp_path / "cut.npy")
