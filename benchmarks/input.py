"""Does training wait for its images? Milliseconds of input a step, for a hundred images and for ten thousand.

    python -m benchmarks.input
    python -m benchmarks.input --batch 128

The benchmark drains a run's pipeline and does nothing else: the order of the epoch, indices, tf.data's gather, the copy to JAX.
If a training step takes longer, reading two chunks ahead hides the input. Times are the median, smallest and largest of chunks.
"""

import argparse
import itertools
import statistics
import sys
import time

import jax
import numpy as np

from benchmarks.spread import spread
from sharingan_jax.data.dataset import ArrayDataset
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.pipeline import batches

STEPS_A_CHUNK, CHUNKS = 10, 60


def milliseconds_a_step(count: int, *, batch: int, size: int) -> list[float]:
    """Return the milliseconds a step of each of CHUNKS chunks, after the first chunk."""
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    dataset = ArrayDataset(images=images, names=("",) * count, digests=("",) * count)
    plan = BatchPlan(count, batch_size=batch, seed=0, last_batch="drop")
    chunks = ((first, STEPS_A_CHUNK) for first in itertools.count(1, STEPS_A_CHUNK))
    taken = []
    stream = batches(dataset, plan, chunks)
    jax.block_until_ready(jax.device_put(next(stream)))
    for _ in range(CHUNKS):
        start = time.perf_counter()
        jax.block_until_ready(jax.device_put(next(stream)))
        taken.append(1000 * (time.perf_counter() - start) / STEPS_A_CHUNK)
    return taken


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--size", type=int, default=64)
    flags = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, batch {flags.batch} of {flags.size}×{flags.size}\n")
    print("| images | ms a step | images a second |\n|---|---|---|")
    for count in (max(100, flags.batch), 10_000):
        taken = milliseconds_a_step(count, batch=flags.batch, size=flags.size)
        print(f"| {count:,} | {spread(taken, 2)} | {1000 * flags.batch / statistics.median(taken):,.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
