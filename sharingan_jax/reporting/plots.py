"""Plots of a run: its curves, and real next to generated images."""

import logging
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sharingan_jax.files import write_atomically
from sharingan_jax.gan.losses import AdversarialLoss
from sharingan_jax.gan.metrics import ADAPTIVE, METRICS, Quantity
from sharingan_jax.reporting.grids import add_caption, enlarge_grid, make_grid, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette: colour-blind readers can distinguish them too.
BLUE, ORANGE, GREEN, PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
MOST_POINTS = 4000
WINDOWS = 40  # A running mean takes this part of a curve's points.
PANEL_GAP = 20  # pixels


def loss_figure(path: Path, records: list[dict[str, Any]], *, loss: AdversarialLoss, title: str) -> None:
    """Plot `records` (lines of metrics.jsonl, at least one) over steps: losses, D's answers, gradient norms.

    Thin lines are single steps, thick lines running means over 1/40 of the run. The title says so, with the number of steps.
    If the probability of augmentation adapts, it is with D's answers. `loss` is the run's own: on it depends what an axis shows.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # It announces that it looks for fonts.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8.5), layout="constrained")
    losses, answers, norms = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
    quantities = [(quantity, list(metrics)) for quantity, metrics in groupby(METRICS, key=lambda metric: metric.quantity)]
    for axes, (quantity, metrics) in zip((losses, answers, norms), quantities, strict=True):
        axes.set_ylabel(_axis_title(quantity, loss))
        for metric, colour in zip(metrics, (BLUE, ORANGE, GREEN), strict=False):
            _curve(axes, records, metric.name, label=metric.label, colour=colour)
    if ADAPTIVE.name in records[-1]:
        _curve(answers, records, ADAPTIVE.name, label=ADAPTIVE.label, colour=PINK)
    # Linear up to 1 and logarithmic beyond: a spike, or the β term's hundred, leaves the rest visible.
    losses.set_yscale("symlog", linthresh=1.0)
    losses.yaxis.set_major_formatter("{x:g}")
    answers.set_ylim(-0.03, 1.03)
    norms.set_yscale("log")
    norms.set_xlabel("step")
    for axes in (losses, answers, norms):
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, fontsize=8, frameon=False, borderaxespad=0.2)
    figure.suptitle(f"{title}\n{_line_key(len(records))}", fontsize=10)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=110, metadata={"Software": None}))


def real_vs_fake_figure(path: Path, real_u8: np.ndarray, fake: np.ndarray, *, columns: int = 5) -> None:
    """Write two grids next to each other: real images uint8 [N, H, W, C] and generated images [M, H, W, C] in [−1, 1].

    Each grid is made by `make_grid` with white padding of 5, and enlarged by a whole factor, so each image pixel is a square.
    """
    pair = (("real", real_u8.astype(np.float32) / 127.5 - 1.0), ("generated", fake))
    grids = [(title, make_grid(images, columns=columns, padding=5, pad_value=1.0)) for title, images in pair]
    panels = [add_caption(enlarge_grid(grid), title) for title, grid in grids]
    height, width = (max(panel.shape[axis] for panel in panels) for axis in (0, 1))
    canvas = np.full((height + PANEL_GAP, 2 * width + 3 * PANEL_GAP, 3), 255, np.uint8)
    for i, panel in enumerate(panels):
        left = PANEL_GAP + i * (width + PANEL_GAP)
        canvas[: panel.shape[0], left : left + panel.shape[1]] = panel
    save_png(path, canvas)


def _axis_title(quantity: Quantity, loss: AdversarialLoss) -> str:
    """Return what an axis shows in a run with this loss."""
    if quantity == "loss":
        return f"loss ({loss.unit})" if loss.unit else "loss"
    if quantity == "answer":
        return "D's mean probability" if loss.has_probabilities else "mean sigmoid of D's logits:\nno probability with this loss"
    return "gradient norm, unclipped"


def _curve(axes: "Axes", records: list[dict[str, Any]], name: str, *, label: str, colour: str) -> None:
    points = [(record["step"], record[name]) for record in records if record.get(name) is not None]
    if not points:
        return
    steps, values = (np.array(column, np.float64) for column in zip(*points, strict=True))
    smooth = _running_mean(values, width=_window(len(values)))
    every = -(-len(values) // MOST_POINTS)
    marker = "o" if len(values) == 1 else ""
    axes.plot(steps[::every], values[::every], color=colour, alpha=0.3, linewidth=0.7)
    axes.plot(steps[::every], smooth[::every], color=colour, linewidth=1.6, marker=marker, label=label)
    axes.grid(alpha=0.25)
    axes.margins(x=0.01)


def _window(points: int) -> int:
    return max(1, points // WINDOWS)


def _line_key(steps: int) -> str:
    window = _window(steps)
    return "lines: single steps" if window == 1 else f"thin lines: single steps; thick lines: running mean over {window} steps"


def _running_mean(values: np.ndarray, *, width: int) -> np.ndarray:
    """Return the mean over `width` neighbours, over fewer of them at both ends."""
    kernel = np.ones(width)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")
