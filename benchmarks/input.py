"""Does training wait for its images? This project's feeds, a PyTorch DataLoader and plain tf.data, on the same files in one run.

    python -m benchmarks.input
    python -m benchmarks.input --counts 200000 --size 32
    python -m benchmarks.input --counts 1000 --side 500 --format png --only-cold
    python -m benchmarks.input --counts 100 --starts 5

The images are made up: JPEG files of 96×96 pixels, unless `--side` and `--format` say otherwise. *Cold* is from files to decoded
images. "Pillow alone" is a plain script with a pool of processes, `PLAIN`: it keeps no image, and takes no digest. *Warm* is from
then on: batches of an epoch, in a training step's form, on the device. The ways take turns, `--rounds` times, and a ratio is the
median of the rounds' ratios, since shared cores are faster in one minute than in the next. "A DataLoader" decodes each image in
each epoch, as `ImageFolder` does, and so does "plain tf.data"; "a DataLoader over an array" has the decoded images in memory.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from benchmarks.spread import spread
from sharingan_jax.data.dataset import ArrayDataset, ImageDataset
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.sources.load import load_dataset
from sharingan_jax.data.workers import cores

T = TypeVar("T")
STEPS_A_CHUNK = 10
PLAIN = """
import os, sys, time
from multiprocessing import get_context
import numpy as np
from PIL import Image

folder, size, processes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def decode(name):
    with Image.open(os.path.join(folder, name)) as image:
        pixels = np.array(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    return len(pixels) == size

start = time.perf_counter()
names = sorted(os.listdir(folder))
with get_context("fork").Pool(processes) as pool:
    decoded = sum(pool.imap(decode, names, chunksize=256))
print(decoded, time.perf_counter() - start)
"""
"""What a user would write to decode a folder of square images on all cores. Its imports are not timed, as ours are not."""
NARROW = ("--config.model.gen.width=8", "--config.model.disc.width=8", "--config.log.tensorboard=False")
"""Settings of the starts that are timed."""
IN_MEMORY = 2**20
"""A budget in megabytes that holds all sets of this benchmark."""
PILLOW = "Pillow alone, all cores"


def make_files(folder: Path, count: int, *, side: int = 96, ending: str = "jpg") -> list[Path]:
    """Write `count` files of smooth noise, `side` pixels a side, in the format of an ending, and return them."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    paths = [folder / f"{i:07d}.{ending}" for i in range(count)]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
        coarse.resize((side, side), Image.Resampling.BILINEAR).save(path, quality=90)
    return paths


def decode(path: Path, size: int) -> np.ndarray:
    """Return an image as a short program would decode it, uint8 [size, size, 3]."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


# --- Cold: from files to decoded images. ---


def decode_alone(folder: Path, size: int) -> tuple[int, float]:
    """Run `PLAIN`, and return how many images it decoded, in how many seconds."""
    command = [sys.executable, "-c", PLAIN, str(folder), str(size), str(cores())]
    decoded, seconds = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(decoded), float(seconds)


def timed(way: Callable[[], object]) -> Callable[[], float]:
    """Return a function that calls a way and returns the seconds that it took."""

    def call() -> float:
        start = time.perf_counter()
        way()
        return time.perf_counter() - start

    return call


def cold_ways(folder: Path, paths: Sequence[Path], *, size: int) -> dict[str, Callable[[], float]]:
    """Return the ways from files to decoded images, by name, as functions that return the seconds they took."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as packed:
        for path in paths:
            packed.write(path, path.name)

    def into_file() -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
            load_dataset(folder, size=size, memory_mb=1, cache=cache, say=lambda line: None)

    return {
        PILLOW: lambda: decode_alone(folder, size)[1],
        "ours, into memory": timed(lambda: load_dataset(folder, size=size, memory_mb=IN_MEMORY, say=lambda line: None)),
        "ours, into a file": timed(into_file),
        "ours, a zip": timed(lambda: load_dataset(archive, size=size, memory_mb=IN_MEMORY, say=lambda line: None)),
        "a DataLoader": timed(lambda: list(itertools.islice(_loader(Files(paths, size)), -(-len(paths) // 25)))),
    }


# --- Warm: batches on the device. ---


class Files:
    """A data set of PyTorch's that decodes image i when it is asked for it, as `ImageFolder` does."""

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return decode(self.paths[index], self.size)


class Decoded:
    """A data set of PyTorch's over decoded images."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> np.ndarray:
        image: np.ndarray = self.images[index]
        return image


def _loader(dataset: Any, *, batch: int = 25) -> Iterator[np.ndarray]:
    """Yield shuffled batches of a DataLoader with a worker for each core, epoch after epoch."""
    from torch.utils.data import DataLoader

    # Not by fork: it may hang in a process in which JAX runs.
    loader: Any = DataLoader(
        dataset, batch, shuffle=True, num_workers=cores(), persistent_workers=True, multiprocessing_context="forkserver"
    )
    while True:
        for images in loader:
            yield images.numpy()


def _plain_tfdata(paths: Sequence[Path], *, size: int, batch: int) -> Iterator[np.ndarray]:
    from sharingan_jax.data.pipeline import import_tensorflow

    tf = import_tensorflow()

    def read(path: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.cast(tf.image.resize(image, (size, size)), tf.uint8)

    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths]).shuffle(len(paths)).repeat()
    stream = files.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(batch).prefetch(tf.data.AUTOTUNE)
    return iter(stream.as_numpy_iterator())


def _plan(dataset: ImageDataset, batch: int) -> tuple[BatchPlan, Iterator[tuple[int, int]]]:
    chunks = ((first, STEPS_A_CHUNK) for first in itertools.count(1, STEPS_A_CHUNK))
    return BatchPlan(dataset.count, batch_size=batch, seed=0, last_batch="drop"), chunks


def _from_device(dataset: ImageDataset, *, batch: int) -> Iterator[Any]:
    """Yield chunks that the device gathers, as a step of `data.feed=device` does."""
    import jax

    from sharingan_jax.data.pipeline import index_batches
    from sharingan_jax.gan.step import gather_images

    images, gather = jax.device_put(dataset.preview(dataset.count)), jax.jit(gather_images)
    plan, chunks = _plan(dataset, batch)
    for indices in index_batches(plan, chunks):
        yield gather(images, indices.astype(np.int32))


def _from_tfdata(dataset: ImageDataset, *, batch: int) -> Iterator[np.ndarray]:
    from sharingan_jax.data.pipeline import batches

    return batches(dataset, *_plan(dataset, batch))


def warm_ways(paths: Sequence[Path], mapped: ImageDataset, *, batch: int) -> dict[str, Callable[[], Iterator[Any]]]:
    """Return the ways to batches, by name. `mapped` has the decoded images in a file."""
    size = mapped.image_shape[0]
    held = ArrayDataset(images=mapped.preview(mapped.count), names=mapped.names, digests=mapped.digests)
    return {
        "ours, device": partial(_from_device, held, batch=batch),
        "ours, tfdata": partial(_from_tfdata, held, batch=batch),
        "ours, tfdata from a file": partial(_from_tfdata, mapped, batch=batch),
        "a DataLoader over an array": partial(_loader, Decoded(held.images), batch=batch),
        "a DataLoader": partial(_loader, Files(paths, size), batch=batch),
        "plain tf.data": partial(_plain_tfdata, paths, size=size, batch=batch),
    }


def images_a_second(stream: Iterator[Any], *, seconds: float) -> float:
    """Return how many images a second a stream of batches or chunks brings to the device in the next `seconds`."""
    import jax

    images, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds or not images:
        batch = jax.block_until_ready(jax.device_put(next(stream)))
        images += int(np.prod(batch.shape[:-3]))
    return images / taken


# --- Waiting: the share of training in which the device has nothing to do until the next batch is there. ---


def training_ways(dataset: ImageDataset, *, config_name: str, chunks: int) -> dict[str, Callable[[], tuple[float, float]]]:
    """Return functions that train some chunks with each feed, and return (milliseconds a step, share of the time waited).

    As in the training loop, the next batches are asked for while the device computes. If it still computes when they are there,
    it has not waited; if not, the whole time of asking counts, which is the most that it can have waited.
    """
    from dataclasses import replace

    import jax

    from sharingan_jax.config.load import load_config
    from sharingan_jax.data import pipeline
    from sharingan_jax.devices.mesh import make_mesh
    from sharingan_jax.devices.trainer import Trainer

    config = load_config(config_name)
    config = replace(config, data=replace(config.data, size=dataset.image_shape[0]))
    batch = min(config.train.batch_size, dataset.count)

    def start(feed: str) -> Callable[[], tuple[float, float]]:
        trainer = Trainer(config, make_mesh(1, batch_sizes={batch}), dataset=dataset if feed == "device" else None)
        plan, planned = _plan(dataset, batch)
        stream = pipeline.index_batches(plan, planned) if feed == "device" else pipeline.batches(dataset, plan, planned)
        state = trainer.to_device([trainer.init(0)])

        def train() -> tuple[float, float]:
            nonlocal state
            waited, begin = 0.0, time.perf_counter()
            state, metrics = trainer.run_steps(state, [next(stream)])
            for _ in range(chunks - 1):
                asked = time.perf_counter()
                of_chunk = next(stream)
                if all(value.is_ready() for value in jax.tree.leaves(metrics)):
                    waited += time.perf_counter() - asked
                jax.block_until_ready(metrics)
                state, metrics = trainer.run_steps(state, [of_chunk])
            jax.block_until_ready(metrics)
            taken = time.perf_counter() - begin
            return 1000 * taken / chunks / STEPS_A_CHUNK, waited / taken

        return train

    return {feed: start(feed) for feed in ("device", "tfdata")}


# --- Memory over time, in a process of its own. ---


def memory_of(folder: Path, cache: Path, *, size: int, memory_mb: int) -> list[str]:
    """Return the process's own and its mapped memory, before and after loading and after one and two epochs of batches."""
    program = "import sys; from benchmarks.input import trace_memory; trace_memory(*sys.argv[1:])"
    command = [sys.executable, "-c", program, str(folder), str(cache), str(size), str(memory_mb)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    return done.stdout.split()


def trace_memory(folder: str, cache: str, size: str, memory_mb: str) -> None:
    """Print the memory as `own/mapped` in megabytes at four moments."""

    def show() -> None:
        lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        print("/".join(f"{int(lines[name].split()[0]) // 1024}" for name in ("RssAnon", "RssFile")))

    show()
    dataset = load_dataset(folder, size=int(size), memory_mb=int(memory_mb), cache=cache, say=lambda line: None)
    show()
    plan = BatchPlan(dataset.count, batch_size=min(25, dataset.count), seed=0, last_batch="keep")
    for epoch in range(2):
        for step in range(epoch * plan.batches_per_epoch + 1, (epoch + 1) * plan.batches_per_epoch + 1):
            dataset.gather(plan.indices(step))
        show()


# --- Tables. ---


def take_turns(ways: Mapping[str, Callable[[], T]], *, rounds: int) -> dict[str, list[T]]:
    """Call each way in turn, `rounds` times, and return what each gave."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


def print_rates(title: str, found: dict[str, list[float]], *, against: str) -> None:
    """Print images a second, and each way's ratio to the one called `against`, round by round."""
    print(f"| {title} | images a second | times {against} |\n|---|---|---|")
    for name, rates in found.items():
        ratios = [ours / theirs for ours, theirs in zip(rates, found[against], strict=True)]
        print(f"| {name} | {spread(rates, 0)} | {spread(ratios, 2)} |")
    print(flush=True)


def measure(count: int, folder: Path, flags: argparse.Namespace) -> None:
    """Measure and print all tables for `count` images."""
    paths, cache = make_files(folder / "images", count, side=flags.side, ending=flags.format), folder / "cache"
    print(f"\n**{count:,} images, {flags.size}×{flags.size}**\n", flush=True)
    cold = take_turns(cold_ways(folder / "images", paths, size=flags.size), rounds=flags.rounds)
    rates = {name: [count / taken for taken in seconds] for name, seconds in cold.items()}
    print_rates("cold", rates, against=PILLOW)
    if flags.only_cold:
        return
    mapped = load_dataset(folder / "images", size=flags.size, memory_mb=1, cache=str(cache), say=lambda line: None)
    batch = min(25, count)
    streams = {name: way() for name, way in warm_ways(paths, mapped, batch=batch).items()}
    for stream in streams.values():  # Compile, start workers, fill what is read ahead.
        images_a_second(stream, seconds=flags.seconds)
    warm = {name: partial(images_a_second, stream, seconds=flags.seconds) for name, stream in streams.items()}
    print_rates("warm", take_turns(warm, rounds=flags.rounds), against="a DataLoader")
    streams.clear()
    if flags.chunks:
        training = training_ways(mapped, config_name=flags.config, chunks=flags.chunks)
        take_turns(training, rounds=1)  # This compiles.
        print(f"| training `{flags.config}` | ms a step | % waiting |\n|---|---|---|")
        for feed, values in take_turns(training, rounds=flags.rounds).items():
            milliseconds, shares = zip(*values, strict=True)
            print(f"| {feed} | {spread(milliseconds, 1)} | {spread([100 * share for share in shares], 2)} |")
    print("\n| MB, own / mapped | at the start | loaded | after an epoch | after two |\n|---|---|---|---|---|")
    for name, budget in (("in memory", IN_MEMORY), ("in a file", 1)):
        moments = memory_of(folder / "images", cache, size=flags.size, memory_mb=budget)
        print(f"| {name} | {' | '.join(moment.replace('/', ' / ') for moment in moments)} |", flush=True)


def print_starts(rounds: int) -> None:
    """Print the seconds from a command to its first step, with each feed, if its narrow networks are compiled already."""
    from benchmarks.startup import seconds_to_first_step

    with tempfile.TemporaryDirectory(prefix="sharingan-jax-cache-") as cache:
        ways = {
            feed: partial(seconds_to_first_step, Path(cache), f"--config.data.feed={feed}", *NARROW)
            for feed in ("device", "tfdata")
        }
        take_turns(ways, rounds=1)  # This fills the cache.
        found = take_turns(ways, rounds=rounds)
    print("\n| feed | s to the first step | times tfdata |\n|---|---|---|")
    for feed, seconds in found.items():
        ratios = [ours / theirs for ours, theirs in zip(seconds, found["tfdata"], strict=True)]
        print(f"| {feed} | {spread(seconds, 1)} | {spread(ratios, 2)} |")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 10_000], help="how many images")
    parser.add_argument("--size", type=int, default=64, help="pixels a side of the decoded images")
    parser.add_argument("--side", type=int, default=96, help="pixels a side of the files")
    parser.add_argument("--format", choices=["jpg", "png"], default="jpg", help="of the files")
    parser.add_argument("--only-cold", action="store_true", help="measure only the way from files to decoded images")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement of warm batches")
    parser.add_argument("--config", default="quick", help="the configuration that is trained to see whether it waits")
    parser.add_argument("--chunks", type=int, default=4, help=f"of {STEPS_A_CHUNK} steps; 0: train nothing")
    parser.add_argument("--starts", type=int, default=0, help="whole starts with each feed; 0: none")
    flags = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    print(f"{cores()} cores; medians (smallest–largest) of {flags.rounds} rounds in turns")
    for count in flags.counts:
        with tempfile.TemporaryDirectory(prefix="sharingan-jax-input-") as folder:
            measure(count, Path(folder), flags)
    if flags.starts:
        print_starts(flags.starts)
    return 0


if __name__ == "__main__":
    sys.exit(import_module("benchmarks.input").main())  # By this name other processes find its functions.
