"""The device mesh, and the sharding of arrays on it."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sharingan_jax.errors import UserError

BATCH = "batch"


def make_mesh(devices: int, *, batch_sizes: set[int], initial_devices: int = 0) -> Mesh:
    """Return a one-axis mesh over `devices` devices.

    With `devices` = 0 it takes `initial_devices`, if that many are here and divide every batch size. Otherwise it takes the
    most that divide every batch size. Each process gives the same number of devices, which are neighbours in the mesh, so that a
    process feeds one piece of the batch. Raise UserError if there are fewer devices than asked for, or if a batch does not divide
    over them, with the nearest choices that fit.
    """
    of_each = [[device for device in jax.devices() if device.process_index == p] for p in range(jax.process_count())]
    processes, there = len(of_each), len(of_each) * min(map(len, of_each))
    if devices > there:
        owner = "this machine" if processes == 1 else f"these {processes} processes"
        most = f"expected at most the {there} of {owner} ({jax.default_backend()})"
        raise UserError(f"train.devices={devices}: {most}. Use 0 to take the most that fit.")
    counts = range(processes, (devices or there) + 1, processes)
    fitting = [n for n in counts if all(size % n == 0 for size in batch_sizes)]
    if not fitting:
        raise _uneven(processes, f"{processes} processes", fitting=None, batch_sizes=batch_sizes)
    if devices and fitting[-1] != devices:
        raise _uneven(devices, f"train.devices={devices}", fitting=fitting[-1], batch_sizes=batch_sizes)
    count = initial_devices if initial_devices in fitting and not devices else fitting[-1]
    chosen = [device for own in of_each for device in own[: count // processes]]
    return Mesh(np.array(chosen), (BATCH,))


def check_ghost_batches(ghost_batches: int, *, batch_sizes: set[int]) -> None:
    """Raise UserError, with the nearest choice that fits, if a batch does not divide into `ghost_batches` equal parts."""
    uneven = [size for size in sorted(batch_sizes) if size % ghost_batches]
    if uneven:
        fitting = max(n for n in range(1, ghost_batches + 1) if all(size % n == 0 for size in batch_sizes))
        whole = max(batch_sizes)
        nearest = max(ghost_batches, round(whole / ghost_batches) * ghost_batches)
        instead = f"a batch of {nearest}" if whole in uneven else "data.last_batch=fill or drop"
        divisor = f"expected a divisor of the batch of {uneven[-1]}"
        raise UserError(
            f"model.ghost_batches={ghost_batches}: {divisor}. Use --config.model.ghost_batches={fitting}, or {instead}."
        )


def _uneven(count: int, whom: str, *, fitting: int | None, batch_sizes: set[int]) -> UserError:
    uneven = {size for size in batch_sizes if size % count}
    whole, partial = max(batch_sizes), max(uneven, default=max(batch_sizes))
    if partial != whole:
        got = f", got {partial} for the last batch of an epoch"
        instead = "data.last_batch=fill or drop"
    else:
        below, above = whole // count * count, (whole // count + 1) * count
        nearest = f"{below} or {above}" if below else f"{above}"
        got, instead = "", f"a batch of {nearest} (with data.last_batch=fill or drop)"
    fewer = f"--config.train.devices={fitting}, or " if fitting else ""
    return UserError(f"train.batch_size={whole}: expected a batch that divides over {whom}{got}. Use {fewer}{instead}.")


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays that every device holds whole: the state, latents, samples."""
    return NamedSharding(mesh, PartitionSpec())
