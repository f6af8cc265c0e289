"""Load images from a folder, the embedded emblems, or tensorflow-datasets."""

from dataclasses import fields, replace
from pathlib import Path

from sharingan_jax.config.schema import DataConfig
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.decode import MODES
from sharingan_jax.data.split import Split, split
from sharingan_jax.data.turned import TurnedDataset
from sharingan_jax.errors import UserError


def load_dataset(
    source: str | Path, *, size: int = 64, channels: int = 3, split: str = "train", data_dir: str = ""
) -> ImageDataset:
    """Load images as uint8 [N, size, size, channels], resized and cropped as the reference does.

    `source` is "emblems", the path of a folder (`~` expands), or "tfds:NAME" for a tensorflow-datasets set. Only the last one
    reads `split` and `data_dir` (the folder of tensorflow-datasets; "" is its default). A folder that is called
    "emblems" is "./emblems" or a Path. Raise UserError, one line, if the source cannot be loaded.
    """
    if source == "":
        raise UserError('data.path="": expected a folder, got an empty text. Give the folder that holds your images.')
    if size < 1:
        raise UserError(f"data.size={size}: expected at least 1 pixel. Use 64, the size of the reference.")
    if channels not in MODES:
        raise UserError(f"data.channels={channels}: expected 1 (grey) or 3 (colour). Use 3.")
    if source == "emblems":  # Each source is imported only when it is used.
        from sharingan_jax.data.sources.emblems import emblem_dataset

        return emblem_dataset(size=size, channels=channels)
    if isinstance(source, str) and source.startswith("tfds:"):
        from sharingan_jax.data.sources.tfds import tfds_dataset

        return tfds_dataset(source.removeprefix("tfds:"), split=split, data_dir=data_dir, size=size, channels=channels)
    from sharingan_jax.data.sources.folder import folder_dataset

    return folder_dataset(Path(source), size=size, channels=channels)


def load_dataset_from_config(data: DataConfig) -> ImageDataset:
    """Load the training images that `config.data` describes: all of them, or those that `data.holdout` leaves for training.

    With `data.turns` or `data.mirrors` each also appears turned and mirrored. Raise UserError, one line, if the source cannot be
    loaded or split.
    """
    upright = load_split_from_config(data).train
    if data.turns == 1 and not data.mirrors:
        return upright
    everything = _load(replace(data, size=2 * data.size))
    place = {name: index for index, name in enumerate(everything.names)}
    large = everything.subset([place[name] for name in upright.names])
    described = {each.name: getattr(upright, each.name) for each in fields(ImageDataset)}
    return TurnedDataset(upright=upright, large=large, turns=data.turns, mirrors=data.mirrors, **described)


def load_split_from_config(data: DataConfig) -> Split:
    """Load the training images and the held-out images that `config.data` describes.

    Raise UserError, one line, if the source cannot be loaded or split.
    """
    return split(_load(data), data.holdout)


def _load(data: DataConfig) -> ImageDataset:
    sources: dict[str, str | Path] = {"emblems": "emblems", "folder": Path(data.path), "tfds": f"tfds:{data.name}"}
    return load_dataset(sources[data.source], size=data.size, channels=data.channels, split=data.split, data_dir=data.data_dir)
