"""Batches through tf.data: index arrays in, pictures out, read ahead of the device."""

import os
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from sharingan_jax.data.order import BatchPlan

READ_AHEAD = 2


def import_tensorflow() -> Any:
    """TensorFlow, imported when first needed (it takes seconds), quiet, and blind to every accelerator: those are JAX's."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # It is not used for gathering, and announces itself past the log level.
    # Keras, which it would import only to find its folder, is not used: half a second.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its own dependencies' deprecations are no news to our users.
        import tensorflow as tf
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return tf


def chunks(
    images_u8: np.ndarray, plan: BatchPlan, lengths: Iterable[tuple[int, int]], *, part: int = 0, parts: int = 1
) -> Iterator[np.ndarray]:
    """The pictures of each dispatch, uint8 [K, B / parts, H, W, C], for `lengths` of (first step, K).

    `images_u8` is [N, H, W, C]. Of each batch it is the `part`-th (from 0) of `parts` equal pieces, in order. Only index arrays
    pass through Python; tf.data gathers and reads ahead. The steps of a dispatch have batches of one size; ValueError where
    they do not, or where a batch has no such pieces.
    """
    tf = import_tensorflow()

    def index_arrays() -> Iterator[np.ndarray]:
        for first, length in lengths:
            batches = np.stack([plan.indices(step) for step in range(first, first + length)])  # [K, B]
            yield np.split(batches, parts, axis=1)[part]

    pictures = tf.constant(images_u8)
    dataset = tf.data.Dataset.from_generator(index_arrays, output_signature=tf.TensorSpec([None, None], tf.int64))
    dataset = dataset.map(lambda indices: tf.gather(pictures, indices), num_parallel_calls=1, deterministic=True)
    return iter(dataset.prefetch(READ_AHEAD).as_numpy_iterator())
