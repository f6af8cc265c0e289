"""The sentences of a report, made from its figures: the answer, what became of the runs, and warnings."""

import re
from collections import Counter
from collections.abc import Sequence

from sharingan_jax.comparison.plan import separator
from sharingan_jax.comparison.report_plots import number
from sharingan_jax.comparison.results import Comparison, Measure, Report, finite
from sharingan_jax.comparison.verdict import fewest_seeds
from sharingan_jax.evaluation.controls import MEAN, NOISE

_GROUPS = {
    "better": "{} {} better",
    "worse": "{} {} worse",
    "none": "no difference is shown for {}",
    "same": "{} {} exactly the same",
    "exploratory": "for {} there are too few seeds (exploratory)",
}
"""The words for each kind of verdict, in the order of the answer: names, and the verb that fits them."""


def answer(report: Report) -> str:
    """Return the report's answer for its primary measure, in a sentence."""
    measure = report.primary
    if measure is None:
        if len(report.runs) == 1:
            return _answer_without_measures(report)
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
    return f"{len(report.runs)} runs: {failed or 'none'} failed, {collapsed or 'none'} collapsed. Every run is shown."


def warnings(report: Report) -> list[str]:
    """Return sentences on what limits the answer: trouble, runs without figures, variants no better than controls, few seeds."""
    return [*report.trouble, *without_figures(report), *no_better_than_controls(report), *too_few_seeds(report)]


def without_figures(report: Report) -> list[str]:
    """Return a sentence on each variant of which some runs have no value of the primary measure. Empty if all runs have one."""
    measure, sentences = report.primary, []
    if measure is None or len(report.runs) == 1:
        return []
    for variant in report.variants:
        own = report.runs_of(variant.name)
        if lost := sum(run.measures.get(measure.name) is None for run in own):
            sentences.append(
                f"{lost} of {len(own)} runs of {variant.name} have no figure, so they are in no mean and no difference."
                " If they failed, the worst runs are missing: see “Collapse and failure”."
            )
    return sentences


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


def p_value(p: float | None) -> str:
    """Return a p-value with three decimals."""
    return "–" if p is None or finite(p) is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _answer_without_measures(report: Report) -> str:
    if report.runs[0].failed:
        return "This run failed, and nothing was measured."
    later = "" if re.search(r"\bsamples[ =]0\b", report.command) else " The command at the end of this page measures its samples."
    return f"This run has not been measured yet.{later}"


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
    return names[0] if len(names) == 1 else f"{separator(names).join(names[:-1])} and {names[-1]}"
