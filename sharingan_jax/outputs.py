"""The images that a run leaves: sample grids, their GIF, the loss curves, real next to generated images."""

import numpy as np

from sharingan_jax.figures import loss_figure, real_vs_fake_figure
from sharingan_jax.images import make_grid, save_png, save_training_gif
from sharingan_jax.rundir import RunDir, read_metrics


def save_sample(run: RunDir, step: int, fake: np.ndarray, columns: int) -> np.ndarray:
    """Write `fake` [N, H, W, C] in [−1, 1] as the sample grid of `step`, and return that grid, uint8 [H', W', 3]."""
    grid = make_grid(fake, columns=columns)
    save_png(run.sample(step), grid)
    return grid


def save_summaries(run: RunDir, real_u8: np.ndarray, fake: np.ndarray, *, step: int, columns: int) -> None:
    """Write `losses.png`, `real_vs_fake.png` and `training.gif` as of `step`."""
    records = read_metrics(run)
    if records:
        loss_figure(run.root / "losses.png", records, title=f"{run.root.absolute().parent.name}/{run.root.name}")
    real_vs_fake_figure(run.root / "real_vs_fake.png", real_u8[: len(fake)], fake, columns=columns)
    grids = run.sample_files(step)
    if grids:
        save_training_gif(run.root / "training.gif", {int(path.stem.removeprefix("step_")): path for path in grids})
