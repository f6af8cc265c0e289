"""What a report shows, as values: variants, runs, measures, statistics, curves and images. No file is read or written here."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np

from sharingan_jax.comparison.statistics import Difference, Summary
from sharingan_jax.comparison.verdict import Verdict

FORMAT = 1
"""The layout of `report.json`. Raise it when a key changes its meaning."""


@dataclass(frozen=True)
class Variant:
    """One configuration of a comparison. `changes` are the settings that differ from the first variant, `key: was -> is`."""

    name: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measure:
    """One number for each run. `unit` follows the number (such as ×10³); `note` explains the measure in a sentence or two.

    `better` is the better direction; "neither" if a difference is worth a word and no direction is better; empty if the measure
    is not compared. The report's answer is about the primary measure.
    `copier_wins` says that a generator which copies its training images passes it, so it says nothing about copying. The page
    shows measures that are not `is_main` only when asked.
    """

    name: str
    label: str
    better: Literal["lower", "higher", "neither", ""] = ""
    unit: str = ""
    note: str = ""
    is_primary: bool = False
    copier_wins: bool = False
    is_main: bool = True

    @property
    def direction(self) -> str:
        """Which direction is better, in words. Empty if the measure is not compared."""
        if self.better == "neither":
            return "neither direction is better; low values are a sign of copies"
        return f"{self.better} is better" if self.better else ""

    @property
    def heading(self) -> str:
        """The label with the unit in brackets, for tables."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


@dataclass(frozen=True)
class RunRow:
    """One run: where it is, how far it came, and its measures, None for a measure that the run does not have.

    `collapse_step` is the step at which collapse begins, by the stated rule or by the run's own limit, or None. `grids` counts
    the sample grids that were tested for it. `failure` says why a run failed.
    `evaluated_step` is the step of the checkpoint that the measures are of, or None if nothing was measured.
    """

    variant: str
    seed: int
    path: str
    status: str
    step: int
    images_seen: int
    wall_seconds: float
    device: str
    digest: str
    collapse_step: int | None = None
    grids: int = 0
    evaluated_step: int | None = None
    failure: str = ""
    measures: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def collapsed(self) -> bool:
        """Whether the run collapsed, by the report's rule or by its own limit."""
        return self.collapse_step is not None

    @property
    def failed(self) -> bool:
        """Whether the run failed, by its manifest or by the study's record."""
        return self.status == "failed" or bool(self.failure)


def latest(steps: Iterable[int], until: int) -> int:
    """Return the last of the steps that is not after `until`; 0 without any."""
    return max((step for step in steps if step <= until), default=0)


@dataclass(frozen=True)
class Comparison:
    """A variant against the baseline on one measure: the paired difference variant − baseline, and its conclusion.

    `p_adjusted` is the difference's p after Holm's adjustment over the variants. `seeds_needed` is how many paired seeds would
    show a difference of this size with 80% power; None if it cannot be computed.
    """

    variant: str
    baseline: str
    measure: str
    difference: Difference
    p_adjusted: float
    seeds_needed: int | None
    verdict: Verdict


@dataclass(frozen=True)
class Rate:
    """How many runs of a variant collapsed or failed, with the Wilson interval of the share, in [0, 1]."""

    variant: str
    what: Literal["collapsed", "failed"]
    count: int
    total: int
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """One metric of one variant over steps: the median over seeds and a band from `low` to `high`. None where there is no value.

    The curves of one metric share a plot. `kind` is the report's section. `scale` is the y axis; `symlog` is linear up to 1.
    """

    variant: str
    metric: str
    label: str
    unit: str
    steps: tuple[int, ...]
    median: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    kind: Literal["loss", "measure"] = "loss"
    scale: Literal["linear", "log", "symlog"] = "linear"


@dataclass(frozen=True)
class Control:
    """A set of images whose quality is known, such as exact copies of the training images, with its measures."""

    name: str
    measures: Mapping[str, float | None]


@dataclass(frozen=True)
class SampleStrip:
    """Samples of one run at one step, uint8 [H, W, 3]: `rows` rows of images. All strips show the same latents in one order."""

    variant: str
    seed: int
    step: int
    image_u8: np.ndarray
    rows: int = 1


@dataclass(frozen=True)
class NeighbourSheet:
    """Samples next to their nearest training images, uint8 [H, W, 3]. `title` says which samples."""

    variant: str
    title: str
    image_u8: np.ndarray


@dataclass(frozen=True)
class Report:
    """Everything that a report shows. A report on a single run has one variant, one run and no comparisons.

    `baseline` is the variant that the others are compared with. `band` says in words what the band of the curves is.
    `collapse_rule` says when a run counts as collapsed. `intervals` says how the intervals of means were made. `trouble` says
    what went wrong while the report was made.
    """

    title: str
    command: str
    variants: tuple[Variant, ...]
    runs: tuple[RunRow, ...]
    measures: tuple[Measure, ...] = ()
    summaries: Mapping[tuple[str, str], Summary] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    rates: tuple[Rate, ...] = ()
    curves: tuple[Curve, ...] = ()
    strips: tuple[SampleStrip, ...] = ()
    sheets: tuple[NeighbourSheet, ...] = ()
    controls: tuple[Control, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    trouble: tuple[str, ...] = ()
    baseline: str = ""
    band: str = "from the lowest to the highest seed"
    collapse_rule: str = ""
    intervals: str = "95% bootstrap interval (BCa: bias-corrected and accelerated)"

    @property
    def primary(self) -> Measure | None:
        """The primary measure, if there is one."""
        return next((measure for measure in self.measures if measure.is_primary), None)

    def comparison(self, variant: str, measure: str) -> Comparison | None:
        """Return the comparison of a variant with the baseline on a measure, if there is one."""
        return next((each for each in self.comparisons if (each.variant, each.measure) == (variant, measure)), None)

    def runs_of(self, variant: str) -> list[RunRow]:
        """Return the runs of a variant, by seed."""
        return sorted((run for run in self.runs if run.variant == variant), key=lambda run: run.seed)


IMAGES = ("strips", "sheets")


def to_json(report: Report) -> dict[str, Any]:
    """Return the report as plain JSON values, without its images. A value that is not finite becomes null."""
    plain: dict[str, Any] = {"format": FORMAT}
    for entry in fields(report):
        value = getattr(report, entry.name)
        if entry.name == "summaries":
            value = [{"variant": variant, "measure": measure, **asdict(summary)} for (variant, measure), summary in value.items()]
        elif entry.name == "environment":
            value = dict(value)
        elif isinstance(value, tuple):
            value = () if entry.name in IMAGES else [item if isinstance(item, str) else asdict(item) for item in value]
        if entry.name not in IMAGES:
            plain[entry.name] = _plain(value)
    return plain


def runs_csv(report: Report) -> str:
    """Return a tidy table as CSV: one line for each run and measure. A missing value is an empty cell.

    A report without measures has one line for each run. Numbers have all their digits.
    """
    own = [entry.name for entry in fields(RunRow) if entry.name != "measures"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*own, "measure", "value"])
    for run in report.runs:
        row = [_cell(getattr(run, name)) for name in own]
        for measure in [measure.name for measure in report.measures] or [""]:
            writer.writerow([*row, measure, _cell(run.measures.get(measure))])
    return text.getvalue()


def finite(value: float | None) -> float | None:
    """Return the value, or None if it is NaN or infinite."""
    return value if value is not None and math.isfinite(value) else None


def _cell(value: Any) -> Any:
    return repr(float(value)) if isinstance(value, float) and math.isfinite(value) else "" if isinstance(value, float) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return finite(value) if isinstance(value, float) else value
