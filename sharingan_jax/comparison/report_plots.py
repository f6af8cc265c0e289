"""Plots of a report: curves over steps and each run's primary measure, as SVG for the page and as PNG and PDF for a paper."""

import contextlib
import io
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sharingan_jax.comparison.page_svg import INK, as_svg, page_colour
from sharingan_jax.comparison.results import Curve, Measure, Report, finite
from sharingan_jax.evaluation.measures.collapse import SIGNS
from sharingan_jax.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (INK, "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's palette without yellow.
DASHES = ((), (4.0, 1.5), (1.2, 1.2), (6.0, 1.5, 1.2, 1.5), (2.5, 1.0))  # in line widths; 7 colours x 5 dashes: 35 variants
MARKERS = "osD^vP"  # Six, so that two variants of one colour differ in their markers.
STYLE: dict[str, Any] = {
    "svg.hashsalt": "sharingan_jax",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # TrueType: journals refuse matplotlib's default, Type 3.
    "text.parse_math": False,  # A dollar sign in a name is a dollar sign.
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.18,
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color", "grid.color"), INK),
}
WIDTH, HEIGHT = 5.0, 3.2  # inches of 72 units: at a phone's width a unit is nearly a pixel, so letters stay readable
LINE_WIDTH = 1.7
MOST_POINTS = 100
FAR = 10.0  # From this size on, a symlog scale shows more than a linear one.
TABLE_ROWS = 12
MOST_BANDS = 4  # The bands of more variants would hide each other, and are drawn fainter.
MOST_LETTERS, AXIS_LETTERS = 22, 36  # of a variant's name in a plot, and along an axis
KEY_COLUMNS = 2
PNG_DPI = 200
STACKED = 0.055  # of the axis' height: the distance of marks at the same step
BEST = {"diversity": "1 is best.", "nearest_ratio": "1 is best.", "kid_pixels": "0 is best."}
"""The best value of each sign of collapse."""
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Plot:
    """A plot of the page: its SVG, the section that shows it, and its numbers as a table."""

    section: Literal["runs", "loss", "measure"]
    title: str
    note: str
    svg: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def make_plots(report: Report) -> list[Plot]:
    """Return all plots of a report. The same report gives the same bytes. No id occurs in two of them."""
    plots = []
    with _style():
        for number, panel in enumerate(_panels(report), start=1):
            svg = as_svg(_figure(panel), prefix=f"plot{number}", title=panel.title, description=panel.description())
            columns, rows = panel.table()
            plots.append(Plot(panel.section, panel.title, panel.note(), svg, columns, rows))
    return plots


def save_paper_plots(report: Report, folder: Path) -> list[Path]:
    """Write each plot as PNG (200 dpi) and PDF into `folder`, without a date. Return the files.

    Files of an earlier report that this one does not have are removed.
    """
    paths: list[Path] = []
    with _style():
        for panel in _panels(report):
            figure = _figure(panel, key=[variant.name for variant in report.variants])
            stem = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{panel.section}-{panel.name}")
            while folder / f"{stem}.png" in paths:
                stem += "-2"
            for suffix, metadata in (
                ("png", {"Software": None}),
                ("pdf", dict.fromkeys(("CreationDate", "Creator", "Producer"))),
            ):
                path = folder / f"{stem}.{suffix}"
                content = io.BytesIO()
                figure.savefig(content, format=suffix, dpi=PNG_DPI, metadata=metadata)
                write_atomically(path, lambda file, content=content: file.write(content.getvalue()))  # type: ignore[misc]
                paths.append(path)
    for earlier in set(folder.glob("*.png")) | set(folder.glob("*.pdf")):
        if earlier not in paths and earlier.name.startswith(("runs-", "loss-", "measure-")):
            earlier.unlink()
    return paths


def swatch(index: int) -> str:
    """Return a small SVG with the line and the marker of a variant, for a key. The variant's name stands next to it."""
    colour = page_colour(_colour(index))
    dashes = " ".join(f"{length * 2:g}" for length in _dashes(index))
    return (
        '<svg class="swatch" viewBox="0 0 44 12" width="44" height="12" aria-hidden="true">'
        f'<line x1="0" y1="6" x2="44" y2="6" stroke="{colour}" stroke-width="2.4" stroke-dasharray="{dashes}"/></svg>'
    )


def number(value: float | int | None, digits: int = 3) -> str:
    """Return a number with this many significant digits, and a dash for a missing one. Digits before the point are all shown.

    Below 0.0001 a power of ten follows: 6.25×10⁻⁵.
    """
    if value is None or finite(float(value)) is None:
        return "–"
    if isinstance(value, int) or value == 0 or abs(value) >= 10**digits:
        return f"{value:,.0f}".replace("-", "−")
    mantissa, _, exponent = f"{value:#.{digits}g}".removesuffix(".").replace("-", "−", 1 if value < 0 else 0).partition("e")
    return f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPTS)}" if exponent else mantissa


class CurvePanel:
    """The curves of one metric, a line and a band for each variant, with a mark where a run collapsed or failed."""

    def __init__(self, report: Report, curves: Sequence[Curve]):
        first = curves[0]
        self.report, self.curves = report, [_thinned(curve) for curve in curves]
        self.name, self.section, self.height = first.metric, first.kind, HEIGHT
        unit = first.unit if len({curve.unit for curve in curves}) == 1 else ""  # Variants with other losses have other units.
        self.title = f"{first.label} ({unit})" if unit and unit not in first.label else first.label
        self.y_label, self.scale = unit or first.label, first.scale
        self.recorded = max(len(curve.steps) for curve in curves)

    def note(self) -> str:
        """Return how to read the plot: what a sign of collapse is, its best value, averaging, the scale and equal lines."""
        sentences = [f"{sign.note[0].upper()}{sign.note[1:]}. {BEST[sign.name]}" for sign in SIGNS if sign.name == self.name]
        if self.recorded > MOST_POINTS:
            sentences.append(f"Each point is the mean of about {-(-self.recorded // MOST_POINTS)} recorded values.")
        if self._is_symlog(self._values()):
            sentences.append("The axis is linear from −1 to 1 and logarithmic outside.")
        shown = {curve.variant for curve in self.curves}
        sentences += [f"{each.name} has no values." for each in self.report.variants if each.name not in shown]
        same: dict[Any, list[str]] = {}
        for curve in self.curves:
            same.setdefault((curve.steps, curve.median), []).append(curve.variant)
        sentences += [
            f"The lines of {' and '.join(names)} are equal: one hides the other." for names in same.values() if len(names) > 1
        ]
        return " ".join(sentences)

    def description(self) -> str:
        """Return what the plot shows, in words: lines, bands, the last values and the marks."""
        ends = []
        for curve in self.curves:
            points = [(step, value) for step, value in zip(curve.steps, curve.median, strict=True) if value is not None]
            if points:
                ends.append(f"{curve.variant} {number(points[-1][1])} at step {number(points[-1][0])}")
        place = {"failed": "after", "collapsed": "at"}
        marks = [f"{variant} {what} {place[what]} step {number(step)}" for variant, step, what in self._marks()]
        words = f"A line for each variant over steps. Last values: {'; '.join(ends) or 'none'}."
        return words + (f" Marks: {'; '.join(marks)}." if marks else "")

    def table(self) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """Return columns and rows of the plot's numbers, at no more than TABLE_ROWS of its steps."""
        values = [
            {step: (curve.median[i], curve.low[i], curve.high[i]) for i, step in enumerate(curve.steps)} for curve in self.curves
        ]
        longest = max((curve.steps for curve in self.curves), key=len)
        chosen = sorted({longest[round(i)] for i in np.linspace(0, len(longest) - 1, min(TABLE_ROWS, len(longest)))})
        rows = [(number(step), *(_with_band(own.get(step, (None, None, None))) for own in values)) for step in chosen]
        return ("step", *(curve.variant for curve in self.curves)), tuple(rows)

    def draw(self, axes: "Axes") -> None:
        """Draw the curves, bands and marks."""
        indices = {variant.name: index for index, variant in enumerate(self.report.variants)}
        band = 0.16 if len(self.curves) <= MOST_BANDS else 0.06
        for curve in self.curves:
            index = indices[curve.variant]
            steps = np.array(curve.steps, np.float64)
            median, low, high = (np.array(values, np.float64) for values in (curve.median, curve.low, curve.high))
            axes.fill_between(steps, low, high, color=_colour(index), alpha=band, linewidth=0)
            axes.plot(steps, median, **_line(index), marker=self.marker(index), markersize=4.5)
        at = Counter[int]()
        for variant, step, what in self._marks():
            # On the axis, since the mark is of one run and the line is the median of all. Marks of one step are stacked.
            height = STACKED * at[step]
            at[step] += 1
            marker, bottom = "X" if what == "collapsed" else "v", axes.get_xaxis_transform()
            colour = _colour(indices[variant])
            axes.plot(step, height, marker, color=colour, markersize=8, markeredgecolor="white", clip_on=False, transform=bottom)
        self._scale(axes, self._values())
        axes.set_xlabel("step")
        axes.set_ylabel(_shortened(self.y_label, AXIS_LETTERS))
        axes.margins(x=0.02)

    def _scale(self, axes: "Axes", values: np.ndarray) -> None:
        """Set the y scale. A scale that the values do not need, or do not allow, stays linear."""
        if self._is_symlog(values):
            axes.set_yscale("symlog", linthresh=1.0)
        if self.scale == "log" and (values > 0).any():
            axes.set_yscale("log")
        else:
            axes.yaxis.set_major_formatter("{x:g}")

    def marker(self, index: int) -> str:
        """Return the marker of a variant's points. Long curves have none."""
        return _marker(index) if max(len(curve.steps) for curve in self.curves) <= TABLE_ROWS else ""

    def marks_key(self) -> dict[str, str]:
        """Return the words for each kind of mark that the plot has, by marker."""
        words = {"collapsed": ("X", "collapse begins"), "failed": ("v", "run failed")}
        return dict(words[what] for what in words if what in {mark[2] for mark in self._marks()})

    def _is_symlog(self, values: np.ndarray) -> bool:
        return self.scale == "symlog" and bool((np.abs(values) > FAR).any())

    def _values(self) -> np.ndarray:
        """Return all finite values of lines and bands, float64."""
        values = [value for curve in self.curves for value in (*curve.low, *curve.median, *curve.high)]
        return np.array([value for value in map(finite, values) if value is not None], np.float64)

    def _marks(self) -> list[tuple[str, int, str]]:
        shown = {curve.variant for curve in self.curves}
        runs = [run for run in self.report.runs if run.variant in shown]
        collapsed = [(run.variant, run.collapse_step, "collapsed") for run in runs if run.collapse_step is not None]
        return collapsed + [(run.variant, run.step, "failed") for run in runs if run.failed]


class RunsPanel:
    """The primary measure of each run: a row for each variant, a dot for each run, and the mean with its interval."""

    section: Literal["runs"] = "runs"

    def __init__(self, report: Report, measure: Measure):
        self.report, self.measure, self.name = report, measure, measure.name
        self.title = f"{measure.label} ({measure.unit})" if measure.unit else measure.label
        self.height = 1.3 + 0.4 * len(report.variants)
        self.values = {variant.name: self._values(variant.name) for variant in report.variants}

    def note(self) -> str:
        """Return how to read the plot."""
        direction = f"{self.measure.direction.capitalize()}. " if self.measure.direction else ""
        cross = "; a cross is a run that collapsed" if self.marks_key() else ""
        return (
            f"{direction}Each mark is a run{cross}. Below the marks: the mean and its interval. "
            "Runs of one seed are at one height within their rows."
        )

    def description(self) -> str:
        """Return in words how many runs each variant has, and the range of their values."""
        words = []
        for variant, values in self.values.items():
            known = [value for _, value, _ in values if value is not None]
            spread = f"from {number(min(known))} to {number(max(known))}" if known else "no value"
            words.append(f"{variant}: {len(known)} of {len(values)} runs, {spread}")
        return f"A row for each variant, a mark for each run. {'; '.join(words)}."

    def table(self) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """Return the measure of each run: a row for each seed, a column for each variant."""
        by_seed = {variant: {seed: value for seed, value, _ in values} for variant, values in self.values.items()}
        seeds = sorted({run.seed for run in self.report.runs})
        rows = [(str(seed), *(number(own.get(seed), 4) for own in by_seed.values())) for seed in seeds]
        return ("seed", *self.values), tuple(rows)

    def draw(self, axes: "Axes") -> None:
        """Draw the marks, means and intervals."""
        seeds = sorted({run.seed for run in self.report.runs})
        heights = dict(zip(seeds, np.linspace(-0.28, 0.08, len(seeds)) if len(seeds) > 1 else [-0.1], strict=True))
        for index, (variant, values) in enumerate(self.values.items()):
            for seed, value, has_collapsed in values:
                if value is not None:
                    marker = "X" if has_collapsed else _marker(index)
                    axes.plot(value, index + heights[seed], marker, color=_colour(index), markersize=5.5, alpha=0.75)
            summary = self.report.summaries.get((variant, self.measure.name))
            if summary is not None and summary.n > 1 and finite(summary.mean) is not None:
                low, high = (bound if bound is not None else summary.mean for bound in (summary.low, summary.high))
                axes.plot([low, high], [index + 0.28] * 2, color=_colour(index), linewidth=2)
                axes.plot(summary.mean, index + 0.28, "|", color=_colour(index), markersize=9, markeredgewidth=2.4)
        axes.set_yticks(range(len(self.values)), [_shortened(variant, MOST_LETTERS) for variant in self.values])
        axes.set_ylim(len(self.values) - 0.45, -0.55)
        axes.set_xlabel(_shortened(self.title, AXIS_LETTERS) + (f"\n{self.measure.direction}" if self._has_direction else ""))
        axes.grid(visible=False, axis="y")

    def marks_key(self) -> dict[str, str]:
        """Return the words for a cross, if the plot has one."""
        return {"X": "collapsed"} if any(has_collapsed for own in self.values.values() for _, _, has_collapsed in own) else {}

    @property
    def _has_direction(self) -> bool:
        return self.measure.better in ("lower", "higher")

    def _values(self, variant: str) -> list[tuple[int, float | None, bool]]:
        runs = self.report.runs_of(variant)
        return [(run.seed, finite(run.measures.get(self.measure.name)), run.collapse_step is not None) for run in runs]


def _panels(report: Report) -> list[CurvePanel | RunsPanel]:
    """Return the panels of a report. A single run has no panel of runs."""
    grouped: dict[tuple[str, str], list[Curve]] = {}
    for curve in report.curves:
        if curve.steps:
            grouped.setdefault((curve.kind, curve.metric), []).append(curve)
    panels: list[CurvePanel | RunsPanel] = [CurvePanel(report, curves) for curves in grouped.values()]
    measure = report.primary
    if measure is not None and len([run for run in report.runs if finite(run.measures.get(measure.name)) is not None]) > 1:
        panels.insert(0, RunsPanel(report, measure))
    return panels


def _figure(panel: CurvePanel | RunsPanel, key: Sequence[str] = ()) -> "Figure":
    """Return the panel as a figure. With `key`, the names of all variants, it gets a legend, and curves get a title."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    marks = panel.marks_key() if key else {}
    lines, names = list[Line2D](), list[str]()
    if isinstance(panel, CurvePanel):
        names += key
        lines += [Line2D([], [], **_line(index), marker=panel.marker(index), markersize=4.5) for index in range(len(key))]
    names += marks.values()
    lines += [Line2D([], [], color="0.4", linestyle="", marker=marker, markersize=8) for marker in marks]
    rows = -(-len(names) // KEY_COLUMNS)
    figure = Figure(figsize=(WIDTH, panel.height + 0.22 * rows), layout="constrained")
    axes = figure.subplots()
    panel.draw(axes)
    if key and isinstance(panel, CurvePanel):
        axes.set_title(_shortened(panel.title, 3 * MOST_LETTERS), fontsize="medium")
    if lines:
        legend = figure.legend(
            lines, [str(i) for i in range(len(names))], loc="outside lower center", ncols=KEY_COLUMNS, frameon=False
        )
        for text, name in zip(legend.get_texts(), names, strict=True):
            text.set(text=_shortened(name, MOST_LETTERS), fontsize="small")  # legend() leaves out names that start with _.
    return figure


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """Draw in STYLE, whatever the reader's own matplotlib settings are."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # It announces that it looks for fonts.
    import matplotlib
    import matplotlib.style

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # A name may have letters that the font lacks.
        matplotlib.style.use(["default", STYLE])
        yield


def _thinned(curve: Curve) -> Curve:
    """Return the curve with at most MOST_POINTS points, each the mean of the neighbours that it stands for."""
    if len(curve.steps) <= MOST_POINTS:
        median, low, high = (tuple(map(finite, own)) for own in (curve.median, curve.low, curve.high))
        return replace(curve, median=median, low=low, high=high)
    groups = np.array_split(np.arange(len(curve.steps)), MOST_POINTS)
    steps = tuple(round(float(np.mean([curve.steps[i] for i in group]))) for group in groups)
    median, low, high = (
        tuple(_mean([own[i] for i in group]) for group in groups) for own in (curve.median, curve.low, curve.high)
    )
    return replace(curve, steps=steps, median=median, low=low, high=high)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in map(finite, values) if value is not None]
    return float(np.mean(known)) if known else None


def _with_band(values: tuple[float | None, float | None, float | None]) -> str:
    median, low, high = values
    if low is None or high is None or low == high:
        return number(median)
    return f"{number(median)} [{number(low)}, {number(high)}]"


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _dashes(index: int) -> tuple[float, ...]:
    return DASHES[index % len(DASHES)]


def _marker(index: int) -> str:
    return MARKERS[index % len(MARKERS)]


def _line(index: int) -> dict[str, Any]:
    style = (0, _dashes(index)) if _dashes(index) else "solid"
    return {"color": _colour(index), "linestyle": style, "linewidth": LINE_WIDTH}


def _shortened(text: str, letters: int) -> str:
    """Return the text, without its middle if it is long: variants often differ at the end of their names."""
    return text if len(text) <= letters else f"{text[: letters // 2]}…{text[-((letters - 1) // 2) :]}"
