"""What a run will need, roughly, before anything is compiled: memory and time, from XLA's count of the step's work."""

import os
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sharingan_jax.devices.trainer import Trainer
from sharingan_jax.gan.gan import init_state

SHARE_OF_PEAK = 0.5
"""A step's rate of float operations, as a part of that of a large product. Measured with `default` on two CPU cores: 0.5."""
STEP_OVERHEAD = 0.01
"""Seconds that a step takes even if it has almost no work: 0.01 with `smoke`."""
TRAFFIC_PER_TEMPORARY = 64
"""How often a step's temporary memory is read and written before XLA fuses anything: 63 to 65 for smoke, quick and default."""
STATE_COPIES = 4
"""The state itself, its gradients, and two copies on the host while a checkpoint is written."""
SIDE = 1024


@dataclass(frozen=True)
class Cost:
    """A rough estimate: seconds a step, and bytes of memory besides the program's own."""

    step_seconds: float
    memory: float


def estimate_cost(trainer: Trainer, *, batch_size: int, image_shape: tuple[int, int, int]) -> Cost:
    """Return what a step of one run costs. It is traced and not compiled; one product is timed on the device."""
    state = jax.eval_shape(lambda: init_state(trainer.gan, seed=0))
    work = trainer.lower(state, steps=1, batch_size=batch_size, image_shape=image_shape).cost_analysis() or {}
    operations, traffic = (float(work.get(name, 0.0)) for name in ("flops", "bytes accessed"))
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    seconds = operations / trainer.mesh.size / (SHARE_OF_PEAK * _product_rate(trainer.config.train.precision))
    return Cost(STEP_OVERHEAD + seconds, STATE_COPIES * state_bytes + traffic / TRAFFIC_PER_TEMPORARY)


def in_words(seconds: float) -> str:
    """Return a rough time in words: `45 minutes`."""
    for length, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} seconds"


def memory_limit(device: jax.Device) -> int | None:
    """Return the bytes of memory that a device has, on a CPU those of the machine; None if it does not say."""
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    names = getattr(os, "sysconf_names", {})
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "SC_PHYS_PAGES" in names else None


def _product_rate(precision: str) -> float:
    """Return the float operations a second of a product of two matrices [SIDE, SIDE], the best of five."""

    @jax.jit
    def multiply(matrix: jax.Array) -> jax.Array:
        with jax.default_matmul_precision(precision):
            return matrix @ matrix

    matrix = jnp.ones((SIDE, SIDE))
    multiply(matrix).block_until_ready()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        multiply(matrix).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * SIDE**3 / min(seconds)
