"""The measures of the study's trainings, and the tables and the plot made from its file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.groups import Measure, permutation_tests
from experiments.post import mean_distance
from sharingan_jax.files import write_atomically

WINDOW = 20  # steps in one point of a curve
FINAL = 100  # steps that the final losses are means over
CURVES = {"loss_d": "Loss_D", "loss_g": "Loss_G"}
SAMPLE_MEASURES = {
    "red": "red",
    "green": "green",
    "blue": "blue",
    "variance": "pixel variance",
    "detail": "detail",
    "diversity": "diversity",
}
STUCK_NORM = 0.01  # of G's gradient; in a training that still learns, its median over a window is 10 and more
COLOURS = {"ours": "#0072b2", "pytorch": "#d55e00", "default_loss": "#009e73"}
LABELS = {"ours": "ours", "pytorch": "PyTorch", "default_loss": "ours, default loss"}
Study = dict[str, Any]


def window_means(values: Sequence[float]) -> list[float]:
    """Return the mean of each WINDOW steps, to six digits. A partial window at the end is dropped."""
    whole = np.array(values[: len(values) // WINDOW * WINDOW], np.float64).reshape(-1, WINDOW)
    return [float(f"{mean:.6g}") for mean in whole.mean(axis=1)]


def stuck_from(grad_norms_g: Sequence[float]) -> int | None:
    """Return the step from which, in every window until the end, G has almost no gradient in most steps. None if it has one.

    Torch: `BCELoss` has no gradient if D's probabilities round to 0 or 1.
    """
    whole = np.array(grad_norms_g[: len(grad_norms_g) // WINDOW * WINDOW], np.float64).reshape(-1, WINDOW)
    learning = np.flatnonzero(np.median(whole, axis=1) >= STUCK_NORM)
    first = int(learning[-1]) + 1 if len(learning) else 0
    return first * WINDOW + 1 if first < len(whole) else None


def sample_statistics(images: np.ndarray) -> dict[str, float]:
    """Return statistics of images [N, H, W, 3] in [−1, 1], N > 1.

    They are the mean of each colour in [0, 1]; the variance over an image's pixels in a channel, averaged over channels and
    images; detail, the mean squared difference of neighbouring pixels; and diversity, the mean distance (root mean square over
    pixels) of two images.
    """
    scaled = (images.astype(np.float64) + 1) / 2
    red, green, blue = scaled.mean(axis=(0, 1, 2))
    across, down = np.diff(scaled, axis=2) ** 2, np.diff(scaled, axis=1) ** 2
    return {
        "red": float(red),
        "green": float(green),
        "blue": float(blue),
        "variance": float(scaled.var(axis=(1, 2)).mean()),
        "detail": float((across.mean() + down.mean()) / 2),
        "diversity": mean_distance(scaled),
    }


def relative_statistics(fakes: np.ndarray, real: dict[str, float]) -> dict[str, float]:
    """Return the fakes' statistics as fractions of the real images' statistics, to six digits."""
    return {name: float(f"{value / real[name]:.6g}") for name, value in sample_statistics(fakes).items()}


def runs_of(study: Study, system: str, experiment: str) -> list[dict[str, Any]]:
    """Return the runs of one group, by seed."""
    return [run for run in study["runs"] if (run["system"], run["experiment"]) == (system, experiment)]


def measures_of(study: Study, experiment: str) -> list[Measure]:
    """Return the measures that compare our runs with PyTorch's in one experiment: whether a run got stuck, two loss curves, two
    final losses, six statistics of samples."""
    pair = [runs_of(study, name, experiment) for name in ("ours", "pytorch")]
    last = FINAL // WINDOW

    def measure(name: str, key: str, part: slice | None = None) -> Measure:
        groups = [np.array([run[key] for run in runs], np.float64) for runs in pair]
        if part is not None:
            groups = [group[:, part].mean(axis=1) for group in groups]
        return Measure(name, *groups)

    stuck = [np.array([float(run["stuck_from"] is not None) for run in runs]) for runs in pair]
    return [
        Measure("stuck", *stuck),
        *(measure(f"course of {label}", key) for key, label in CURVES.items()),
        *(measure(f"final {label}", key, slice(-last, None)) for key, label in CURVES.items()),
        *(measure(label, key) for key, label in SAMPLE_MEASURES.items()),
    ]


def stuck_table(study: Study) -> str:
    """Return for each group how many runs were stuck until their end, and from which steps: see `stuck_from`."""
    lines = ["| experiment | system | runs | stuck | from step |", "|---|---|---|---|---|"]
    for experiment, system in dict.fromkeys((run["experiment"], run["system"]) for run in study["runs"]):
        runs = runs_of(study, system, experiment)
        steps = [run["stuck_from"] for run in runs if run["stuck_from"]]
        lines.append(f"| {experiment} | {LABELS[system]} | {len(runs)} | {len(steps)} | {', '.join(map(str, steps)) or '–'} |")
    return "\n".join(lines)


def table(study: Study, experiment: str) -> str:
    """Return one row for each measure: each group's median with its smallest and largest run, the difference of the means with
    Welch's 95% interval, and both p. There is no interval if a group has stuck runs: then its values are not normal."""
    from scipy.stats import ttest_ind

    measures = measures_of(study, experiment)
    all_learn = not any(measures[0].ours) and not any(measures[0].theirs)
    lines = [
        f"| measure | ours | PyTorch | difference of means (95%) | p | p among all {len(measures)} |",
        "|---|---|---|---|---|---|",
    ]
    for measure, alone, among in zip(measures, *permutation_tests(measures), strict=True):
        cells = ["", "", ""]
        if measure.ours.ndim == 1:
            cells[:2] = [_spread(measure.ours), _spread(measure.theirs)]
        if measure.ours.ndim == 1 and all_learn and measure.name != "stuck":
            interval = ttest_ind(measure.ours, measure.theirs, equal_var=False).confidence_interval(0.95)
            apart = measure.ours.mean() - measure.theirs.mean()
            cells[2] = f"{apart:+.3g} ({interval.low:+.3g} to {interval.high:+.3g})"
        lines.append(f"| {measure.name} | {' | '.join(cells)} | {alone:.3f} | {among:.3f} |")
    return "\n".join(lines)


def _spread(values: np.ndarray) -> str:
    return f"{np.median(values):.3g} ({values.min():.3g} to {values.max():.3g})"


def draw(study: Study, path: Path) -> None:
    """Write the plot: for each experiment both losses with bands, and each run's statistics of samples."""
    experiments = list(dict.fromkeys(run["experiment"] for run in study["runs"]))
    figure = Figure(figsize=(10, 10), layout="constrained")
    panels = figure.subplots(3, len(experiments), squeeze=False)
    for column, experiment in enumerate(experiments):
        runs = [run for run in study["runs"] if run["experiment"] == experiment]
        for axes, first, (key, label) in zip(panels[:2, column], panels[:2, 0], CURVES.items(), strict=True):
            if axes is not first:
                axes.sharey(first)
            _draw_bands(axes, runs, key)
            axes.set_ylabel(f"{label} (nats)")
        _draw_dots(panels[2, column], runs)
        panels[0, column].set_title(experiment)
    handles, names = panels[0, 0].get_legend_handles_labels()
    panels[0, -1].legend(handles, names, frameon=False, loc="upper right")
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=100, metadata={"Software": None}))


def _draw_bands(axes: Axes, runs: list[dict[str, Any]], key: str) -> None:
    for system, colour in COLOURS.items():
        curves = np.array([run[key] for run in runs if run["system"] == system])  # [S, T]
        if not len(curves):
            continue
        steps = (np.arange(curves.shape[1]) + 0.5) * WINDOW
        axes.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        axes.plot(steps, curves.mean(axis=0), color=colour, label=f"{LABELS[system]}: {_of(len(curves))}")
    axes.set_yscale("symlog", linthresh=1.0)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("step")
    axes.grid(alpha=0.25)


def _of(runs: int) -> str:
    return "one run" if runs == 1 else f"mean of {runs} runs, smallest to largest"


def _draw_dots(axes: Axes, runs: list[dict[str, Any]]) -> None:
    for shift, (system, colour) in zip((-0.2, 0.0, 0.2), COLOURS.items(), strict=True):
        for place, key in enumerate(SAMPLE_MEASURES):
            values = [run[key] for run in runs if run["system"] == system]
            axes.plot([place + shift] * len(values), values, "o", color=colour, alpha=0.6, markersize=5)
    axes.axhline(1.0, color="black", linewidth=0.6)
    axes.set_xticks(range(len(SAMPLE_MEASURES)), list(SAMPLE_MEASURES.values()), fontsize=8)
    axes.set_ylabel("samples, as a fraction of real images'")
    axes.grid(alpha=0.25, axis="y")
