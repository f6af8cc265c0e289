"""The batches of a run: their indices, and their images through tf.data, read ahead of the device."""

import os
import platform
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.errors import UserError, reason_of

READ_AHEAD = 2
"""Chunks that tf.data gathers before the training loop asks for them."""


def import_tensorflow(*, needed_by: str = "data.feed=tfdata", instead: str = "use --config.data.feed=device") -> Any:
    """Import TensorFlow on first use (it takes seconds), quietly, and hide every accelerator from it: JAX uses those.

    Raise UserError if it is not installed, which names the setting that needs it and what to do `instead`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # Gathering does not use oneDNN, which ignores the log level.
    os.environ.setdefault("NO_GCE_CHECK", "true")  # Otherwise tensorflow-datasets looks for Google's credentials, aloud.
    # TensorFlow would import Keras only to find its folder: half a second.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Users cannot act on the deprecations of TensorFlow's dependencies.
        try:
            import tensorflow as tf
        except ImportError as error:
            package = "tensorflow-cpu" if platform.machine() in ("x86_64", "AMD64") else "tensorflow"
            found = f"expected the package tensorflow, got none that can be imported ({reason_of(error)})"
            raise UserError(f"{needed_by}: {found}. Run: pip install {package}; or {instead}.") from None
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return tf


def index_batches(plan: BatchPlan, chunks: Iterable[tuple[int, int]], *, part: int = 0, parts: int = 1) -> Iterator[np.ndarray]:
    """Yield the indices of the images of each chunk of steps, int64 [K, B / parts].

    `chunks` are (first step, K); step k sees the images `plan.indices(k)` [B]. With `parts` processes, process `part` (from 0)
    gets its piece of every batch: piece p holds the images from p · B / parts to (p + 1) · B / parts.
    Raise ValueError if the steps of a chunk have batches of different sizes, or if `parts` does not divide B.
    """
    for first, length in chunks:
        indices = np.stack([plan.indices(step) for step in range(first, first + length)])  # [K, B]
        yield np.split(indices, parts, axis=1)[part]  # [K, B / parts]


def batches(
    dataset: ImageDataset, plan: BatchPlan, chunks: Iterable[tuple[int, int]], *, part: int = 0, parts: int = 1
) -> Iterator[np.ndarray]:
    """Yield the images of each chunk of steps, uint8 [K, B / parts, H, W, C]: those of `index_batches`, with its arguments.

    Only indices pass through Python; tf.data gathers the images (`dataset.tensorflow_gather`) and reads ahead.
    Raise what `index_batches` and `import_tensorflow` raise.
    """
    tf = import_tensorflow()

    def index_arrays() -> Iterator[np.ndarray]:
        return index_batches(plan, chunks, part=part, parts=parts)

    stream = tf.data.Dataset.from_generator(index_arrays, output_signature=tf.TensorSpec([None, None], tf.int64))
    stream = stream.map(dataset.tensorflow_gather(tf), num_parallel_calls=1, deterministic=True)
    return iter(stream.prefetch(READ_AHEAD).as_numpy_iterator())
