"""A run as a report reads it, and what has to be said about runs that are compared."""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

from sharingan_jax.comparison.plan import StudyRun
from sharingan_jax.comparison.results import RunRow
from sharingan_jax.config.parse import parse
from sharingan_jax.config.schema import Config
from sharingan_jax.errors import listed
from sharingan_jax.evaluation.judge import Evaluation
from sharingan_jax.evaluation.measures.collapse import find_collapse
from sharingan_jax.run.folder import RunFolder
from sharingan_jax.run.manifest import Manifest, read_manifest
from sharingan_jax.run.metrics import Record, read_metrics

ENDED = ("complete", "collapsed", "stopped")


class RunRecord:
    """A run of a report, read once: manifest, records, evaluation if there is one."""

    def __init__(self, study_run: StudyRun, evaluation: Evaluation | None) -> None:
        self.variant, self.seed, self.failure = study_run.variant, study_run.seed, study_run.failure
        self.folder, self.evaluation = RunFolder(study_run.path), evaluation
        self.manifest: Manifest = read_manifest(self.folder.manifest)
        self.records: list[Record] = read_metrics(self.folder)
        self.config: Config = parse(self.manifest.config)

    @property
    def recorded_steps(self) -> int:
        """The last step in metrics.jsonl, 0 without any."""
        return int(self.records[-1]["step"]) if self.records else 0

    @property
    def step(self) -> int:
        """The last step that is recorded."""
        return self.recorded_steps or self.manifest.step

    @cached_property
    def collapse_step(self) -> int | None:
        """The step at which collapse begins by the rule, or the last one if one grid was the run's own limit; None without."""
        found = find_collapse(self.records)
        return self.step if found is None and self.manifest.status == "collapsed" else found

    @property
    def wall_seconds(self) -> float:
        """The time that training took. The manifest of a run that failed or still trains lacks it: see its records then."""
        if self.manifest.wall_seconds:
            return self.manifest.wall_seconds
        times = [record["time"] or 0.0 for record in self.records]  # Each start counts from 0.
        ends = [before for before, after in pairwise(times) if after < before]
        return round(sum(ends) + (times[-1] if times else 0.0), 1)


def notes_on(runs: Sequence[RunRecord], rows: Sequence[RunRow], judged: Sequence[Evaluation]) -> tuple[str, ...]:
    """Return sentences on what keeps runs from being compared like with like, or leaves them without figures."""
    found = [judged[0].note[:1].upper() + judged[0].note[1:]] if judged and judged[0].note else []
    unjudged = [f"{run.variant}, seed {run.seed}" for run in runs if run.evaluation is None]
    if judged and unjudged:
        found.append(f"Not evaluated, and so without figures: {'; '.join(unjudged)}.")
    earlier = [
        f"{row.variant}, seed {row.seed} (step {row.evaluated_step:,} of {row.step:,})"
        for row in rows
        if row.evaluated_step not in (None, row.step)
    ]
    if earlier:
        found.append(f"Figures are of the last checkpoint, which is not of the run's last step: {'; '.join(earlier)}.")
    seen = {row.images_seen for row in rows}
    if len(seen) > 1:
        early = [f"{row.variant}, seed {row.seed} ({row.status})" for row in rows if row.status != "complete"]
        which = f" Not complete: {listed(early)}." if early else ""
        found.append(f"The runs have not seen equally many images: {min(seen):,} to {max(seen):,}.{which}")
    cut = [
        f"{run.variant}, seed {run.seed}"
        for run in runs
        if run.manifest.status in ENDED and run.recorded_steps < run.manifest.step
    ]
    if cut:
        found.append(f"metrics.jsonl ends before the run did, so curves and marks are cut: {'; '.join(cut)}.")
    if len({row.device for row in rows}) > 1:
        found.append("The runs were made on different devices; each is named in its row.")
    environments = {run.manifest.starts[-1].environment.stacked_seeds for run in runs if run.manifest.starts}
    if len(environments) > 1:
        found.append("Some seeds were stacked in one program and others were not: they round differently.")
    return tuple(found)
