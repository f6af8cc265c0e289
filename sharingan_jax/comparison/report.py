"""`report.html`: a comparison, or one run, as a single page that needs no network.

The sentences are made in `sentences.py`, the layout in `templates/report.html.j2`.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from sharingan_jax.comparison.plan import separator
from sharingan_jax.comparison.report_plots import make_plots, number, swatch
from sharingan_jax.comparison.results import Report, RunRow, SampleStrip, latest
from sharingan_jax.comparison.sentences import answer, outcome, p_value, warnings
from sharingan_jax.comparison.verdict import ALPHA, fewest_seeds
from sharingan_jax.reporting.grids import as_image

PAGE_LIMIT = 2_900_000  # bytes; images are shown in the best quality that fits
SHEETS_SHARE = 0.25  # of the bytes for images, at most, is taken by sheets; strips take the rest
SPACE = "feature space "
"""The start of a line of the environment that describes a feature space."""
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
class Frame:
    """What a strip shows at some positions of the slider: the samples of `step`, or None if the run has none so early."""

    positions: tuple[int, ...]
    step: int
    picture: Picture | None


@dataclass(frozen=True)
class StripRow:
    """The samples of one run: at each position of the slider the latest up to its step."""

    run: RunRow | None
    variant: str
    seed: int
    frames: tuple[Frame, ...]


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
        "warnings": warnings(report),
        "plots": [(plot, Markup(plot.svg)) for plot in make_plots(report)],
        "swatches": [Markup(swatch(index)) for index in range(len(report.variants))],
        "budgets": [(variant, _budget(report.runs_of(variant.name))) for variant in report.variants],
        "measures": sorted((each for each in report.measures if each.is_main), key=lambda measure: not measure.is_primary),
        "others": [each for each in report.measures if not each.is_main],
        "symbols": {"better": "▲", "worse": "▼", "differs": "◆", "same": "=", "none": "○", "exploratory": "?"},
        "steps": steps,
        "fewest_seeds": fewest_seeds(),
        "alpha": ALPHA,
        "spaces": [(name.removeprefix(SPACE), text) for name, text in report.environment if name.startswith(SPACE)],
    }

    def render(sheets: list[Picture], sheets_quality: Quality, pictures: list[Picture], strips_quality: Quality) -> str:
        rows = _strip_rows(report, strips, pictures, steps)
        variants = [each.name for each in report.variants]
        without = [name for name in variants if name not in {row.variant for row in rows}]
        return environment.get_template("report.html.j2").render(
            **shown,
            sheets=list(zip(report.sheets, sheets, strict=True)),
            sheets_note=sheets_quality.words(),
            strip_rows=rows,
            without_samples=separator(variants).join(without),
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


def percent(share: float | None) -> str:
    """Return a share as a percentage without decimals."""
    return "–" if share is None else f"{share:.0%}"


def duration(seconds: float) -> str:
    """Return a time in the two largest units that it has."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{seconds:.1f} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


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
    return [StripRow(runs.get(key), *key, _frames(own, steps)) for key, own in found.items()]


def _frames(pictures: Mapping[int, Picture], steps: Sequence[int]) -> tuple[Frame, ...]:
    """Return a run's frames at the steps of the slider. A picture that stands for several steps is stored once."""
    positions: dict[int, list[int]] = {}
    for position, step in enumerate(steps):
        positions.setdefault(latest(pictures, step), []).append(position)
    return tuple(Frame(tuple(places), step, pictures.get(step)) for step, places in positions.items())


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
