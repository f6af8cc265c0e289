"""Pictures of an evaluation: samples next to their nearest training images, and the distances between them."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sharingan_jax.evaluation.measures.memorisation import leave_one_out
from sharingan_jax.evaluation.panel import Reference
from sharingan_jax.evaluation.turns import best_turns, soften, turn
from sharingan_jax.files import write_atomically
from sharingan_jax.reporting.grids import add_caption, enlarge, save_png
from sharingan_jax.reporting.plots import BLUE, GREEN, ORANGE

COLUMNS = 12
GAP = 6  # pixels
TALL = 96  # pixels a side of the images of a sheet, about


def neighbour_sheet(samples_u8: np.ndarray, to_train: np.ndarray, reference: Reference) -> np.ndarray:
    """Return a sheet uint8 [H, W, 3] of samples uint8 [F, H, W, C], each above its nearest training image, turned to match.

    `to_train` are the samples' distances to the training images, float [F, N]. The upper pair of rows shows the first samples,
    which nobody chose. The lower pair shows the samples nearest to a training image, nearest first.
    """
    nearest, closest = to_train.argmin(1), np.argsort(to_train.min(1), kind="stable")
    parts = []
    for title, chosen in (("first samples", np.arange(len(samples_u8))), ("samples nearest to a training image", closest)):
        chosen = chosen[:COLUMNS]
        matched = np.stack([_turned_to_match(samples_u8[i], reference, int(nearest[i])) for i in chosen])
        body = np.concatenate([_row(samples_u8[chosen]), _row(matched)])
        parts.append(add_caption(body, f"{title}, each above its nearest training image"))
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, GAP), (0, width - part.shape[1]), (0, 0)), constant_values=255) for part in parts])


def _turned_to_match(sample_u8: np.ndarray, reference: Reference, index: int) -> np.ndarray:
    """Return training image `index` under the turn that brings it nearest to the sample, uint8 [H, W, C]."""
    (best,) = best_turns(reference.soft_train[index][None], soften(sample_u8[None])[0], reference.turns)
    turned = turn(reference.train[index][None].astype(np.float32), int(best), reference.turns)[0]
    return np.clip(np.round(turned), 0, 255).astype(np.uint8)


def _row(images_u8: np.ndarray) -> np.ndarray:
    """Return images [N, H, W, C] side by side on white, uint8 [H', W', 3]."""
    factor = max(1, TALL // images_u8.shape[1])
    tiles = [np.pad(enlarge(image, factor), ((GAP, 0), (GAP, 0), (0, 0)), constant_values=255) for image in images_u8]
    row = np.concatenate(tiles, axis=1)
    row = np.pad(row, ((0, 0), (0, GAP), (0, 0)), constant_values=255)
    return np.broadcast_to(row, (*row.shape[:2], 3)).copy()


def save_neighbour_sheet(path: Path, samples_u8: np.ndarray, to_train: np.ndarray, reference: Reference) -> None:
    """Write the `neighbour_sheet` as a PNG."""
    save_png(path, neighbour_sheet(samples_u8, to_train, reference))


def save_distance_plot(path: Path, to_train: np.ndarray, reference: Reference, controls: Mapping[str, np.ndarray]) -> None:
    """Plot how far samples are from their nearest training image, next to unseen real images and `controls`.

    `to_train` are the samples' distances to the training images, float [F, N]; `controls` are those of other images, by name.
    Each curve is an empirical distribution: the share of images nearer than the distance on the x axis, in grey levels.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    held_out = reference.unseen_to_train
    unseen = leave_one_out(reference.train_to_train) if held_out is None else held_out
    name = "training images, to the others" if held_out is None else "held-out images"
    curves = {"samples": (BLUE, "-", to_train.min(1))}
    curves[name] = (GREEN, "--", unseen.min(1))
    for style, (control, found) in zip((":", "-."), controls.items(), strict=False):
        curves[control] = (ORANGE, style, found.min(1))
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for label, (colour, style, values) in curves.items():
        axes.step(np.sort(values), np.arange(1, len(values) + 1) / len(values), where="post", color=colour, ls=style, label=label)
    axes.set_xlabel("distance to the nearest training image (grey levels, over all turns)")
    axes.set_ylabel("share of images that are nearer")
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=9)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130, metadata={"Software": None}))
