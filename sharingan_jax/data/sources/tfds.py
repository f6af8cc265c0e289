"""Any image set of tensorflow-datasets."""

import difflib
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.decode import Decoding
from sharingan_jax.data.pipeline import import_tensorflow
from sharingan_jax.data.sources.files import Member, label_remarks, read_array
from sharingan_jax.data.storage import IN_MEMORY, Source, Storage, file_state, key_of
from sharingan_jax.errors import UserError, reason_of

OWN_BUILDER = "image_folder_like"
"""The name of our own builder, in `tfds_builder`. Without being imported it is known only once a set is prepared."""


def tfds_dataset(
    name: str, decoding: Decoding, *, split: str, data_dir: str, fetch: bool, storage: Storage = IN_MEMORY
) -> ImageDataset:
    """Load the feature `image` of a split, uint8 [N, size, size, channels], in the set's stored order.

    A set that is not prepared yet is first downloaded and prepared below `data_dir` ("": tensorflow-datasets' default), after
    `storage.say` has got a line with what is fetched and how large it is. Without `fetch`, UserError with that line is raised
    instead, and nothing is written. Class labels come from the feature `label`, if there is one. More images than `storage` holds
    in memory are decoded once into a file, which later starts read if the set has not changed.
    Raise UserError on an unknown name or split, or a set without images.
    """
    import_tensorflow(needed_by="data.source=tfds", instead="give a folder, an archive or an array as data.path")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Users cannot act on the deprecations of its dependencies.
        import tensorflow_datasets as tfds

        builder = _builder(tfds, name, data_dir=data_dir)
        features = _info(builder, name=name).features
        if not isinstance(features, tfds.features.FeaturesDict) or "image" not in features:
            raise UserError(f"data.name={name}: expected a set with a feature `image`, got one without. Use an image set.")
        if not (builder.data_path / "dataset_info.json").exists():
            plan = describe_download(builder, name=name)
            if not fetch:
                raise UserError(f"data.name={name}: {plan}. Nothing was fetched; start without --dry-run to do so.")
            storage.say(plan)
            _prepare(builder, name=name)
        stream = _read(tfds, builder, name=name, split=split)
        label = dict(features).get("label")
        names = label.names if isinstance(label, tfds.features.ClassLabel) else None

        def members() -> Iterator[Member]:
            for place, example in enumerate(tfds.as_numpy(stream)):
                number = None if names is None else int(example["label"])
                yield Member(f"{name}/{split}/{place:06d}", example["image"], number)

        info = builder.info.splits[split]
        state = f"{builder.info.full_name} {split} {info.num_examples} {info.num_bytes}".encode()
        written = file_state(Path(builder.data_path) / "dataset_info.json")
        source = Source(
            members=members,
            read=partial(read_array, decoding),
            count=info.num_examples,
            size=info.num_bytes,
            key=lambda: key_of(str(builder.data_path), decoding, [state, written]),
        )
        reading = storage.read(source, image_shape=decoding.image_shape)
    images = reading.found
    if not images:
        raise UserError(f"data.split={split}: expected images, got an empty split of {name}. Give another split.")
    for image in images:
        if image.reason:
            raise UserError(f"data.name={name}: {image.name} cannot be read: {image.reason}.")
    classes = tuple(names or ()) if len(names or ()) > 1 else ()  # One class for all images says nothing.
    labels = np.array([image.label for image in images], np.int64) if classes else None
    return reading.dataset(
        labels=labels,
        classes=classes,
        kind="a tensorflow-datasets set",
        remarks=label_remarks(labels, classes, origin="by the feature label"),
    )


def describe_download(builder: Any, *, name: str) -> str:
    """Return what preparing a set would fetch, how large it is, and where it would be. Fetch and write nothing."""
    try:
        sizes = [int(link.size) for link in builder.url_infos.values()]
    except ImportError as error:
        raise _missing(name, error) from None
    except (OSError, ValueError, AttributeError, AssertionError):  # A builder without a list of its files.
        sizes = []
    total = sum(sizes)
    found = f"{len(sizes)} file{'s' * (len(sizes) != 1)} of {_in_units(total)} together" if total else "files of unknown size"
    by_hand = ", some of them by hand" if getattr(builder, "MANUAL_DOWNLOAD_INSTRUCTIONS", None) else ""
    return (
        f"{name} is not prepared yet: tensorflow-datasets would download {found}{by_hand}, and prepare them in {builder.data_dir}"
    )


def _in_units(size: int) -> str:
    for unit, length in (("GB", 10**9), ("MB", 10**6)):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size / 1000:.1f} kB"


def _info(builder: Any, *, name: str) -> Any:
    try:
        return builder.info
    except ImportError as error:
        raise _missing(name, error) from None


def _missing(name: str, error: ImportError) -> UserError:
    """Return the error for a package that tensorflow-datasets needs, and that is not installed."""
    package = error.name or "a package"
    return UserError(
        f"data.name={name}: expected the package {package}, which tensorflow-datasets imports, got none."
        f" Run: pip install {package}"
    )


def _builder(tfds: Any, name: str, *, data_dir: str) -> Any:
    try:
        return tfds.builder(name, data_dir=data_dir or None)
    except tfds.core.DatasetNotFoundError:
        nearest = difflib.get_close_matches(name, tfds.list_builders(), n=1)
        hint = f"Did you mean {nearest[0]}?" if nearest else "See the list on tensorflow.org/datasets/catalog."
        if name.startswith(OWN_BUILDER):
            hint = "Prepare it first, as sharingan_jax/data/sources/tfds_builder.py says."
        where = f" (data.data_dir={data_dir})" if data_dir else ""
        raise UserError(f"data.name={name}: expected a tensorflow-datasets set{where}, got an unknown name. {hint}") from None
    except ImportError as error:
        raise _missing(name, error) from None
    except (ValueError, TypeError, AttributeError, OSError, AssertionError) as error:
        expected = f"expected a set that tensorflow-datasets can open, got: {reason_of(error)}"
        raise UserError(f"data.name={name}: {expected}. Check the name and data.data_dir.") from None


def _prepare(builder: Any, *, name: str) -> None:
    try:
        builder.download_and_prepare()
    except ImportError as error:
        raise _missing(name, error) from None
    except Exception as error:  # A builder is arbitrary code, and downloads fail in many ways.
        hint = "Prepare it with tensorflow-datasets first, or use another set."
        raise UserError(f"data.name={name}: expected a set that can be prepared, got: {reason_of(error)}. {hint}") from error


def _read(tfds: Any, builder: Any, *, name: str, split: str) -> Any:
    in_order = tfds.ReadConfig(interleave_cycle_length=1)  # One file after another: every start sees the stored order.
    try:
        return builder.as_dataset(split=split, shuffle_files=False, read_config=in_order)
    except (ValueError, KeyError, AssertionError) as error:
        expected = f"expected a split of {name} (it has {', '.join(builder.info.splits)}), got: {reason_of(error)}"
        raise UserError(f"data.split={split}: {expected}. Use one of these.") from None
