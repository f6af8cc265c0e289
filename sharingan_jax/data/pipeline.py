"""Batches through tf.data, read ahead of the device."""

import os
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.order import BatchPlan

READ_AHEAD = 2
"""Chunks that tf.data gathers before the training loop asks for them."""


def import_tensorflow() -> Any:
    """Import TensorFlow on first use (it takes seconds), quietly, and hide every accelerator from it: JAX uses those."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # Gathering does not use oneDNN, which logs in spite of the log level.
    os.environ.setdefault("NO_GCE_CHECK", "true")  # Else tensorflow-datasets looks for Google's credentials, aloud.
    # TensorFlow would import Keras only to find its folder: half a second.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Users cannot act on the deprecations of TensorFlow's dependencies.
        import tensorflow as tf
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return tf


def batches(
    dataset: ImageDataset, plan: BatchPlan, chunks: Iterable[tuple[int, int]], *, part: int = 0, parts: int = 1
) -> Iterator[np.ndarray]:
    """Yield the images of each chunk of steps, uint8 [K, B / parts, H, W, C].

    `chunks` are (first step, K); step k sees the images `plan.indices(k)` [B]. With `parts` processes, process `part` (from 0)
    gets its piece of every batch: piece p holds the images from p · B / parts to (p + 1) · B / parts.
    Only indices pass through Python; tf.data gathers the images (`dataset.tensorflow_gather`) and reads ahead.
    Raise ValueError if the steps of a chunk have batches of different sizes, or if `parts` does not divide B.
    """
    tf = import_tensorflow()

    def index_arrays() -> Iterator[np.ndarray]:
        for first, length in chunks:
            indices = np.stack([plan.indices(step) for step in range(first, first + length)])  # [K, B]
            yield np.split(indices, parts, axis=1)[part]  # [K, B / parts]

    stream = tf.data.Dataset.from_generator(index_arrays, output_signature=tf.TensorSpec([None, None], tf.int64))
    stream = stream.map(dataset.tensorflow_gather(tf), num_parallel_calls=1, deterministic=True)
    return iter(stream.prefetch(READ_AHEAD).as_numpy_iterator())
