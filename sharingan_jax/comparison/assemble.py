"""Turn runs and their evaluations into a `Report`: summaries, differences, rates, curves and pictures."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from sharingan_jax.comparison.plan import StudyRun, changes
from sharingan_jax.comparison.records import RunRecord, notes_on
from sharingan_jax.comparison.results import (
    Comparison,
    Control,
    Curve,
    Measure,
    NeighbourSheet,
    Rate,
    Report,
    RunRow,
    SampleStrip,
    Variant,
    latest,
)
from sharingan_jax.comparison.statistics import Summary, holm, paired_difference, summarise, wilson_interval
from sharingan_jax.comparison.verdict import ALPHA, seeds_needed, verdict, with_lost_runs
from sharingan_jax.config.load import load_config
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation.judge import AVERAGED, GIVEN, RAW, Evaluation
from sharingan_jax.evaluation.measures.collapse import RULE, SIGN_NAMES, SIGNS
from sharingan_jax.evaluation.panel import MEASURES
from sharingan_jax.gan.losses import LOSSES
from sharingan_jax.gan.metrics import METRICS
from sharingan_jax.reporting.grids import read_png
from sharingan_jax.run.manifest import Device
from sharingan_jax.run.metrics import Record

STRIP_STEPS = 6
STRIP_IMAGES = 8
CURVE_POINTS = 400
OFF_BY = "_off_by"
"""The end of the name of a measure that is |value / real images' own − 1| here. In evaluation.json the same key is the value."""
COMPARED = (
    "kid_held_out",
    "kid_train",
    "precision",
    "recall",
    "coverage",
    "clipped_density",
    "clipped_coverage",
    "diversity",
    "frechet_train",
)
"""Measures of a feature space that a report shows; the others are in evaluation.json."""
MAIN = (
    "kid_held_out",
    "kid_train",
    "precision",
    "coverage",
    "diversity",
    "flat_noise",
    "edge_sharpness",
    "modes_covered",
    "authentic",
    "nearest_ratio",
    "close_share",
)
"""Measures that stand in the page's first table: in the primary feature space, and those that need none."""


def assemble(
    study_runs: Sequence[StudyRun],
    evaluations: Mapping[Path, Evaluation],
    *,
    title: str,
    command: str,
    root: Path,
    trouble: Sequence[str] = (),
) -> Report:
    """Return the report on runs, in the order of their variants; the first variant is the baseline. Paths are relative to `root`.

    Raise UserError if a run's files cannot be read.
    """
    runs = [RunRecord(run, evaluations.get(run.path)) for run in study_runs]
    if not runs:
        raise UserError("there is no run to report on. Give a folder with runs.")
    names = tuple(dict.fromkeys(run.variant for run in runs))
    judged = [run.evaluation for run in runs if run.evaluation is not None]
    measures = _measures(judged[0]) if judged else ()
    rows = tuple(_row(run, measures, root) for run in runs)
    values = {(name, each.name): _by_seed(rows, name, each.name) for name in names for each in measures}
    comparisons = tuple(_comparisons(names, measures, values, Counter(row.variant for row in rows)))
    return Report(
        title=title,
        command=command,
        variants=_variants(runs, names),
        runs=rows,
        measures=measures,
        summaries={key: _summary(found) for key, found in values.items() if found},
        comparisons=comparisons,
        rates=_rates(rows, names) if len(rows) > 1 else (),
        curves=tuple(_curves(runs, names)),
        strips=tuple(_strips(runs, names)),
        sheets=tuple(_sheets(runs, names)),
        controls=_controls(judged[0], measures) if judged else (),
        environment=_environment(runs, judged),
        notes=notes_on(runs, rows, judged),
        trouble=tuple(trouble),
        baseline=names[0],
        collapse_rule=RULE,
        intervals="95% BCa bootstrap interval, which is somewhat too narrow with few seeds",
    )


def _variants(runs: Sequence[RunRecord], names: Sequence[str]) -> tuple[Variant, ...]:
    configs = {name: next(run.config for run in runs if run.variant == name) for name in names}
    nearest, plus, _ = names[0].partition(" +")
    if len(names) == 1 and plus:  # `quick +2`: which two?
        return (Variant(names[0], changes(load_config(nearest), configs[names[0]])),)
    return tuple(Variant(name, changes(configs[names[0]], configs[name])) for name in names)


def _measures(evaluation: Evaluation) -> tuple[Measure, ...]:
    """Return the measures of a report. One whose best value is the real images' becomes its distance from that value."""
    found = []
    for space in (*evaluation.spaces, ""):
        for each in MEASURES:
            if each.in_space != bool(space) or (space and each.key not in COMPARED):
                continue
            key = f"{space}/{each.key}" if space else each.key
            if not any(key in row for row in evaluation.rows.values()) or (not space and each.better == ""):
                continue
            label = f"{each.label} ({space})" if space else each.label.replace("modes", evaluation.modes["kind"])
            better: Literal["lower", "higher", "neither", ""] = "lower" if each.better == "real" else each.better
            name, unit, note = key, each.unit, each.note
            if each.better == "real":
                name, label, unit = f"{key}{OFF_BY}", f"{label}: off by", ""
                note = f"{each.note}; off by: |value / real images' own − 1|"
            copies = key in evaluation.copies_win
            main = each.key in MAIN and space in ("", evaluation.primary.partition("/")[0])
            found.append(Measure(name, label, better, unit, note, key == evaluation.primary, copies, main))
    return tuple(found)


def _value(evaluation: Evaluation, row: Mapping[str, float], name: str) -> float | None:
    key = name.removesuffix(OFF_BY)
    value, real = row.get(key), evaluation.real.get(key)
    if value is None or not np.isfinite(value):
        return None
    return abs(value / real - 1) if real else value


def _row(run: RunRecord, measures: Sequence[Measure], root: Path) -> RunRow:
    manifest, evaluation = run.manifest, run.evaluation
    environment = manifest.starts[-1].environment if manifest.starts else None
    device = _describe_device(environment.device) if environment else ""
    path, root = run.folder.root.resolve(), root.resolve()
    return RunRow(
        variant=run.variant,
        seed=run.seed,
        path=str(path.relative_to(root) if path.is_relative_to(root) else path),
        status=manifest.status,
        step=run.step,
        images_seen=manifest.images_seen or _images_seen(run),
        wall_seconds=run.wall_seconds,
        device=device,
        digest=manifest.digest or "",
        collapse_step=run.collapse_step,
        grids=sum(record.get(SIGN_NAMES[0]) is not None for record in run.records),
        evaluated_step=evaluation.step if evaluation else None,
        failure=run.failure,
        measures={each.name: _value(evaluation, evaluation.figures, each.name) if evaluation else None for each in measures},
    )


def _describe_device(device: Device) -> str:
    """Return what a run was made on, such as `1 × NVIDIA H100 (gpu)`; the kind of a CPU is its platform's name."""
    platform = "" if device.kind == device.platform else f" ({device.platform})"
    return f"{device.count} × {device.kind}{platform}"


def _images_seen(run: RunRecord) -> int:
    """Return how many images the recorded steps have seen: the manifest of a run that failed or still trains does not say."""
    count = run.manifest.data.count if run.manifest.data else 0
    if count < run.config.train.batch_size:
        return 0
    config = run.config
    plan = BatchPlan(count, batch_size=config.train.batch_size, seed=config.seed, last_batch=config.data.last_batch)
    return run.manifest.images_seen_after(run.step, plan)


def _by_seed(rows: Sequence[RunRow], variant: str, measure: str) -> dict[int, float]:
    found = {row.seed: row.measures.get(measure) for row in rows if row.variant == variant}
    return {seed: value for seed, value in sorted(found.items()) if value is not None}


def _summary(values: Mapping[int, float]) -> Summary:
    return summarise(list(values.values()))


def _comparisons(
    names: Sequence[str],
    measures: Sequence[Measure],
    values: Mapping[tuple[str, str], Mapping[int, float]],
    runs: Mapping[str, int],
) -> list[Comparison]:
    """Return each variant's comparison with the baseline. `runs` counts the runs of each variant, failed ones too."""
    baseline, found = names[0], []
    for measure in measures:
        if measure.better == "":
            continue
        differences, paired = {}, {}
        for name in names[1:]:
            ours, theirs = values[name, measure.name], values[baseline, measure.name]
            seeds = [seed for seed in ours if seed in theirs]
            if seeds:
                a, b = [theirs[seed] for seed in seeds], [ours[seed] for seed in seeds]
                differences[name] = paired_difference(a, b, better="lower" if measure.better == "lower" else "higher")
                paired[name] = np.subtract(b, a)
        adjusted = holm([difference.p for difference in differences.values()]) if differences else []
        for (name, difference), p in zip(differences.items(), adjusted, strict=True):
            needed = seeds_needed(paired[name], alpha=ALPHA / len(differences)) if difference.mean else None
            lost, lost_by_baseline = (runs[each] - len(values[each, measure.name]) for each in (name, baseline))
            words = verdict(difference, p, better=measure.better)
            words = with_lost_runs(words, lost=lost, lost_by_baseline=lost_by_baseline)
            found.append(Comparison(name, baseline, measure.name, difference, p, needed, words))
    return found


def _rates(rows: Sequence[RunRow], names: Sequence[str]) -> tuple[Rate, ...]:
    found = []
    tests: dict[Literal["collapsed", "failed"], Callable[[RunRow], bool]] = {
        "collapsed": lambda row: row.collapsed,
        "failed": lambda row: row.failed,
    }
    for name in names:
        own = [row for row in rows if row.variant == name]
        for what, test in tests.items():
            counted = [row for row in own if what == "failed" or row.grids or row.collapsed]  # Without a grid nobody knows.
            if counted:
                count = sum(map(test, counted))
                low, high = wilson_interval(count, len(counted))
                found.append(Rate(name, what, count, len(counted), low, high))
    return tuple(found)


def _curves(runs: Sequence[RunRecord], names: Sequence[str]) -> list[Curve]:
    """Return the losses (means over equal parts of the run) and the signs of collapse of each variant, with bands over seeds."""
    found = []
    for name in names:
        own = [run for run in runs if run.variant == name and run.records]
        unit = next((LOSSES[run.config.loss.name].unit for run in own), "")
        every = max((-(-run.step // CURVE_POINTS) for run in own), default=1)
        for metric in METRICS:
            if metric.quantity == "loss":
                series = [_smoothed(run.records, metric.name, every=every) for run in own]
                found.append(_band(name, metric.name, f"loss of {metric.label}", unit, series, kind="loss", scale="symlog"))
        for sign in SIGNS:
            series = [
                {record["step"]: record[sign.name] for record in run.records if record.get(sign.name) is not None} for run in own
            ]
            found.append(_band(name, sign.name, sign.label, "", series, kind="measure", scale="linear"))
    return [curve for curve in found if curve.steps]


def _smoothed(records: Sequence[Record], name: str, *, every: int) -> dict[int, float]:
    """Return the metric's mean over each `every` steps, by the last of them: the same steps in runs of any length."""
    parts: dict[int, list[float]] = {}
    for record in records:
        if record[name] is not None:
            parts.setdefault(-(-record["step"] // every) * every, []).append(record[name])
    return {step: float(np.mean(values)) for step, values in parts.items()}


def _band(
    variant: str,
    metric: str,
    label: str,
    unit: str,
    series: Sequence[Mapping[int, float]],
    *,
    kind: Literal["loss", "measure"],
    scale: Literal["linear", "log", "symlog"],
) -> Curve:
    steps = tuple(sorted({step for one in series for step in one}))
    columns = [[one[step] for one in series if step in one] for step in steps]
    median, low, high = (tuple(float(f(column)) for column in columns) for f in (np.median, min, max))
    return Curve(variant, metric, label, unit, steps, median, low, high, kind=kind, scale=scale)


def _strips(runs: Sequence[RunRecord], names: Sequence[str]) -> list[SampleStrip]:
    """Return the first images of the sample grids of some runs, at a few steps of growing distance.

    The runs are each variant's first seed, and its first run that collapsed or failed, since such runs look different. The steps
    are those of the longest run and the last of each. A run that has no grid at one of them gives its latest before it.
    """
    chosen = []
    for name in names:
        own = [run for run in runs if run.variant == name]
        ruined = [run for run in own if run.collapse_step is not None or run.manifest.status == "failed"]
        chosen += [own[0], *(run for run in ruined[:1] if run is not own[0])]
    found = []
    files_of = [run.folder.sample_files(run.step) for run in chosen]
    longest = max(files_of, key=lambda files: max(files, default=0), default={})
    shown = {*_chosen(sorted(longest)), *(max(files) for files in files_of if files)}
    for run, files in zip(chosen, files_of, strict=True):
        for step in sorted({latest(files, step) for step in shown} - {0}):
            tiles = _tiles(read_png(files[step]), size=run.config.data.size)
            tiles = tiles[: min(STRIP_IMAGES, run.config.sample.num)]  # The places of the last row may be empty.
            found.append(SampleStrip(run.variant, run.seed, step, np.concatenate(tiles, axis=1)))
    return found


def _chosen(steps: Sequence[int]) -> list[int]:
    """Return at most STRIP_STEPS of the steps: the last, and before it those nearest to a half, a quarter and so on of it."""
    if not steps:
        return []
    wanted = [steps[-1] / 2**i for i in range(STRIP_STEPS)]
    return sorted({min(steps, key=lambda step: (abs(step - target), step)) for target in wanted})


def _tiles(grid_u8: np.ndarray, *, size: int, padding: int = 2) -> list[np.ndarray]:
    """Return the images of a sample grid that `make_grid` made, uint8 [size, size, 3] each."""
    if grid_u8.shape[:2] == (size, size):
        return [grid_u8]  # A single image has no frame.
    rows, columns = ((side - padding) // (size + padding) for side in grid_u8.shape[:2])
    places = [(padding + r * (size + padding), padding + c * (size + padding)) for r in range(rows) for c in range(columns)]
    return [grid_u8[top : top + size, left : left + size] for top, left in places]


def _sheets(runs: Sequence[RunRecord], names: Sequence[str]) -> list[NeighbourSheet]:
    found = []
    for name in names:
        for run in runs:
            path = Path(run.evaluation.folder) / "neighbours.png" if run.evaluation else None
            if run.variant == name and path is not None and path.is_file():
                found.append(NeighbourSheet(name, f"{name}, seed {run.seed}", read_png(path)))
                break
    return found


def _controls(evaluation: Evaluation, measures: Sequence[Measure]) -> tuple[Control, ...]:
    names = [name for name in evaluation.rows if name not in (RAW, AVERAGED, GIVEN)]
    rows = evaluation.rows
    return tuple(
        Control(
            name,
            {
                each.name: _value(evaluation, rows[name], each.name)
                for each in measures
                if each.name.removesuffix(OFF_BY) in rows[name]
            },
        )
        for name in names
    )


def _environment(runs: Sequence[RunRecord], judged: Sequence[Evaluation]) -> tuple[tuple[str, str], ...]:
    manifest = runs[0].manifest
    lines: list[tuple[str, str]] = []
    if manifest.data:
        lines.append(("images", f"{manifest.data.count} from {manifest.data.source}, digest {manifest.data.digest[:12]}"))
    if judged:
        first = judged[0]
        lines.append(
            ("judged by", f"{first.samples} samples, {first.train_images} training and {first.held_out_images} held-out")
        )
        lines += [(f"feature space {name}", described) for name, described in first.spaces.items()]
        lines += [(f"left out: {name}", reason) for name, reason in first.skipped_spaces.items()]
        lines.append(
            (
                "orientation",
                "free: distances are the smallest over all turns"
                if first.orientation["is_free"]
                else "not free: distances are not over turns",
            )
        )
    if manifest.starts:
        environment = manifest.starts[-1].environment
        lines += [(name, version) for name, version in sorted(environment.versions.items())]
        lines += [
            ("convolutions", environment.conv_impl),
            ("host threads", str(environment.host_threads)),
            ("stacked seeds", str(environment.stacked_seeds)),
            ("processor", environment.processor.get("model", environment.machine)),
        ]
    return tuple(lines)
