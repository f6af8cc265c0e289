"""The pictures that a run leaves: grids, the film of them, the loss curves, real beside generated."""

import numpy as np

from sharingan_jax.reporting.grids import make_grid, save_gif, save_png
from sharingan_jax.reporting.plots import loss_figure, real_vs_fake_figure
from sharingan_jax.run.folder import RunDir
from sharingan_jax.run.metrics import read_metrics


def save_sample(run: RunDir, step: int, fake: np.ndarray) -> np.ndarray:
    """Writes the grid of `fake` [N, H, W, C] in [−1, 1] as that step's sample; returns it, uint8 [H', W', 3]."""
    grid = make_grid(fake)
    save_png(run.sample(step), grid)
    return grid


def save_summaries(run: RunDir, real_u8: np.ndarray, fake: np.ndarray, *, step: int) -> None:
    """Writes `losses.png`, `real_vs_fake.png` and `training.gif` as of `step`."""
    records = read_metrics(run)
    if records:
        loss_figure(run.root / "losses.png", records, title=f"{run.root.absolute().parent.name}/{run.root.name}")
    real_vs_fake_figure(run.root / "real_vs_fake.png", real_u8[: len(fake)], fake)
    grids = run.sample_files(step)
    if grids:
        save_gif(run.root / "training.gif", grids)
