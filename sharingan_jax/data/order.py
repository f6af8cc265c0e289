"""Which images step k sees, as a pure function of (number of images, seed, k)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sharingan_jax.errors import UserError


def epoch_permutation(count: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return the order of an epoch (from 0), int64 [count], read-only: the same on every platform and numpy version.

    It is the argsort of the raw words of the Philox generator with key (seed, epoch). Philox is defined word by word, while
    `numpy.random.Generator.permutation` may change between releases.
    Paper: Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3".
    """
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(count)
    order = np.argsort(words, kind="stable").astype(np.int64)
    order.setflags(write=False)
    return order


@dataclass(frozen=True)
class BatchPlan:
    """The batches of a run over `count` images; each epoch has its own order.

    `last_batch` says what happens if `batch_size` does not divide `count`:

    - "keep": an epoch's last batch is smaller, as in the reference;
    - "drop": there is no last batch; its images come in other epochs;
    - "fill": the first images of the epoch's order fill the last batch, so that all batches have one size.

    Raise UserError if there are fewer images than one batch needs.
    """

    count: int
    batch_size: int
    seed: int
    last_batch: str

    def __post_init__(self) -> None:
        if self.count < self.batch_size:
            raise UserError(
                f"train.batch_size={self.batch_size}: expected at most {self.count}, the number of images."
                f" Use --config.train.batch_size={self.count} or smaller, or add images."
            )

    @property
    def has_partial_batch(self) -> bool:
        """Whether an epoch ends with a smaller batch."""
        return self.last_batch == "keep" and self.count % self.batch_size != 0

    @property
    def batches_per_epoch(self) -> int:
        """Steps per epoch."""
        return self.count // self.batch_size if self.last_batch == "drop" else -(-self.count // self.batch_size)

    def epoch_of(self, step: int) -> int:
        """Return the epoch, from 1, of step k, from 1."""
        return (step - 1) // self.batches_per_epoch + 1

    def size_of(self, step: int) -> int:
        """Return B, the number of images in the batch of step k."""
        is_last = step % self.batches_per_epoch == 0
        return self.count % self.batch_size if is_last and self.has_partial_batch else self.batch_size

    def images_seen(self, steps: int) -> int:
        """Return how many images the first `steps` steps see; an image counts each time."""
        epochs, rest = divmod(steps, self.batches_per_epoch)
        per_epoch = self.count if self.last_batch == "keep" else self.batches_per_epoch * self.batch_size
        return epochs * per_epoch + rest * self.batch_size

    def indices(self, step: int) -> np.ndarray:
        """Return the indices of the images in the batch of step k, int64 [B]."""
        order = self._order(self.epoch_of(step) - 1)
        first = (step - 1) % self.batches_per_epoch * self.batch_size
        return np.take(order, np.arange(first, first + self.size_of(step)), mode="wrap")

    def _order(self, epoch: int) -> np.ndarray:
        """Return the order of an epoch (from 0), int64 [count]. The last one asked for is kept: a million images take 0.2 s."""
        if epoch not in self._kept:
            self._kept.clear()
            self._kept[epoch] = epoch_permutation(self.count, seed=self.seed, epoch=epoch)
        return self._kept[epoch]

    @cached_property
    def _kept(self) -> dict[int, np.ndarray]:
        return {}
