"""Does training wait for its pictures? Milliseconds of input a step, for a hundred pictures and for ten thousand.

    python -m benchmarks.input
    python -m benchmarks.input --batch 128

The pipeline of a run is drained with nothing else going on: order of the epoch, indices, tf.data's gather, the copy to JAX. Where
a training step takes longer than this, reading two dispatches ahead hides it. Median of the dispatches, smallest and largest.
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

STEPS_A_CALL, CALLS = 10, 60


def milliseconds_a_step(count: int, *, batch: int, size: int) -> list[float]:
    """Milliseconds a step of each of CALLS dispatches, once the first has come."""
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    dataset = ArrayDataset(images=images, names=("",) * count, digests=("",) * count)
    plan = BatchPlan(count, batch_size=batch, seed=0, last_batch="drop")
    chunks = ((first, STEPS_A_CALL) for first in itertools.count(1, STEPS_A_CALL))
    taken = []
    stream = batches(dataset, plan, chunks)
    jax.block_until_ready(jax.device_put(next(stream)))
    for _ in range(CALLS):
        began = time.perf_counter()
        jax.block_until_ready(jax.device_put(next(stream)))
        taken.append(1000 * (time.perf_counter() - began) / STEPS_A_CALL)
    return taken


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--size", type=int, default=64)
    flags = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, batch {flags.batch} of {flags.size}×{flags.size}\n")
    print("| pictures | ms a step | pictures a second |\n|---|---|---|")
    for count in (max(100, flags.batch), 10_000):
        taken = milliseconds_a_step(count, batch=flags.batch, size=flags.size)
        print(f"| {count:,} | {spread(taken, 2)} | {1000 * flags.batch / statistics.median(taken):,.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
