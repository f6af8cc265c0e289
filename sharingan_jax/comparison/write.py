"""Write a report: the page, its figures as JSON and CSV, plots for a paper, and a model card for the best run."""

import json
from pathlib import Path

from sharingan_jax.comparison.report import render_report
from sharingan_jax.comparison.report_plots import save_paper_plots
from sharingan_jax.comparison.results import Report, RunRow, runs_csv, to_json
from sharingan_jax.comparison.sentences import answer, outcome, warnings
from sharingan_jax.errors import as_command, counted
from sharingan_jax.files import write_json, write_text

CARD = """\
---
{metadata}
---

# {title}

A generator of small images, trained by sharingan_jax: `{variant}`, seed {seed}, step {step}, {images_seen:,} images seen.{state}

{why}

| measure | value | better | copies pass |
|---|---|---|---|
{rows}

{warning}

- Run: `{path}`{digest}.
- Images: {images}.
- Remake it: `{command}`
- All runs, and what they are compared with: `report.html` in this folder.

Sample from it with `{sample}`.
"""


def write_report(report: Report, folder: Path) -> None:
    """Write report.html, report.json, runs.csv, plots/ (PNG and PDF) and MODEL_CARD.md into `folder`.

    The same report gives the same bytes. There is a card only if runs were measured.
    """
    sentences = {"answer": answer(report), "outcome": outcome(report), "warnings": warnings(report)}
    write_json(folder / "report.json", to_json(report) | sentences)
    write_text(folder / "runs.csv", runs_csv(report))
    save_paper_plots(report, folder / "plots")
    chosen = best_run(report)
    card = folder / "MODEL_CARD.md"
    if chosen is not None:
        write_text(card, model_card(report, chosen))
    else:
        card.unlink(missing_ok=True)  # Of an earlier report.
    write_page(report, folder)


def write_page(report: Report, folder: Path) -> None:
    """Write report.html alone."""
    write_text(folder / "report.html", render_report(report))


def best_run(report: Report) -> RunRow | None:
    """Return the run with the best primary measure, or None if no run has one."""
    primary = report.primary
    if primary is None:
        return None
    sign = -1 if primary.better == "higher" else 1
    runs = [
        (sign * value, run.variant, run.seed, run) for run in report.runs if (value := run.measures[primary.name]) is not None
    ]
    return min(runs, key=lambda entry: entry[:3])[3] if runs else None


def model_card(report: Report, run: RunRow) -> str:
    """Return a model card in Markdown, with the figures also as a `model-index` for model hubs.

    A metric of the index has its unit in its name, such as ×10³, because a hub shows name and value only.
    """
    primary = report.primary
    assert primary is not None
    environment = dict(report.environment)
    metrics = [
        {"type": each.name, "name": each.heading, "value": value}
        for each in report.measures
        if (value := run.measures.get(each.name)) is not None
    ]
    task = {"type": "unconditional-image-generation", "name": "unconditional image generation"}
    dataset = {"type": "images", "name": environment.get("images", "")}
    index = [{"name": f"{run.variant}-seed-{run.seed}", "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}]
    metadata = {"library_name": "sharingan_jax", "tags": ["gan", "unconditional-image-generation"], "model-index": index}
    rows = [
        f"| {each.heading} | {value:.4g} | {each.better or '–'} | {'yes' if each.copier_wins else 'no'} |"
        for each in sorted(report.measures, key=lambda each: (not each.is_primary, not each.is_main))
        if (value := run.measures.get(each.name)) is not None
    ]
    count = sum(each.measures.get(primary.name) is not None for each in report.runs)
    why = f"It has the best {primary.label} of {counted(count, 'run')} that {'have' if count > 1 else 'has'} one."
    if count > 1:
        why += " The best of several runs is an optimistic choice: the table of all runs says what to expect."
    own = report.runs_of(run.variant)
    collapsed, failed = sum(each.collapsed for each in own), sum(each.failed for each in own)
    if run.evaluated_step not in (None, run.step):
        why += f" The figures are of step {run.evaluated_step}."
    why += f" Runs of `{run.variant}`: {len(own)}, of which {collapsed or 'none'} collapsed and {failed or 'none'} failed."
    warning = ""
    if any(each.copier_wins for each in report.measures):
        warning = (
            "“Copies pass” means that exact copies of the training images do as well as new real images by this measure. A good "
            "value then says nothing about copying."
        )
    return CARD.format(
        metadata="\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in metadata.items()),  # JSON is YAML.
        title=f"{run.variant}, seed {run.seed}",
        variant=run.variant,
        seed=run.seed,
        step=run.step,
        images_seen=run.images_seen,
        why=why,
        rows="\n".join(rows),
        warning=warning,
        path=run.path,
        sample=as_command("sharingan-jax sample", ["--workdir", run.path, "--out", "grid.png"]),
        digest=f"; digest of the final state `{run.digest}`" if run.digest else "",
        state=_state(run),
        images=environment.get("images", "not recorded"),
        command=report.command,
    )


def _state(run: RunRow) -> str:
    """Return a sentence on a run that failed or collapsed, after a space. Empty for others."""
    if run.failed:
        return f" The run failed after step {run.step:,}: {run.failure or 'its manifest says so'}."
    if run.collapse_step is not None:
        return f" By the rule of the report it collapsed, from step {run.collapse_step:,} on."
    return ""
