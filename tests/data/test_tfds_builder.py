"""Our builder for tensorflow-datasets prepares a folder of images, and reading the set gives what reading the folder gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharingan_jax.data.pipeline import import_tensorflow
from sharingan_jax.data.sources.load import load_dataset
from sharingan_jax.errors import UserError


@pytest.fixture(scope="module")
def tfds() -> Any:
    import_tensorflow()
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes: odd sizes, a transparent image, one that is to be turned, and a text."""
    folder, rng = tmp_path_factory.mktemp("pets"), np.random.default_rng(0)
    for i, name in enumerate(("dog/b.png", "dog/a.png", "cat/z.png", "cat/é.png")):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40 + i, 50 - i, 4), np.uint8)).convert("RGB").save(folder / name)
    Image.fromarray(rng.integers(0, 256, (36, 44, 4), np.uint8)).save(folder / "cat" / "clear.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rng.integers(0, 256, (36, 48, 3), np.uint8)).save(folder / "dog" / "turned.png", exif=exif)
    (folder / "notes.txt").write_text("hello")
    return folder


def _prepare(tfds: Any, folder: Path, sets: Path, config: str) -> None:
    from sharingan_jax.data.sources.tfds_builder import ImageFolderLike

    builder = ImageFolderLike(config=config, data_dir=str(sets))
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(folder)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("config", "channels"), [("rgb", 3), ("rgba", 4)])
def test_the_prepared_set_holds_the_images_that_the_folder_gives(
    config: str, channels: int, tfds: Any, pets: Path, tmp_path: Path
) -> None:
    _prepare(tfds, pets, tmp_path, config)
    dataset = load_dataset(f"tfds:image_folder_like/{config}", size=32, channels=channels, data_dir=str(tmp_path))
    folder = load_dataset(pets, size=32, channels=channels)
    np.testing.assert_array_equal(dataset.preview(9), folder.preview(9))
    assert (dataset.count, dataset.classes) == (6, ("cat", "dog"))
    assert np.array_equal(dataset.labels, folder.labels)  # type: ignore[arg-type]
    assert dataset.remarks == ("2 classes, by the feature label: cat (3), dog (3)",)
    loaded = tfds.load(f"image_folder_like/{config}", data_dir=str(tmp_path), split="train")
    examples = list(tfds.as_numpy(loaded))
    assert [example["name"].decode() for example in examples] == list(folder.names)
    assert {example["image"].shape for example in examples} >= {(36, 44, channels), (48, 36, channels)}  # Their own sizes.


def test_a_set_that_is_not_prepared_yet_says_how(tfds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str, **options: Any) -> Any:  # As in a process that has not imported the builder.
        raise tfds.core.DatasetNotFoundError(name)

    monkeypatch.setattr(tfds, "builder", unknown)
    with pytest.raises(
        UserError, match=r"got an unknown name\. Prepare it first, as sharingan_jax/data/sources/tfds_builder\.py"
    ):
        load_dataset("tfds:image_folder_like/rgb", data_dir=str(tmp_path))


@pytest.mark.filterwarnings("ignore")
def test_a_folder_without_classes_has_no_labels_and_bad_files_are_listed(tfds: Any, tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (40, 40), (80 * i, 0, 0)).save(folder / f"{i}.png")
    _prepare(tfds, folder, tmp_path / "sets", "rgb")
    dataset = load_dataset("tfds:image_folder_like/rgb", size=32, data_dir=str(tmp_path / "sets"))
    assert (dataset.count, dataset.labels, dataset.remarks) == (3, None, ())
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"expected images that can be read, got 1 that cannot: cut\.png"):
        _prepare(tfds, folder, tmp_path / "others", "rgb")


@pytest.mark.filterwarnings("ignore")
def test_tfds_build_prepares_the_set(tfds: Any, pets: Path, tmp_path: Path) -> None:
    # The command's own parser and work. The program around it imports Apache Beam for another of its commands.
    from tensorflow_datasets.scripts.cli import build, cli_utils

    imports = "--imports=sharingan_jax.data.sources.tfds_builder"
    words = ["tfds", "image_folder_like/rgb", imports, f"--manual_dir={pets}", f"--data_dir={tmp_path}"]
    cli_utils.make_flags_parser(build.Args, description="")(words).execute()
    dataset = load_dataset("tfds:image_folder_like/rgb", size=32, data_dir=str(tmp_path))
    np.testing.assert_array_equal(dataset.preview(9), load_dataset(pets, size=32).preview(9))
