"""The device mesh, and what lies where on it."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sharingan_jax.errors import UserError

BATCH = "batch"


def make_mesh(devices: int, *, batch_sizes: set[int], initial_devices: int = 0) -> Mesh:
    """Return a one-axis mesh over `devices` devices.

    0 takes `initial_devices`, if that many are here and divide every batch; else the most devices that do. Each of several
    processes gives equally many, and the devices of one are neighbours, so that it feeds one piece of the batch. Raises UserError
    if there are fewer devices than asked for, or if they do not divide a batch, with the nearest choices that do.
    """
    of_each = [[device for device in jax.devices() if device.process_index == p] for p in range(jax.process_count())]
    processes, there = len(of_each), len(of_each) * min(map(len, of_each))
    if devices > there:
        owner = "this machine has" if processes == 1 else f"these {processes} processes have"
        raise UserError(f"config: train.devices={devices} and {owner} {there} ({jax.default_backend()}); 0 takes what fits")
    counts = range(processes, (devices or there) + 1, processes)
    fitting = [n for n in counts if all(size % n == 0 for size in batch_sizes)]
    if not fitting:
        raise _uneven(processes, f"{processes} processes", fitting=None, batch_sizes=batch_sizes)
    if devices and fitting[-1] != devices:
        raise _uneven(devices, f"train.devices={devices}", fitting=fitting[-1], batch_sizes=batch_sizes)
    count = initial_devices if initial_devices in fitting and not devices else fitting[-1]
    chosen = [device for own in of_each for device in own[: count // processes]]
    return Mesh(np.array(chosen), (BATCH,))


def check_groups(groups: int, *, batch_sizes: set[int]) -> None:
    """Raises UserError, with the nearest choice that does, where a batch does not divide into equal parts for batch norm."""
    uneven = [size for size in sorted(batch_sizes) if size % groups]
    if uneven:
        fitting = max(n for n in range(1, groups + 1) if all(size % n == 0 for size in batch_sizes))
        whole = max(batch_sizes)
        instead = (
            f"a batch of {max(groups, round(whole / groups) * groups)}" if whole in uneven else "data.last_batch=fill or drop"
        )
        raise UserError(
            f"config: model.batch_norm_groups={groups} does not divide a batch of {uneven[-1]};"
            f" use --config.model.batch_norm_groups={fitting}, or {instead}"
        )


def _uneven(count: int, whom: str, *, fitting: int | None, batch_sizes: set[int]) -> UserError:
    uneven = {size for size in batch_sizes if size % count}
    whole, partial = max(batch_sizes), max(uneven, default=max(batch_sizes))
    if partial != whole:
        what = f"train.batch_size={whole} makes an epoch's last batch one of {partial}"
        instead = "data.last_batch=fill or drop"
    else:
        below, above = whole // count * count, (whole // count + 1) * count
        nearest = f"{below} or {above}" if below else f"{above}"
        what, instead = f"train.batch_size={whole}", f"a batch of {nearest} (with data.last_batch=fill or drop)"
    fewer = f"--config.train.devices={fitting}, or " if fitting else ""
    return UserError(f"config: {what}, which does not divide over {whom}; use {fewer}{instead}")


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what lies whole on every device: the state, latents, samples."""
    return NamedSharding(mesh, PartitionSpec())
