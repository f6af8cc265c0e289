"""Text that training prints at its start and at its end."""

import os
from collections.abc import Sequence

from sharingan_jax.data.dataset import ImageDataset
from sharingan_jax.data.sources.files import FEW, shown, with_reasons
from sharingan_jax.errors import as_command, command_line, counted
from sharingan_jax.reporting.progress import duration
from sharingan_jax.training.recorder import OpenRun
from sharingan_jax.training.setup import RunSetup

COMPILING = {"cpu": "10 to 60 s", "gpu": "about a minute", "tpu": "about a minute"}
"""How long the first chunk takes to compile, roughly, if no earlier start has kept the program. TPU: not measured yet."""


def describe_images(setup: RunSetup) -> str:
    """Return the number of training images, how many are held out if there are any, and where they come from:
    `80 (20 held out) from eyes.zip (a .zip archive)`."""
    dataset, data = setup.dataset, setup.config.data
    held_out = f" ({len(dataset.held_out_digests)} held out)" if dataset.held_out_digests else ""
    variants = f" ({dataset.count:,} with turns and mirror images)" if dataset.count > len(dataset.names) else ""
    place = data.path or data.name
    return f"{len(dataset.names)}{held_out}{variants} from " + (f"{place} ({dataset.kind})" if place else dataset.kind)


def describe_files(dataset: ImageDataset, *, place: str) -> list[str]:
    """Return a line for each thing to know about the files at `place`: those left out, what was changed, and copies."""
    lines = []
    for files, one, several in (
        (dataset.bad, "cannot be read and was", "cannot be read and were"),
        (dataset.skipped, "is not an image and was", "are not images and were"),
    ):
        if files:
            why = one if len(files) == 1 else several
            lines.append(f"{place}: {counted(len(files), 'file')} {why} skipped: {with_reasons(files, most=FEW)}")
    lines += [f"{place}: {remark}" for remark in dataset.remarks]
    if copies := dataset.copies:
        copy, of = next(iter(copies.items()))
        lines.append(f"{place}: {len(copies)} of {len(dataset.names)} are copies of others, such as {shown(copy)} of {shown(of)}")
    return lines


def describe_start(setup: RunSetup, *, seeds: int, name: str) -> str:
    """Return what is about to be trained, on which device, on how many images, and where it writes.

    `name` is the configuration's: see `listing.name_config`.
    """
    config, dataset, schedule, mesh = setup.config, setup.dataset, setup.schedule, setup.trainer.mesh
    height, width, _ = dataset.image_shape
    done = setup.existing.last_step
    networks = f"DCGAN, {height}×{width} pixels, {'several seeds' if seeds > 1 else f'seed {config.seed}'}"
    device, count = mesh.devices.flat[0], (setup.stacked_mesh or mesh).size
    kind = f"{device.device_kind} ({device.platform})"
    if device.platform == "cpu":
        kind = f"CPU, {counted(config.train.host_threads, 'thread')}"
    steps = f"{schedule.total_steps} of {config.train.batch_size} images"
    if done >= schedule.total_steps:
        steps += ", all done before"
    elif done:
        steps += f", continuing after step {done}"
    compiling = f"compiling takes {COMPILING.get(device.platform, 'about a minute')} the first time; the next start is faster"
    return "\n".join(
        [
            f"training  {networks}",
            f"config    {name}",
            f"images    {describe_images(setup)}",
            f"steps     {steps}",
            f"device    {f'{count} × ' if count > 1 else ''}{kind}",
            f"folder    {setup.folder.root}",
            *([compiling] if done < schedule.total_steps else []),
        ]
    )


def describe_end(runs: Sequence[OpenRun], *, seconds: float) -> str:
    """Return where the results are, what to look at, and the command that draws more images."""
    lines = []
    for run in runs:
        whose = f"seed {run.setup.config.seed}: " if len(runs) > 1 else ""
        digest = run.manifest.digest if run.manifest else None
        lines.append(
            f"{whose}{run.manifest.status if run.manifest else 'stopped'}: step {run.step} of {run.setup.schedule.total_steps}"
            f" after {duration(seconds)}, digest {(digest or '')[:12]}"
        )
    folder = runs[0].setup.folder.root
    names = ("report.html", "real_vs_fake.png", "raw_vs_averaged.png", "training.gif", "losses.png")
    written = [name for name in names if (folder / name).is_file()]
    lines.append(f"look at   {folder}{os.sep}{', '.join(written)}")
    sample = as_command(f"{command_line()} sample", ["--workdir", str(folder), "--out", "grid.png"])
    lines.append(f"sample    {sample}")
    return "\n".join(lines)
