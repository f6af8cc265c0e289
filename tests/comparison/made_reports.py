"""Reports with made-up numbers, for the tests of the page."""

from dataclasses import replace
from typing import Any

import numpy as np
from made_runs import photo_noise, rows_of_eight

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
)
from sharingan_jax.comparison.statistics import holm, paired_difference, summarise, wilson_interval
from sharingan_jax.comparison.verdict import verdict

MEASURES = (
    Measure("kid_heldout", "KID against held-out images", "lower", "×10³", "Kernel distance of features.", is_primary=True),
    Measure("recall", "Recall", "higher", "", "Share of real images near a sample."),
    Measure("fid", "FID against the training images", "lower", "", "For the literature.", copier_wins=True),
)
STEPS = (200, 400, 800, 1200)


def make_runs(names: list[str], seeds: int, last: int, rng: np.random.Generator) -> list[RunRow]:
    """Return runs of which, if there are several variants, one collapsed and one failed without measures."""
    runs = []
    for i, name in enumerate(names):
        for seed in range(seeds):
            own = (60 - 12 * min(i, 1) + 3 * rng.normal(), 0.3 + 0.2 * min(i, 1) + 0.05 * rng.normal(), 120 + rng.normal())
            digest = f"{i:02d}{seed:02d}" * 16
            run = RunRow(name, seed, f"runs/{i}/seed{seed}", "complete", last, 64 * last, 95.5 + seed, "1 × cpu", digest)
            runs.append(replace(run, measures={measure.name: float(value) for measure, value in zip(MEASURES, own, strict=True)}))
            if (i, seed) == (2, 3):
                lost = {"status": "failed", "failure": "loss_d is NaN at step 640", "step": 640, "measures": {}}
                runs[-1] = replace(runs[-1], **lost)  # type: ignore[arg-type]
            if (i, seed) == (0, 1) and len(names) > 1:
                runs[-1] = replace(runs[-1], collapse_step=410)
    return runs


def make_statistics(names: list[str], runs: list[RunRow]) -> dict[str, Any]:
    """Return the report's summaries, comparisons with the first variant, and rates."""
    summaries, comparisons, rates = {}, [], []
    for measure in MEASURES:
        values: dict[str, dict[int, Any]] = {name: {} for name in names}
        for run in runs:
            if run.measures:
                values[run.variant][run.seed] = run.measures[measure.name]
        better: Any = measure.better
        differences = {}
        for name in names:
            base, known = ([values[other][seed] for seed in values[name]] for other in (names[0], name))
            summaries[name, measure.name] = summarise(known, n_resamples=200)
            differences[name] = paired_difference(base, known, better=better, n_resamples=200)
        for name, p in zip(names[1:], holm([differences[name].p for name in names[1:]]) if names[1:] else [], strict=True):
            words = verdict(differences[name], p, better=better)
            comparisons.append(Comparison(name, names[0], measure.name, differences[name], p, 12, words))
    for name in names:
        own = [run for run in runs if run.variant == name]
        counts: Any = {
            "collapsed": sum(run.collapse_step is not None for run in own),
            "failed": sum(not run.measures for run in own),
        }
        rates += [Rate(name, what, count, len(own), *wilson_interval(count, len(own))) for what, count in counts.items()]
    return {"summaries": summaries, "comparisons": tuple(comparisons), "rates": tuple(rates)}


def make_curve(name: str, steps: np.ndarray, middle: np.ndarray, metric: str, kind: Any) -> Curve:
    label, unit, scale = ("Loss of D", "nats", "symlog") if kind == "loss" else ("KID during training", "×10³", "linear")
    median, low, high = (tuple(column.tolist()) for column in (middle, middle - 0.3, middle + 0.3))
    return Curve(name, metric, label, unit, tuple(steps.tolist()), median, low, high, kind, scale)  # type: ignore[arg-type]


def make_report(*, variants: int = 3, seeds: int = 6, side: int = 16, records: int = 240, steps: Any = STEPS) -> Report:
    """Return a report with made-up numbers: all variants are better than the first one."""
    rng = np.random.default_rng(0)
    usual = ("baseline", "spectral norm and clipping", "modified_loss", "stabilised")
    names = [usual[i] if i < len(usual) else f"optim.disc.lr={i}e-4" for i in range(variants)]
    runs = make_runs(names, seeds, steps[-1], rng)
    curves, strips = [], []
    for i, name in enumerate(names):
        every = np.linspace(1, steps[-1], records).round().astype(int)
        curves.append(make_curve(name, every, (2 + i) * np.exp(-every / 500) + 0.1 * rng.normal(size=records), "loss_d", "loss"))
        curves.append(make_curve(name, np.array(steps), 60.0 + rng.normal(size=len(steps)), "kid", "measure"))
        for step in steps if i != 2 else [step for step in steps if step <= 640]:
            strips.append(SampleStrip(name, 3 if variants > 1 else 0, step, rows_of_eight(photo_noise(16, side, rng)), rows=2))
    sheet = rows_of_eight(photo_noise(32, side, rng))
    return Report(
        title="Does spectral norm help?",
        command=f"sharingan-jax compare --configs {','.join(name.split()[0] for name in names)} --seeds 0:{seeds} --workdir runs",
        variants=tuple(Variant(name, () if name == names[0] else ("model.disc.spectral_norm: false -> true",)) for name in names),
        runs=tuple(runs),
        measures=MEASURES,
        **make_statistics(names, runs),
        curves=tuple(curves),
        strips=tuple(strips),
        sheets=tuple(NeighbourSheet(name, "closest samples, and the training image nearest to each", sheet) for name in names),
        controls=(
            Control("real half against real half", {"kid_heldout": 0.2, "recall": 0.9, "fid": 77.0}),
            Control("exact copies", {"kid_heldout": 0.4, "recall": 0.9, "fid": 0.0}),
        ),
        environment=(("jax", "0.10.2"), ("device", "cpu, 2 threads")),
        notes=("Trained on all 100 images: the held-out images were seen.",),
        baseline=names[0],
        collapse_rule="the samples' mean pairwise distance stays under 0.3 of the real images'",
    )
