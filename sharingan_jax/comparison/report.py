"""`report.html`: a comparison, or one run, as a single page that needs no network.

The words are made here, the layout in `templates/report.html.j2`.
"""

import base64
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from sharingan_jax.comparison.report_plots import make_plots, number, swatch
from sharingan_jax.comparison.results import Comparison, Measure, Report, RunRow, SampleStrip, finite
from sharingan_jax.comparison.verdict import fewest_seeds
from sharingan_jax.evaluation.controls import MEAN, NOISE
from sharingan_jax.reporting.grids import as_image

PAGE_LIMIT = 2_900_000  # bytes; images are shown in the best quality that fits
SHEETS_SHARE = 0.25  # of the bytes for images, at most, is taken by sheets; strips take the rest
TRIED = 6  # images that are encoded to find the quality for all of them
PALETTE_PIXELS = 4096  # A palette is chosen from so many pixels of an image.


@dataclass(frozen=True)
class Quality:
    """How images are shown on the page: `rows` of a strip at most, `colours` (None: all) and sides divided by `reduce`."""

    rows: int | None
    colours: int | None
    reduce: int

    def words(self) -> str:
        """Return what differs from the original images. Empty if nothing does."""
        parts = [f"{self.colours} colours for each image"] if self.colours else []
        parts += [f"1/{self.reduce} of the size"] if self.reduce > 1 else []
        parts += ["only the first row of each strip"] if self.rows == 1 else []
        return f"To keep this file small: {', '.join(parts)}." if parts else ""


QUALITIES = (
    *(Quality(None, colours, 1) for colours in (None, 256, 128, 64)),
    *(Quality(1, colours, 1) for colours in (256, 128, 64, 32)),
    *(Quality(1, colours, reduce) for reduce in (2, 3, 4, 6, 8) for colours in (128, 64)),
)
"""From the best to the smallest. The page takes the first that fits its budget."""


@dataclass(frozen=True)
class Picture:
    """An image as the page shows it: its data URL, and its size in pixels."""

    url: str
    width: int
    height: int


@dataclass(frozen=True)
class StripRow:
    """The samples of one run: for each step of the slider a picture, or None if the run has no samples at it."""

    run: RunRow | None
    variant: str
    seed: int
    pictures: tuple[Picture | None, ...]


def render_report(report: Report) -> str:
    """Return the page, smaller than 3 MB for ten variants. The same report gives the same bytes. Empty sections are left out."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sharingan_jax.comparison"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(number=number, percent=percent, p_value=p_value, duration=duration)
    strips = sorted(report.strips, key=lambda strip: (strip.seed, _index(report, strip.variant), strip.step))
    steps = sorted({strip.step for strip in strips})
    shown: dict[str, Any] = {
        "report": report,
        "answer": answer(report),
        "outcome": outcome(report),
        "warnings": [*no_better_than_controls(report), *too_few_seeds(report)],
        "plots": [(plot, Markup(plot.svg)) for plot in make_plots(report)],
        "swatches": [Markup(swatch(index)) for index in range(len(report.variants))],
        "budgets": [(variant, _budget(report.runs_of(variant.name))) for variant in report.variants],
        "measures": sorted((each for each in report.measures if each.is_main), key=lambda measure: not measure.is_primary),
        "others": [each for each in report.measures if not each.is_main],
        "symbols": {"better": "▲", "worse": "▼", "differs": "◆", "same": "=", "none": "○", "exploratory": "?"},
        "steps": steps,
    }

    def render(sheets: list[Picture], sheets_quality: Quality, pictures: list[Picture], strips_quality: Quality) -> str:
        return environment.get_template("report.html.j2").render(
            **shown,
            sheets=list(zip(report.sheets, sheets, strict=True)),
            sheets_note=sheets_quality.words(),
            strip_rows=_strip_rows(report, strips, pictures, steps),
            strips_note=strips_quality.words(),
        )

    none = Picture("", 0, 0)
    without = render([none] * len(report.sheets), QUALITIES[-1], [none] * len(strips), QUALITIES[-1])
    budget = PAGE_LIMIT - len(without.encode())
    sheets, sheets_quality = _pictures(
        [sheet.image_u8 for sheet in report.sheets], [1] * len(report.sheets), budget * SHEETS_SHARE
    )
    budget -= sum(len(sheet.url) for sheet in sheets)
    pictures, strips_quality = _pictures([strip.image_u8 for strip in strips], [strip.rows for strip in strips], budget)
    return render(sheets, sheets_quality, pictures, strips_quality)


def answer(report: Report) -> str:
    """Return the report's answer for its primary measure, in a sentence."""
    measure = report.primary
    if measure is None:
        if len(report.runs) == 1:
            return "This run has not been measured yet. The command at the end of this page measures its samples."
        return "Nothing was measured, so this report has curves and images only and does not rank the variants."
    compared = [each for each in report.comparisons if each.measure == measure.name]
    if not compared:
        return _answer_without_comparison(report, measure)
    if len(report.variants) == 2:
        return _answer_of_one(compared[0], measure)
    groups = {kind: [each.variant for each in compared if each.verdict.kind == kind] for kind in _GROUPS}
    parts = [
        words.format(_listed(names), "is" if len(names) == 1 else "are")
        for kind, words in _GROUPS.items()
        if (names := groups[kind])
    ]
    missing = {variant.name for variant in report.variants} - {each.variant for each in compared} - {report.baseline}
    parts += [f"not compared, because too few runs have a value: {_listed(sorted(missing))}"] if missing else []
    return f"On {_label(measure)}, compared with {report.baseline}: {'; '.join(parts)}."


def outcome(report: Report) -> str:
    """Return how many runs there are, and how many failed or collapsed, in a sentence."""
    failed = sum(run.failed for run in report.runs)
    collapsed = sum(run.collapsed for run in report.runs)
    if len(report.runs) == 1:
        run = report.runs[0]
        sign = f"; collapse begins at step {number(run.collapse_step)}" if collapsed else ""
        return f"One run: {run.status}, at step {number(run.step)}{sign}."
    return f"{len(report.runs)} runs: {failed or 'none'} failed, {collapsed or 'none'} collapsed. No run is left out."


def no_better_than_controls(report: Report) -> list[str]:
    """Return sentences on variants that are no better than noise, or than one grey picture, on the primary measure."""
    measure = report.primary
    if measure is None or measure.better not in ("lower", "higher"):
        return []
    sign = 1 if measure.better == "lower" else -1
    values = {control.name: control.measures.get(measure.name) for control in report.controls}
    found: dict[str, list[str]] = {}
    for variant in report.variants:
        own = report.summaries.get((variant.name, measure.name))
        mean = own.mean if own else report.runs_of(variant.name)[0].measures.get(measure.name)
        for name in (NOISE, MEAN):  # The worse of the two first.
            value = values.get(name)
            if mean is not None and value is not None and sign * mean >= sign * value:
                found.setdefault(name, []).append(variant.name)
                break
    return [
        f"By {measure.label}, the samples of {_listed(names)} are in the mean no better than the control “{name}”"
        f" ({number(values[name])}). A difference between such variants is one between failures: look at the samples."
        for name, names in found.items()
    ]


def too_few_seeds(report: Report) -> list[str]:
    """Return sentences on comparisons whose seeds are too few to show any difference. Empty if all have enough."""
    sentences = []
    few = sorted({each.difference.n for each in report.comparisons if each.verdict.kind == "exploratory"})
    if few:
        counts = _listed([str(n) for n in few])
        sentences.append(
            f"Exploratory: some comparisons have only {counts} paired seed{'s' if few != [1] else ''}. With fewer than "
            f"{fewest_seeds()} the smallest possible p is above 0.05, so they show a direction at most."
        )
    together = Counter(each.measure for each in report.comparisons)
    enough = [each for each in report.comparisons if each.difference.n >= fewest_seeds()]
    short = [each for each in enough if each.difference.n < fewest_seeds(together[each.measure])]
    if short:
        most = max(together[each.measure] for each in short)
        sentences.append(
            f"With {most} variants compared with {report.baseline}, no difference can be shown with fewer than "
            f"{fewest_seeds(most)} paired seeds, because p is adjusted for their number. Add seeds, or compare fewer variants."
        )
    return sentences


def percent(share: float | None) -> str:
    """Return a share as a percentage without decimals."""
    return "–" if share is None else f"{share:.0%}"


def p_value(p: float | None) -> str:
    """Return a p-value with three decimals."""
    return "–" if p is None or finite(p) is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """Return a time in the two largest units that it has."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{seconds:.1f} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


_GROUPS = {
    "better": "{} {} better",
    "worse": "{} {} worse",
    "none": "no difference is shown for {}",
    "same": "{} {} exactly the same",
    "exploratory": "for {} there are too few seeds (exploratory)",
}
"""The words for each kind of verdict, in the order of the answer: names, and the verb that fits them."""


def _answer_without_comparison(report: Report, measure: Measure) -> str:
    value = next((summary.mean for (_, name), summary in report.summaries.items() if name == measure.name), None)
    if value is None:
        value = next((run.measures.get(measure.name) for run in report.runs), None)
    if len(report.variants) > 1:
        return f"On {_label(measure)} no two variants can be compared: too few runs have a value."
    kind = "One run" if len(report.runs) == 1 else "One variant"
    return f"{_label(measure)}: {number(value)}. {kind} cannot show a difference: there is nothing to compare it with."


def _answer_of_one(only: Comparison, measure: Measure) -> str:
    seeds = f"{only.difference.n} paired seeds" if only.difference.n > 1 else "one paired seed"
    on, size = f"on {_label(measure)}", f"mean difference {_interval(only)}, {seeds}, p {_equals(only.p_adjusted)}"
    if only.verdict.kind in ("better", "worse"):
        return f"{only.variant} is {only.verdict.kind} than {only.baseline} {on}: {size}."
    if only.verdict.kind == "none":
        return f"No difference is shown between {only.variant} and {only.baseline} {on}: {size}."
    return f"{only.variant} compared with {only.baseline} {on}: {only.verdict.words} ({size})."


def _equals(p: float) -> str:
    return p_value(p) if p < 0.001 else f"= {p_value(p)}"


def _label(measure: Measure) -> str:
    extra = [part for part in (measure.unit, measure.direction) if part]
    return f"{measure.label} ({', '.join(extra)})" if extra else measure.label


def _interval(comparison: Comparison) -> str:
    difference = comparison.difference
    if difference.low is None or difference.high is None:
        return number(difference.mean)
    return f"{number(difference.mean)} [{number(difference.low)}, {number(difference.high)}]"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _budget(runs: Sequence[RunRow]) -> dict[str, Any]:
    """Return what the runs of a variant used: images seen, wall time and devices."""
    seen, seconds = sorted({run.images_seen for run in runs}), sorted(run.wall_seconds for run in runs)
    return {
        "runs": len(runs),
        "images": " to ".join(number(value) for value in dict.fromkeys((seen[0], seen[-1]))) if seen else "–",
        "seconds": " to ".join(dict.fromkeys(duration(value) for value in (seconds[0], seconds[-1]))) if seconds else "–",
        "devices": ", ".join(dict.fromkeys(run.device for run in runs)) or "–",
    }


def _index(report: Report, variant: str) -> int:
    return [each.name for each in report.variants].index(variant)


def _strip_rows(
    report: Report, strips: Sequence[SampleStrip], pictures: Sequence[Picture], steps: Sequence[int]
) -> list[StripRow]:
    """Return a row for each run that has samples, seeds together, variants in the report's order."""
    runs = {(run.variant, run.seed): run for run in report.runs}
    found: dict[tuple[str, int], dict[int, Picture]] = {}
    for strip, picture in zip(strips, pictures, strict=True):
        found.setdefault((strip.variant, strip.seed), {})[strip.step] = picture
    return [StripRow(runs.get(key), *key, tuple(own.get(step) for step in steps)) for key, own in found.items()]


def _pictures(images: Sequence[np.ndarray], rows: Sequence[int], budget: float) -> tuple[list[Picture], Quality]:
    """Return all images at the best quality with which their data URLs stay within `budget` characters."""
    tried = range(0, len(images), max(1, len(images) // TRIED))
    for quality in QUALITIES:
        expected = np.mean([len(_picture(images[i], rows[i], quality).url) for i in tried]) * len(images) if images else 0
        if expected <= budget or quality is QUALITIES[-1]:
            pictures = [_picture(image, count, quality) for image, count in zip(images, rows, strict=True)]
            if sum(len(picture.url) for picture in pictures) <= budget or quality is QUALITIES[-1]:
                return pictures, quality if max(rows, default=1) > 1 else replace(quality, rows=None)
    raise AssertionError("the last quality is always taken")


def _picture(image_u8: np.ndarray, rows: int, quality: Quality) -> Picture:
    if quality.rows is not None and rows > quality.rows:
        image_u8 = image_u8[: round(image_u8.shape[0] * quality.rows / rows)]
    image = as_image(image_u8).convert("RGB")
    if quality.reduce > 1:
        image = image.reduce(quality.reduce)
    if quality.colours is not None:
        # Of few pixels a palette takes a tenth of the time, and its colours are moved to the middle of theirs (k-means).
        factor = math.ceil(math.sqrt(image.width * image.height / PALETTE_PIXELS))
        few = image.resize((max(1, image.width // factor), max(1, image.height // factor)), Image.Resampling.NEAREST)
        palette = few.quantize(quality.colours, method=Image.Quantize.MEDIANCUT, kmeans=2)
        image = image.quantize(palette=palette, dither=Image.Dither.NONE)
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return Picture(f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}", image.width, image.height)
