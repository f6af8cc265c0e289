"""Each of the original's hundred images becomes the same bytes as with the reference's own transforms."""

from pathlib import Path

import numpy as np
import pytest
from decoded import load_image
from PIL import Image

from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.sources.folder import folder_dataset
from sharingan_jax.gan.step import scale_images


def _resized_and_cropped(path: Path, size: int) -> np.ndarray:
    """Resize the shorter side to `size` with Pillow alone, then crop the centre. Written from the reference."""
    image = Image.open(path).convert("RGB")
    short, long = min(image.size), max(image.size)
    sides = {short: size, long: int(size * long / short)}
    resized = image.resize((sides[image.width], sides[image.height]), Image.Resampling.BILINEAR)
    left, top = int(round((resized.width - size) / 2)), int(round((resized.height - size) / 2))
    return np.asarray(resized)[top : top + size, left : left + size]


@pytest.mark.parametrize("size", [32, 64, 128])
def test_all_hundred_images_are_byte_equal_to_the_reference(sharingan_folder: Path, size: int) -> None:
    dataset = folder_dataset(sharingan_folder, Decoding(size=size))
    assert dataset.count == 100
    for name, image in zip(dataset.names, dataset.preview(100), strict=True):
        np.testing.assert_array_equal(image, _resized_and_cropped(sharingan_folder / name, size), err_msg=name)


def test_all_hundred_images_are_byte_equal_to_torchvisions_transforms(sharingan_folder: Path) -> None:
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed", exc_type=Exception)
    sequence = transforms.Compose([
        transforms.Resize(64), transforms.CenterCrop(64), transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3),
    ])  # fmt: skip
    for path in sorted(sharingan_folder.iterdir()):
        theirs = sequence(Image.open(path).convert("RGB")).numpy().transpose(1, 2, 0)
        ours = load_image(path, Decoding())
        np.testing.assert_array_equal(ours, np.round((theirs + 1) * 127.5), err_msg=path.name)
        # (x / 255 − 0.5) / 0.5 and x / 127.5 − 1 are the same number, rounded at different places.
        np.testing.assert_allclose(scale_images(ours), theirs, atol=1.2e-7, err_msg=path.name)
