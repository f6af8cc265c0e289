"""Images at several angles: which is which, that they are sharp, and that the data set is known by its upright images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharingan_jax.config.load import load_config
from sharingan_jax.data.emblems.draw import draw_emblem
from sharingan_jax.data.sources.load import load_dataset_from_config, load_split_from_config
from sharingan_jax.data.turned import TurnedDataset, turned


def _data(**changes: Any) -> Any:
    return load_config("smoke", {f"data.{key}": value for key, value in changes.items()}).data


@pytest.fixture(scope="module")
def dataset() -> Any:
    """The emblems at four angles, with mirror images, 20 held out."""
    return load_dataset_from_config(_data(turns=4, mirrors=True, holdout=0.2))


def test_the_first_images_are_the_upright_ones(dataset: Any) -> None:
    upright = load_split_from_config(_data(holdout=0.2)).train
    assert isinstance(dataset, TurnedDataset)
    assert dataset.count == 8 * upright.count
    assert dataset.gather(range(dataset.count)).shape == (dataset.count, 32, 32, 3)
    np.testing.assert_array_equal(dataset.preview(upright.count), upright.preview(upright.count))
    assert (dataset.digest, dataset.names, dataset.digests) == (upright.digest, upright.names, upright.digests)
    assert dataset.held_out_digests == upright.held_out_digests
    np.testing.assert_array_equal(dataset.labels, upright.labels)


def test_a_quarter_turn_turns_and_a_mirror_image_mirrors(dataset: Any) -> None:
    n = dataset.count // 8
    large = draw_emblem(int(dataset.names[0][:3]), size=64).astype(float)
    reduced = large.reshape(32, 2, 32, 2, 3).mean((1, 3))
    for variant, expected in ((1, np.rot90(reduced)), (4, reduced[:, ::-1]), (6, np.rot90(reduced[:, ::-1], 2))):
        assert np.abs(dataset.gather([variant * n])[0] - expected).max() <= 1, variant


def test_images_near_the_bound_of_pixels_are_turned_like_others(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (50 + 4 * number, 90), "red").save(tmp_path / f"{number}.png")
    data = _data(source="folder", path=str(tmp_path), size=64, turns=4, on_bad="skip", max_pixels=64 * 100)
    found = load_dataset_from_config(data)  # Two would be too long at this size, and all at twice the size.
    assert (found.names, [*found.bad]) == (("2.png", "3.png"), ["0.png", "1.png"])
    assert found.gather(range(8)).shape == (8, 64, 64, 3)


def test_white_covers_the_corners_of_a_turned_image() -> None:
    black = np.zeros((64, 64, 1), np.uint8)
    image = turned(black, 45, False)
    assert image.shape == (32, 32, 1)
    assert image[0, 0, 0] == 255
    assert image[16, 16, 0] == 0


def test_without_turns_nothing_is_turned() -> None:
    assert not isinstance(load_dataset_from_config(_data()), TurnedDataset)


def test_turned_images_keep_their_class(dataset: Any) -> None:
    assert dataset.upright.labels is not None
    np.testing.assert_array_equal(dataset.gather_labels(range(dataset.count)), np.tile(dataset.upright.labels, 8))
