"""The post's five experiments on the images of one folder: run them, and report the results.

    python -m experiments.post train --images FOLDER --runs runs/post
    python -m experiments.post report --runs runs/post --figure docs/images/post_losses.png

`train` runs the five configurations one after another, about an hour on two idle CPU cores. Started again, it resumes. Further
settings, such as `--config.seed=1`, apply to all five.
`report` prints the tables of docs/experiments.md from the runs' metrics and sample grids, and plots their loss curves.
"""

import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import sharingan_jax as sg
from sharingan_jax.__main__ import exit_code
from sharingan_jax.commands.arguments import Parser
from sharingan_jax.data.sources.load import load_dataset_from_config
from sharingan_jax.errors import UserError
from sharingan_jax.files import read_json
from sharingan_jax.reporting.grids import make_grid
from sharingan_jax.run.folder import RunFolder, read_config
from sharingan_jax.run.metrics import read_metrics

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ("baseline", "modified_loss", "stabilised", "stabilised_long", "stabilised_modified")
CURVE_STEPS = (1, 10, 25, 50, 100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2000, 2500, 3000, 3500, 4000)
GRID_STEPS = (100, 200, 300, 400, 600, 800, 1000, 1200, 1600, 2000, 2500, 3000, 3500, 4000)
WINDOW = 25
SPIKE = 10.0  # nats above the median of the steps around it
TWINS = (("baseline", "modified_loss"), ("stabilised", "stabilised_long"), ("stabilised_modified", "stabilised_long"))


def train(images: Path, runs: Path, *, changes: list[tuple[str, str]]) -> None:
    """Run or resume all five with the same changes to their settings."""
    for name in EXPERIMENTS:
        settings = [("data.source", "folder"), ("data.path", str(images)), *changes]
        sg.train(sg.load_config(ROOT / "configs" / f"{name}.py", settings), workdir=runs / name)


def report(runs: Path, figure: Path) -> None:
    """Print the results as Markdown, and plot the curves."""
    records = {name: read_metrics(RunFolder(runs / name)) for name in EXPERIMENTS}
    for name in EXPERIMENTS:
        manifest = read_json(RunFolder(runs / name).manifest)
        print(f"- `{name}`: {manifest['status']} at step {manifest['step']}, digest `{manifest['digest'][:16]}`")
    for title, key in (("Loss_D", "loss_d"), ("Loss_G", "loss_g"), ("D(x)", "d_real"), ("D(G(z)) before", "d_fake_before")):
        print(f"\n{title}, mean over the {WINDOW} steps that end at the step named (the first row: step 1 alone)\n")
        print(curve_table(records, key))
    print(f"\nSpikes: steps whose Loss_D is more than {SPIKE:g} above the median of the 101 steps around it\n")
    print(spike_table(records))
    print("\nRuns that differ in length or in β only\n")
    print(twin_table(records))
    print("\nVariety of each grid: mean distance of two images, as a fraction of the real images' (how many are distinct)\n")
    print(variety_table(runs))
    draw_curves(records, figure)


def curve_table(records: dict[str, list[dict[str, Any]]], key: str) -> str:
    """Return a table with a row for each step and a column for each experiment."""
    rows = []
    for step in CURVE_STEPS:
        cells = [f"{_window_mean(lines, key, step):.3g}" if step <= len(lines) else "" for lines in records.values()]
        rows.append([str(step), *cells])
    return _markdown(["step", *records], rows)


def spike_table(records: dict[str, list[dict[str, Any]]]) -> str:
    """Return for each experiment how many steps spike, when, and how high."""
    rows = []
    for name, lines in records.items():
        height = heights(np.array([line["loss_d"] for line in lines]))
        steps = (np.flatnonzero(height > SPIKE) + 1).tolist()
        top = f"{height.max():.1f} at step {int(height.argmax()) + 1}" if steps else "–"
        rows.append([name, str(len(steps)), _ranges(steps), top])
    return _markdown(["experiment", "steps", "where", "highest"], rows)


def heights(values: np.ndarray, *, width: int = 101) -> np.ndarray:
    """Return each value [T] minus the median of the `width` values around it (of the first or last ones at the ends)."""
    width = min(width, len(values))
    windows = np.lib.stride_tricks.sliding_window_view(values, width)
    starts = np.clip(np.arange(len(values)) - width // 2, 0, len(windows) - 1)
    return values - np.median(windows, axis=1)[starts]


def twin_table(records: dict[str, list[dict[str, Any]]]) -> str:
    """Return for pairs that differ only in length or in β: the number of common steps in which G's loss is the same float."""
    rows = []
    for one, other in TWINS:
        pairs = [(a["loss_g"], b["loss_g"]) for a, b in zip(records[one], records[other], strict=False)]
        rows.append([one, other, str(len(pairs)), str(sum(a == b for a, b in pairs))])
    return _markdown(["", "", "common steps", "steps with the same Loss_G"], rows)


def variety_table(runs: Path) -> str:
    """Return the mean distance between two images of a grid, and how many of its images are distinct, at chosen steps."""
    config = read_config(RunFolder(runs / EXPERIMENTS[0]))
    dataset = load_dataset_from_config(config.data)
    real = dataset.preview(dataset.count)
    real_distance, threshold = real_variety(real, count=config.sample.num)
    rows = []
    for step in GRID_STEPS:
        cells = []
        for name in EXPERIMENTS:
            path = RunFolder(runs / name).sample(step)
            if path.is_file():
                fakes = cut_grid(_read_grid(path), size=config.data.size, count=config.sample.num)
                cells.append(f"{mean_distance(fakes) / real_distance:.2f} ({distinct(fakes, threshold)})")
            else:
                cells.append("")
        rows.append([str(step), *cells])
    return _markdown(["step", *EXPERIMENTS], rows)


def real_variety(real_u8: np.ndarray, *, count: int) -> tuple[float, float]:
    """Return for the real images, in grids of `count`: (mean distance of a pair, half the median distance to the nearest other
    image). Two images closer than the second count as the same."""
    size = real_u8.shape[1]
    grids = [cut_grid(make_grid(group / 127.5 - 1.0), size=size, count=count) for group in _groups(real_u8, count)]
    everything = distances(np.concatenate(grids))
    np.fill_diagonal(everything, np.inf)
    return float(np.mean([mean_distance(grid) for grid in grids])), float(np.median(everything.min(1)) / 2)


def cut_grid(grid_u8: np.ndarray, *, size: int, count: int, padding: int = 2) -> np.ndarray:
    """Return the images of a grid uint8 [H', W', 3] that `make_grid` made: float64 [count, size, size, 3] in [0, 1]."""
    columns = (grid_u8.shape[1] - padding) // (size + padding)
    corners = [(padding + i // columns * (size + padding), padding + i % columns * (size + padding)) for i in range(count)]
    return np.stack([grid_u8[top : top + size, left : left + size] for top, left in corners]) / 255.0


def distances(images: np.ndarray) -> np.ndarray:
    """Return the root mean square difference of every two images [N, H, W, C]: [N, N]."""
    flat = images.reshape(len(images), -1)
    squares = (flat**2).sum(1)
    between = squares[:, None] + squares[None, :] - 2 * flat @ flat.T
    return np.sqrt(np.maximum(between, 0) / flat.shape[1])


def mean_distance(images: np.ndarray) -> float:
    """Return the mean distance of two different images [N, H, W, C]."""
    return float(distances(images)[np.triu_indices(len(images), 1)].mean())


def distinct(images: np.ndarray, threshold: float) -> int:
    """Count the images, dropping each one that is closer than `threshold` to an earlier image that was counted."""
    between = distances(images)
    left: list[int] = []
    for i in range(len(images)):
        if all(between[i, j] >= threshold for j in left):
            left.append(i)
    return len(left)


def draw_curves(records: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Plot both losses of all five experiments, one panel each, over the same steps."""
    figure = Figure(figsize=(9, 11), layout="constrained")
    last = max(len(lines) for lines in records.values())
    for axes, (name, lines) in zip(figure.subplots(len(records), 1, sharex=True), records.items(), strict=True):
        for key, label, colour in (("loss_d", "Loss_D", "#0072b2"), ("loss_g", "Loss_G", "#d55e00")):
            axes.plot([line["step"] for line in lines], [line[key] for line in lines], label=label, color=colour, linewidth=0.6)
        axes.set_yscale("symlog", linthresh=1.0)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlim(0, last)
        axes.set_title(name, loc="left", fontsize=10)
        axes.grid(alpha=0.25)
    figure.axes[0].legend(ncols=2, fontsize=8, frameon=False, loc="upper right")
    figure.axes[-1].set_xlabel("step")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _read_grid(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _groups(real_u8: np.ndarray, count: int) -> Iterable[np.ndarray]:
    return [real_u8[start : start + count] for start in range(0, len(real_u8) - count + 1, count)]


def _window_mean(lines: list[dict[str, Any]], key: str, step: int) -> float:
    first = 1 if step < WINDOW else step - WINDOW + 1
    if step == 1:
        return float(lines[0][key])
    return statistics.mean(line[key] for line in lines[first - 1 : step])


def _ranges(steps: list[int], *, gap: int = 10) -> str:
    """Return steps as ranges. Steps at most `gap` apart share a range."""
    parts: list[list[int]] = []
    for step in steps:
        if parts and step - parts[-1][-1] <= gap:
            parts[-1].append(step)
        else:
            parts.append([step])
    return ", ".join(f"{part[0]}–{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts) or "–"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])


def command(arguments: list[str]) -> int:
    return exit_code(lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    parser = Parser("experiments.post", description=__doc__)
    parser.prog = "python -m experiments.post"
    parser.add_argument("what", choices=("train", "report"), help="run the experiments, or print the results")
    parser.add_argument("--runs", type=Path, default=Path("runs/post"), help="folder of the five runs; default: runs/post")
    parser.add_argument("--images", type=Path, help="train: the folder of images")
    parser.add_argument("--figure", type=Path, default=Path("docs/images/post_losses.png"), help="report: file for the curves")
    flags, changes = parser.parse(arguments)
    if flags.what == "report":
        try:
            report(flags.runs, flags.figure)
        except UserError as error:
            raise UserError(f"{error}; `train` makes the runs") from None
    elif flags.images is None:
        parser.error("train needs --images, a folder")
    else:
        train(flags.images, flags.runs, changes=changes)
    return 0


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
