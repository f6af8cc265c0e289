"""Load images from a folder, an archive, an array, a table, the embedded emblems, or tensorflow-datasets."""

import difflib
import stat
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from sharingan_jax.config.parse import checked
from sharingan_jax.config.schema import KINDS, RULES, DataConfig, Rule
from sharingan_jax.data.dataset import ImageDataset, MappedDataset
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.formats import has_image_ending
from sharingan_jax.data.labels import why_no_classes
from sharingan_jax.data.sources.files import lies_among, shown
from sharingan_jax.data.split import Split, split
from sharingan_jax.data.storage import Storage
from sharingan_jax.data.turned import TurnedDataset
from sharingan_jax.errors import UserError
from sharingan_jax.files import user_path

NPY_MARK = b"\x93NUMPY"
GIVE = "Give a folder of images, a .zip or .tar of them, a .npy or .npz array, or .parquet files"


def load_dataset(
    source: str | Path,
    *,
    size: int = 64,
    channels: int = 3,
    split: str = "train",
    data_dir: str = "",
    fit: str = "crop",
    filter: str = "bilinear",
    background: str = "white",
    exif: str = "apply",
    max_pixels: int = Decoding.max_pixels,
    on_bad: str = "stop",
    memory_mb: int = Storage.memory_mb,
    cache: str = "",
    fetch: bool = True,
    say: Callable[[str], object] = print,
) -> ImageDataset:
    """Load images as uint8 [N, size, size, channels], by default resized and cropped as the reference does.

    `source` is "emblems", a path (`~` expands), or "tfds:NAME" for a tensorflow-datasets set. What lies at the path decides how
    it is read: a folder, a .zip or .tar archive of images, a .npy or .npz array, .parquet files, or a folder that `save_to_disk`
    of the package datasets wrote. The last two read `split`, and so do tensorflow-datasets sets. Only these read `data_dir` (the
    folder of tensorflow-datasets; "" is its default). If a set has to be downloaded, `say` gets a line that says how much;
    without `fetch` UserError is raised instead. `say` also gets lines while a large folder is decoded. The other arguments are
    the settings of `config.data`.
    A path that is called "emblems" is "./emblems" or a Path. Raise UserError, one line, if the source cannot be loaded.
    """
    size = checked("data.size", size, int, Rule(at_least=1))  # A run's networks have fewer sizes.
    settings: dict[str, Any] = {"channels": channels, "fit": fit, "filter": filter, "background": background, "exif": exif}
    settings |= {"max_pixels": max_pixels, "on_bad": on_bad, "memory_mb": memory_mb, "split": split, "data_dir": data_dir}
    settings = {name: checked(key := f"data.{name}", value, KINDS[key], RULES[key]) for name, value in settings.items()}
    storage = Storage(settings["memory_mb"], str(user_path(cache, name="data.cache")) if cache else "", say)
    decoding = Decoding(size=size, **{each.name: settings[each.name] for each in fields(Decoding) if each.name != "size"})
    if isinstance(source, str) and source == "emblems":  # Each source is imported only when it is used.
        from sharingan_jax.data.sources.emblems import emblem_dataset

        return emblem_dataset(size=size, channels=channels)
    if isinstance(source, str) and source.startswith("tfds:"):
        from sharingan_jax.data.sources.tfds import tfds_dataset

        name = source.removeprefix("tfds:")
        return tfds_dataset(name, decoding, split=split, data_dir=data_dir, fetch=fetch, storage=storage)
    path = user_path(source, name="data.path")
    if isinstance(source, str) and not path.exists() and difflib.get_close_matches(source, ["emblems"]):
        raise UserError(f"data.path={source}: expected a path that exists, got nothing there. Did you mean emblems?")
    return _load_path(path, decoding, split=split, on_bad=on_bad, storage=storage)


def _load_path(path: Path, decoding: Decoding, *, split: str, on_bad: str, storage: Storage) -> ImageDataset:
    """Load what lies at a path. Its content decides, not its ending."""
    if storage.cache and lies_among(Path(storage.cache), path):
        found = f"got a folder in data.path={path}, whose files would be read as images at the next start"
        raise UserError(f"data.cache={storage.cache}: expected a folder outside of the images, {found}. Give another one.")
    if _is_table(path):
        from sharingan_jax.data.sources.parquet import is_saved_dataset, parquet_dataset, saved_dataset

        load = saved_dataset if path.is_dir() and is_saved_dataset(path) else parquet_dataset
        return load(path, decoding, split=split, on_bad=on_bad, storage=storage)
    if path.is_dir():
        from sharingan_jax.data.sources.folder import folder_dataset

        return _explained(folder_dataset(path, decoding, on_bad=on_bad, storage=storage))
    if not path.exists():
        raise UserError(f"data.path={path}: expected a path that exists, got nothing there. {GIVE}.")
    if not stat.S_ISREG(path.stat().st_mode):
        raise UserError(f"data.path={path}: expected a folder or a file, got a pipe or a device. {GIVE}.")
    try:
        if _is_array(path):
            from sharingan_jax.data.sources.arrays import array_dataset

            return array_dataset(path, decoding, storage=storage)
        from sharingan_jax.data.sources.archive import archive_dataset, is_archive

        if is_archive(path):
            return _explained(archive_dataset(path, decoding, on_bad=on_bad, storage=storage))
    except OSError as error:
        raise UserError(f"data.path={path}: cannot be read: {error.strerror or error}. {GIVE}.") from None
    raise UserError(f"data.path={path}: expected a folder, an archive, an array or a table, got another file. {GIVE}.")


def _explained(dataset: ImageDataset) -> ImageDataset:
    """Return the images of a folder or an archive with a remark if their folders look like classes and give none."""
    if dataset.labels is not None or not (reason := why_no_classes([shown(name) for name in dataset.names])):
        return dataset
    explained = replace(dataset, remarks=(*dataset.remarks, reason))
    return explained.with_digest(dataset.digest) if isinstance(explained, MappedDataset) else explained


def _is_table(path: Path) -> bool:
    """Return whether there is a .parquet file, a folder of them, or a saved folder of the package datasets."""
    from sharingan_jax.data.sources.parquet import find_tables, is_parquet, is_saved_dataset

    try:
        if path.is_dir():
            return is_saved_dataset(path) or bool(find_tables(path).files)
        return path.is_file() and is_parquet(path)
    except OSError:
        return False  # The error is raised where the path is read.


def _is_array(path: Path) -> bool:
    """Return whether a file is a .npy, or a .npz: a zip archive of nothing else."""
    with path.open("rb") as file:
        if file.read(len(NPY_MARK)) == NPY_MARK:
            return True
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def load_dataset_from_config(
    data: DataConfig, *, fetch: bool = True, say: Callable[[str], object] = lambda line: None
) -> ImageDataset:
    """Load the training images that `config.data` describes: all of them, or those that `data.holdout` leaves for training.

    With `data.turns` or `data.mirrors` each also appears turned and mirrored. `fetch` and `say` are those of `load_dataset`.
    Raise UserError, one line, if the source cannot be loaded or split.
    """
    upright = load_split_from_config(data, fetch=fetch, say=say).train
    if data.turns == 1 and not data.mirrors:
        return upright
    # At twice the size a long, thin image has four times the pixels, and a row or a column more for rounding.
    bound = int(min(8 * data.max_pixels, RULES["data.max_pixels"].at_most))
    everything = _load(replace(data, size=2 * data.size, max_pixels=bound), fetch=fetch, say=say)
    place = {name: index for index, name in enumerate(everything.names)}
    large = everything.subset([place[name] for name in upright.names])
    described = {each.name: getattr(upright, each.name) for each in fields(ImageDataset)}
    storage = Storage(data.memory_mb, data.cache, say)
    settings = {"turns": data.turns, "mirrors": data.mirrors, "background": data.background, "storage": storage}
    return TurnedDataset(upright=upright, large=large, **described | settings)


def load_given_images(source: Path | str, data: DataConfig, *, name: str) -> ImageDataset:
    """Load other images as `config.data` says the run's own are prepared: from one image file, or from what `load_dataset` reads.

    Raise UserError, one line that names the argument `name`, if they cannot be loaded.
    """
    path = user_path(source, name=name)
    try:
        if path.is_file() and has_image_ending(path.name):
            from sharingan_jax.data.sources.files import FileReader, read_file

            reader = FileReader(_decoding(data))
            with path.open("rb") as file:
                reader.add(read_file(path.name, file, size=path.stat().st_size, decoding=reader.decoding))
            return reader.dataset(str(path), kind="a file", on_bad=data.on_bad)
        storage = Storage(data.memory_mb, data.cache)
        return _load_path(path, _decoding(data), split=data.split, on_bad=data.on_bad, storage=storage)
    except UserError as error:
        raise UserError(str(error).replace("data.path", name)) from None


def _decoding(data: DataConfig) -> Decoding:
    return Decoding(**{each.name: getattr(data, each.name) for each in fields(Decoding)})


def load_split_from_config(data: DataConfig, *, fetch: bool = True, say: Callable[[str], object] = lambda line: None) -> Split:
    """Load the training images and the held-out images that `config.data` describes.

    `fetch` and `say` are those of `load_dataset`. Raise UserError, one line, if the source cannot be loaded or split.
    """
    return split(_load(data, fetch=fetch, say=say), data.holdout)


def _load(data: DataConfig, *, fetch: bool, say: Callable[[str], object]) -> ImageDataset:
    if data.source == "parquet" and not _is_table(Path(data.path)):
        raise UserError(
            f"data.path={data.path}: expected .parquet files or a saved datasets folder, since data.source=parquet, got none."
            " Use --config.data.source=folder for images."
        )
    sources: dict[str, str | Path] = {"emblems": "emblems", "tfds": f"tfds:{data.name}"}
    return load_dataset(
        sources.get(data.source, Path(data.path)),
        size=data.size,
        channels=data.channels,
        split=data.split,
        data_dir=data.data_dir,
        fit=data.fit,
        filter=data.filter,
        background=data.background,
        exif=data.exif,
        max_pixels=data.max_pixels,
        on_bad=data.on_bad,
        memory_mb=data.memory_mb,
        cache=data.cache,
        fetch=fetch,
        say=say,
    )
