"""Metrics and grids as TensorBoard events."""

import importlib.util
import warnings
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sharingan_jax.errors import UserError

NO_SCALARS = ("step", "epoch", "time")


class EventWriter:
    """A writer of events in `folder`. If the folder exists, TensorBoard hides its earlier events from `resume_step` on."""

    def __init__(self, folder: Path, *, resume_step: int) -> None:
        if importlib.util.find_spec("tensorboardX") is None:
            raise UserError("log.tensorboard=True needs the package tensorboardX; install requirements.txt, or use False")
        self._folder = folder
        self._resume_step = resume_step

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if "_writer" in vars(self):
            self._writer.close()

    @cached_property
    def _writer(self) -> Any:
        """The writer, opened at the first use: if torch is installed tensorboardX takes seconds to import, while steps run."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Its dependencies' deprecations are no news to our users.
            from tensorboardX import SummaryWriter
        return SummaryWriter(str(self._folder), purge_step=self._resume_step if self._folder.is_dir() else None)

    def scalars(self, records: Iterable[dict[str, Any]]) -> None:
        """Add each value of each record (a line of metrics.jsonl) at its step, except null ones."""
        for record in records:
            for name, value in record.items():
                if name not in NO_SCALARS and value is not None:
                    self._writer.add_scalar(name, value, record["step"])

    def image(self, tag: str, image_u8: np.ndarray, step: int) -> None:
        """Add an image, uint8 [H, W, 3]."""
        self._writer.add_image(tag, image_u8, step, dataformats="HWC")
        self._writer.flush()
