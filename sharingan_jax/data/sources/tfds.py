"""Any tensorflow-datasets image set as `Pictures`."""

import difflib
import warnings
from typing import Any

import numpy as np
from PIL import Image

from sharingan_jax.data.dataset import Pictures, array_digests
from sharingan_jax.data.decode import fit_picture
from sharingan_jax.data.pipeline import import_tensorflow
from sharingan_jax.errors import UserError


def tfds_pictures(name: str, *, split: str, data_dir: str, size: int, channels: int) -> Pictures:
    """The feature `image` of a split, each picture resized and cropped as the reference does, in the set's stored order.

    The set is prepared below `data_dir` ("": the package's own default) where it is not there yet. Class labels come along
    where the set has a feature `label`. Raises UserError on an unknown name or split, or a set without pictures.
    """
    import_tensorflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its own dependencies' deprecations are no news to our users.
        import tensorflow_datasets as tfds

        builder = _builder(tfds, name, data_dir=data_dir)
        features = builder.info.features
        if not isinstance(features, tfds.features.FeaturesDict) or "image" not in features:
            raise UserError(f"config: data.name={name} has no feature `image`; use a set of pictures")
        dataset = _read(tfds, builder, name=name, split=split)
        examples = [(example["image"], example.get("label", -1)) for example in tfds.as_numpy(dataset)]
    if not examples:
        raise UserError(f"config: data.split={split} of {name} is empty; give a split that holds pictures")
    images = np.stack([fit_picture(_image(array), size=size, channels=channels) for array, _ in examples])
    names = tuple(f"{name}/{split}/{i:06d}" for i in range(len(images)))
    label = dict(features).get("label")
    classes = tuple(label.names) if isinstance(label, tfds.features.ClassLabel) and label.names else ()
    labels = np.array([label for _, label in examples], np.int64) if classes else None
    return Pictures(images, names, array_digests(images), labels=labels, classes=classes)


def _builder(tfds: Any, name: str, *, data_dir: str) -> Any:
    try:
        return tfds.builder(name, data_dir=data_dir or None)
    except tfds.core.DatasetNotFoundError:
        nearest = difflib.get_close_matches(name, tfds.list_builders(), n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "tensorflow.org/datasets/catalog lists them"
        where = f" in data.data_dir={data_dir}" if data_dir else ""
        raise UserError(f"config: data.name={name} is not a tensorflow-datasets set, nor a prepared one{where}; {hint}") from None
    except (ValueError, TypeError, AttributeError, OSError, ImportError, AssertionError) as error:
        raise UserError(f"config: data.name={name} cannot be opened: {_first_line(error)}") from None


def _read(tfds: Any, builder: Any, *, name: str, split: str) -> Any:
    try:
        builder.download_and_prepare()
    except Exception as error:  # A builder is its author's program, and downloads fail in as many ways as there are hosts.
        raise UserError(f"config: data.name={name} could not be prepared: {_first_line(error)}") from error
    # One file after another, so that the order is the stored one and every start sees the same.
    in_order = tfds.ReadConfig(interleave_cycle_length=1)
    try:
        return builder.as_dataset(split=split, shuffle_files=False, read_config=in_order)
    except (ValueError, KeyError, AssertionError) as error:
        splits = ", ".join(builder.info.splits)
        raise UserError(f"config: data.split={split} is not a split of {name}; it has {splits} ({_first_line(error)})") from None


def _image(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
