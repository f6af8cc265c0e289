"""Which pictures step k sees, as a pure function of (number of pictures, seed, k)."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sharingan_jax.errors import UserError


@lru_cache(maxsize=4)
def epoch_permutation(count: int, *, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch (from 0), int64 [count], read-only: the same on every platform and numpy version.

    It sorts the raw words of the Philox generator keyed with (seed, epoch), whose stream its definition fixes (Salmon et
    al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"); `numpy.random.Generator.permutation` may change between releases.
    """
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(count)
    order = np.argsort(words, kind="stable").astype(np.int64)
    order.setflags(write=False)
    return order


@dataclass(frozen=True)
class BatchPlan:
    """The batches of a run over `count` pictures, each epoch in an order of its own.

    An epoch's last, partial batch is kept as small as it is (`last_batch="keep"`, as the reference), dropped (`"drop"`; its
    pictures come in other epochs) or filled with the first pictures of the same epoch's order (`"fill"`), so that every batch
    has one size. Raises UserError where there are fewer pictures than a batch.
    """

    count: int
    batch_size: int
    seed: int
    last_batch: str

    def __post_init__(self) -> None:
        if self.count < self.batch_size:
            raise UserError(
                f"data: {self.count} pictures are fewer than train.batch_size={self.batch_size};"
                f" use --config.train.batch_size={self.count} or fewer, or add pictures"
            )

    @property
    def has_partial_batch(self) -> bool:
        return self.last_batch == "keep" and self.count % self.batch_size != 0

    @property
    def batches_per_epoch(self) -> int:
        whole = self.count // self.batch_size
        return whole if self.last_batch == "drop" else -(-self.count // self.batch_size)

    def epoch_of(self, step: int) -> int:
        """The epoch, from 1, that step k, from 1, falls in."""
        return (step - 1) // self.batches_per_epoch + 1

    def size_of(self, step: int) -> int:
        """The number of pictures of step k."""
        is_last = step % self.batches_per_epoch == 0
        return self.count % self.batch_size if is_last and self.has_partial_batch else self.batch_size

    def images_seen(self, steps: int) -> int:
        """How many pictures, counted again each time, the first `steps` steps see."""
        epochs, rest = divmod(steps, self.batches_per_epoch)
        an_epoch = self.count if self.last_batch == "keep" else self.batches_per_epoch * self.batch_size
        return epochs * an_epoch + rest * self.batch_size

    def indices(self, step: int) -> np.ndarray:
        """The pictures of step k, int64 [B]."""
        order = epoch_permutation(self.count, seed=self.seed, epoch=self.epoch_of(step) - 1)
        first = (step - 1) % self.batches_per_epoch * self.batch_size
        return np.take(order, np.arange(first, first + self.size_of(step)), mode="wrap")
