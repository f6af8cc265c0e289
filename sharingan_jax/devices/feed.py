"""Where batches are gathered: on the devices, which then hold all images, or on the host by tf.data."""

import math

from jax.sharding import Mesh

from sharingan_jax.config.schema import DataConfig
from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.devices.estimate import memory_limit
from sharingan_jax.errors import UserError

MEGABYTE = 2**20
MOST_OF_DEVICE = 0.25
"""The share of an accelerator's memory that the images may take in `data.feed=auto`. The networks need the rest."""


def choose_feed(data: DataConfig, dataset: ImageDataset, mesh: Mesh) -> str:
    """Return "device" or "tfdata": what `data.feed` says, and if it says "auto", "device" if the images fit.

    They fit if they take at most `data.memory_mb`, and at most a quarter of an accelerator's memory. A CPU's devices share one
    memory, so there the images count once for each device of this process.
    Raise UserError if they are asked for on devices that are too small for them.
    """
    device = mesh.local_devices[0]
    needed = math.prod((dataset.count, *dataset.image_shape)) * (len(mesh.local_devices) if device.platform == "cpu" else 1)
    limit = memory_limit(device)
    if data.feed == "device" and limit is not None and needed > limit:
        raise UserError(
            f"data.feed=device: expected images that fit into the device's {limit / 1e9:.1f} GB, got {needed / 1e9:.1f} GB."
            " Use --config.data.feed=tfdata."
        )
    if data.feed != "auto":
        return data.feed
    budget = data.memory_mb * MEGABYTE
    if device.platform != "cpu" and limit is not None:
        budget = min(budget, int(MOST_OF_DEVICE * limit))
    return "device" if needed <= budget else "tfdata"
