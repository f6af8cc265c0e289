"""A builder of tensorflow-datasets that prepares a user's folder of images, read by the same rules as `data.source=folder`.

From a shell, where my_images is the folder and sets is where tensorflow-datasets keeps its sets:

    tfds build image_folder_like/rgb --imports sharingan_jax.data.sources.tfds_builder --manual_dir my_images --data_dir sets

The program `tfds` of tensorflow-datasets 4.9.10 needs two packages that it does not require: `pip install apache-beam
mlcroissant`. From Python neither is needed:

    config = tfds.download.DownloadConfig(manual_dir="my_images")
    ImageFolderLike(config="rgb", data_dir="sets").download_and_prepare(download_config=config)

Then any program reads it with `tfds.load("image_folder_like/rgb", data_dir="sets")`, and this one with
`--config.data.source=tfds --config.data.name=image_folder_like/rgb --config.data.data_dir=sets`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from sharingan_jax.data.decode import MODES, Decoding, lay_on_background, load_original
from sharingan_jax.data.sources.files import FileReader, readable
from sharingan_jax.data.sources.folder import folder_dataset, relative_names

NO_CLASS = "image"
"""The class of every image of a folder without classes: a feature cannot be left out for some folders."""


class ImageFolderLike(tfds.core.GeneratorBasedBuilder):
    """The set `image_folder_like`: the images of `manual_dir`, at their own sizes, in the byte order of their names.

    The split `train` has the features `image` uint8 [H, W, 3] (config `rgb`) or [H, W, 4] (config `rgba`), `label` (the
    first-level subfolder, by the rule of `labels_from_folders`) and `name` (the relative name). With `rgb`, transparent parts are
    laid on white. Photographs are turned upright. Images that cannot be read stop the preparation with a list of them.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012  The name and its kind are tensorflow-datasets' own.
        tfds.core.BuilderConfig(name="rgb", description="colour, transparent parts on white"),
        tfds.core.BuilderConfig(name="rgba", description="colour and transparency"),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Give the folder of images as manual_dir: tfds build --manual_dir FOLDER"

    @property
    def _channels(self) -> int:
        return 4 if self.builder_config.name == "rgba" else 3

    def _info(self) -> Any:
        features = {
            "image": tfds.features.Image(shape=(None, None, self._channels), encoding_format="png"),
            "label": tfds.features.ClassLabel(),  # Its names are known when the folder has been read.
            "name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="The images of a folder.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,  # The order stays that of the names.
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        folder = Path(dl_manager.manual_dir)
        dataset = folder_dataset(folder, Decoding(size=1))  # It finds the images and their classes, and refuses bad files.
        self.info.features["label"].names = list(dataset.classes) or [NO_CLASS]
        labels = np.zeros(dataset.count, np.int64) if dataset.labels is None else dataset.labels
        return {"train": self._generate_examples(folder, dataset.names, labels)}

    def _generate_examples(
        self, folder: Path, names: tuple[str, ...], labels: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (place, example) for each image, in order."""
        decoding = Decoding(channels=self._channels)
        paths = {readable(name): folder / name for name in relative_names(folder, FileReader(decoding))}
        for index, name in enumerate(names):
            yield index, {"image": self._pixels(paths[name], decoding), "label": int(labels[index]), "name": name}

    def _pixels(self, path: Path, decoding: Decoding) -> np.ndarray:
        """Return the image in a file, uint8 [H, W, 3 or 4]."""
        image = load_original(path, decoding)
        if image.mode == "RGBA" and self._channels == 3:
            image = lay_on_background(image, decoding.background)
        return np.asarray(image.convert(MODES[self._channels]))
