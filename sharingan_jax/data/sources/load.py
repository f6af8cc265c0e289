"""Where pictures come from: a folder, the embedded emblems, or tensorflow-datasets; each as one array with its digests."""

from pathlib import Path

from sharingan_jax.config.schema import DataConfig
from sharingan_jax.data.dataset import Pictures
from sharingan_jax.data.sources.emblems import emblem_pictures
from sharingan_jax.data.sources.folder import folder_pictures


def load_pictures(data: DataConfig) -> Pictures:
    """All pictures of a configured source. Raises UserError, one line, on whatever stands in the way."""
    match data.source:
        case "folder":
            return folder_pictures(Path(data.path), size=data.size, channels=data.channels)
        case "emblems":
            return emblem_pictures(size=data.size, channels=data.channels)
        case "tfds":
            from sharingan_jax.data.sources.tfds import tfds_pictures

            return tfds_pictures(data.name, split=data.split, data_dir=data.data_dir, size=data.size, channels=data.channels)
    raise ValueError(f"no source {data.source!r}")
