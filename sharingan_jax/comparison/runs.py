"""Report on runs that exist: group them into variants, evaluate them, and write the report. `sg.report` is here."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sharingan_jax.comparison.plan import StudyRun, title_of
from sharingan_jax.config.schema import DataConfig
from sharingan_jax.devices.compile_cache import keep_compiled
from sharingan_jax.errors import UserError, as_command, command_line
from sharingan_jax.evaluation.defaults import ALWAYS, SAMPLES
from sharingan_jax.evaluation.evaluate import (
    NotFiniteError,
    check_features,
    check_images,
    check_samples,
    evaluate_step,
    feature_names,
    folder_name,
    load_reference,
    place_of,
    row_count,
)
from sharingan_jax.files import user_path
from sharingan_jax.reporting.output import lasting
from sharingan_jax.run.folder import RunFolder

if TYPE_CHECKING:
    from sharingan_jax.comparison.results import Report
    from sharingan_jax.evaluation.judge import Evaluation
    from sharingan_jax.run.load import Run


@dataclass(frozen=True)
class Compared:
    """The result of a comparison: the report, and the folder with report.html and everything else."""

    report: "Report"
    folder: Path

    @property
    def page(self) -> Path:
        """The page to open in a browser."""
        return self.folder / "report.html"


def report(
    folders: Sequence[Path | str] | Path | str,
    *,
    out: Path | str | None = None,
    baseline: str | None = None,
    features: Sequence[str] = ALWAYS,
    samples: int = SAMPLES,
    command: str = "",
    stream: TextIO | None = None,
) -> Compared:
    """Make the report of runs that exist, in and below `folders` (one or several), and write it to the folder `out`.

    By default `out` is the folder of a single run, else report/ in the current folder.
    Runs with the same settings except the seed are one variant, named after the nearest configuration. Runs are evaluated
    if they are not yet; with `samples` = 0 none is. Raise UserError if there is no run, if the runs' images differ, or if `out`
    is a run's folder and several folders are given.
    """
    several: Any = folders
    given = list(several) if isinstance(several, Sequence) and not isinstance(several, str) else [several]
    if not given:
        raise UserError("folders: expected the folders of runs, got none.")
    places = [user_path(folder, name="folders") for folder in given]
    root = _report_folder(places, None if out is None else user_path(out, name="out"))
    features = feature_names(features)
    if features != ALWAYS:  # To make the spaces takes a second.
        check_features(features)
    if samples:
        check_samples(samples)
    keep_compiled()

    from sharingan_jax.comparison.existing import group_runs

    runs, data = group_runs(places, baseline=baseline)
    names = list(dict.fromkeys(run.variant for run in runs))
    title = f"{names[0]}, seed {runs[0].seed}" if len(runs) == 1 else title_of(names)
    usual = {"baseline": None, "features": ALWAYS, "samples": SAMPLES}
    chosen = {"baseline": baseline, "features": features, "samples": samples}
    more = "".join(f", {name}={value!r}" for name, value in chosen.items() if value != usual[name])
    made_by = command or f"sharingan_jax.report({[str(folder) for folder in given]!r}, out={str(root)!r}{more})"
    return report_on(runs, data, features=features, samples=samples, root=root, title=title, command=made_by, stream=stream)


def _report_folder(folders: Sequence[Path], out: Path | None) -> Path:
    """Return where the report of `folders` goes. Raise UserError if that is a run's folder and the report is of several."""
    single = len(folders) == 1 and (folders[0] / "config.json").is_file()
    root = out or (folders[0] if single else Path("report"))
    if not single and (root / "config.json").is_file():
        raise UserError(f"out={root}: is a run's folder. Give a new folder for the report of several runs.")
    return root


def report_on(
    runs: Sequence[StudyRun],
    data: DataConfig,
    *,
    features: Sequence[str],
    samples: int,
    root: Path,
    title: str,
    command: str,
    stream: TextIO | None = None,
) -> Compared:
    """Evaluate runs by the images that `data` describes, write their report into `root`, and say where.

    With `samples` = 0 none is evaluated. Raise UserError if one cannot be; the report then has the figures that are there.
    """
    from sharingan_jax.comparison.assemble import assemble
    from sharingan_jax.comparison.write import write_report

    trouble: tuple[str, ...] = ()
    failure: UserError | None = None
    try:
        evaluations = evaluate_runs(data, runs, features=features, samples=samples, stream=stream) if samples else {}
    except UserError as error:
        evaluations, failure = _matching_evaluations(runs, features=features, samples=samples), error
        trouble = (f"The evaluation ended with an error, so figures are missing: {error}",)
    made = assemble(runs, evaluations, title=title, command=command, root=root, trouble=trouble)
    write_report(made, root)
    print(f"look at   {root / 'report.html'}", file=stream or sys.stdout, flush=True)
    if failure is not None:
        raise failure
    return Compared(made, root)


def evaluate_runs(
    data: DataConfig,
    runs: Sequence[StudyRun],
    *,
    features: Sequence[str] = ALWAYS,
    samples: int = SAMPLES,
    stream: TextIO | None = None,
) -> dict[Path, Any]:
    """Evaluate the last checkpoint of each run, and return the `Evaluation` of each folder. What is there already is read.

    All runs are judged by one reference, the images that `data` describes. A run without a checkpoint has no evaluation, nor has
    one whose samples are not finite. Raise UserError if something else cannot be evaluated.
    """
    check_samples(samples)

    from sharingan_jax.evaluation.judge import Judge
    from sharingan_jax.run.load import load_run

    out = lasting(stream or sys.stdout)
    found = _matching_evaluations(runs, features=features, samples=samples)
    missing = [load_run(run.path) for run in runs if run.path not in found and RunFolder(run.path).checkpoint_steps()]
    if missing:
        split, note = load_reference(data)
        for run in missing:
            check_images(run, split)
        sets = sum(row_count(run.config) for run in missing)
        with Judge(split, features, samples=samples, sets=sets, stream=out, place=place_of(data)) as judge:
            for run in missing:
                folder = run.path / "evaluation" / folder_name(run.steps[-1])
                try:
                    found[run.path] = evaluate_step(run, run.steps[-1], judge, note, folder)
                except NotFiniteError as error:  # A run that failed: it stays in the report, without figures.
                    print(error, file=out, flush=True)
    return found


def _matching_evaluations(runs: Sequence[StudyRun], *, features: Sequence[str], samples: int) -> "dict[Path, Evaluation]":
    """Return the evaluations of the runs' last checkpoints that are there, are of these weights, and were made so."""
    from sharingan_jax.evaluation.features import space_keys
    from sharingan_jax.run.load import load_run

    asked = space_keys(features)
    return {
        path: there
        for path, there in _kept_evaluations(runs).items()
        if (there.samples, there.asked) == (samples, asked) and there.digest == _last_digest(load_run(path))
    }


def without_evaluation(paths: Sequence[Path], *, features: Sequence[str], samples: int) -> list[Path]:
    """Return the runs whose last checkpoint has not been evaluated so. No checkpoint is read."""
    from sharingan_jax.evaluation.features import space_keys

    asked = space_keys(features)
    return [
        path
        for path in paths
        if (steps := RunFolder(path).checkpoint_steps())
        and ((there := _kept_evaluation(path, steps[-1])) is None or (there.samples, there.asked) != (samples, asked))
    ]


def _kept_evaluation(path: Path, step: int) -> "Evaluation | None":
    """Return the evaluation of a run's checkpoint, or None if there is none that can be read."""
    from sharingan_jax.evaluation.judge import read_evaluation

    with suppress(UserError):
        return read_evaluation(path / "evaluation" / folder_name(step))
    return None


def _last_digest(run: "Run") -> str:
    """Return the digest of a run's last checkpoint. The manifest has it only if the run ended there, and did not fail."""
    if run.manifest.digest is not None and run.manifest.step == run.steps[-1]:
        return run.manifest.digest
    from sharingan_jax.gan.state import digest

    return digest(run.state())


def write_run_report(path: Path) -> None:
    """Write `report.html` into a run's folder: curves, samples, signs of collapse and, if the run was evaluated, its measures.

    Nothing is measured here. Raise UserError if the run's files cannot be read.
    """
    from sharingan_jax.comparison.assemble import assemble
    from sharingan_jax.comparison.existing import group_runs
    from sharingan_jax.comparison.write import write_page

    runs, _ = group_runs([path])
    title, command = f"{runs[0].variant}, seed {runs[0].seed}", as_command(f"{command_line()} report", [str(path)])
    write_page(assemble(runs, _kept_evaluations(runs), title=title, command=command, root=path.parent), path)


def _kept_evaluations(runs: Sequence[StudyRun]) -> "dict[Path, Evaluation]":
    """Return the evaluations of the runs' last checkpoints that are there already."""
    last = {run.path: (RunFolder(run.path).checkpoint_steps() or (0,))[-1] for run in runs}
    found = {path: _kept_evaluation(path, step) for path, step in last.items()}
    return {path: evaluation for path, evaluation in found.items() if evaluation is not None}
