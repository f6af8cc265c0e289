"""`compare` and `report` from end to end: what they print and write, and mistakes, which are one line each."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, contents_of, manifest_of, train_arguments

import main
import sharingan_jax as sg
from sharingan_jax.comparison import report_plots, write
from sharingan_jax.errors import command_line
from sharingan_jax.evaluation import judge
from sharingan_jax.evaluation.turns import Orientation, Turns

TABLES = {"report.html", "report.json", "runs.csv"}
EVALUATED = ["--features", "pixels", "--samples", "100"]


@pytest.fixture(autouse=True, scope="module")
def _small_and_without_the_users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache folder out of the tests, and take few controls and turns."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        monkeypatch.setattr(judge, "CONTROL_IMAGES", 24)
        monkeypatch.setattr(judge, "SHEET_SAMPLES", 24)
        monkeypatch.setattr(Orientation, "turns", Turns(angles=4))
        monkeypatch.setattr(report_plots, "PNG_DPI", 40)
        yield


def _compare(images: Path, workdir: Path, *more: str) -> int:
    """Compare two ways to make the last batch of an epoch, on a folder's images: tiny runs of four steps, of one program."""
    tiny = [word.removeprefix("--config.") for word in TINY]
    data = ["data.source=folder", f"data.path={images}", "sample.every=2", "train.steps=4"]
    rest = ["train.steps_per_dispatch=1", "log.tensorboard=False"]
    settings = [flag for setting in (*tiny, *data, *rest) for flag in ("--set", setting)]
    arguments = ["--configs", "smoke", *settings, "--vary", "data.last_batch=drop,fill", "--workdir", str(workdir), *EVALUATED]
    return main.main(["compare", *arguments, *more])


@pytest.fixture(scope="module")
def study(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants with one seed each, evaluated and reported. Read-only."""
    workdir = tmp_path_factory.mktemp("studies") / "study"
    assert _compare(image_folder, workdir, "--seeds", "0") == 0
    return workdir


@pytest.fixture
def run(study: Path, tmp_path: Path) -> Path:
    """A copy of one of the runs."""
    return Path(shutil.copytree(study / "smoke-data.last_batch=fill" / "seed-0", tmp_path / "run"))


@pytest.fixture
def _without_paper_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the plots for a paper, which take seconds: `study` has them, and test_report.py tests their bytes."""
    monkeypatch.setattr(write, "save_paper_plots", lambda report, folder: [])


without_paper_plots = pytest.mark.usefixtures("_without_paper_plots")


def _error(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def _report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def test_one_command_trains_evaluates_and_reports(study: Path) -> None:
    names = {path.name for path in study.iterdir()}
    assert names == {
        *TABLES,
        "MODEL_CARD.md",
        "plots",
        "training.log",
        "smoke-data.last_batch=drop",
        "smoke-data.last_batch=fill",
    }
    report = _report(study)
    assert [(run["variant"], run["status"], run["step"]) for run in report["runs"]] == [
        ("smoke, data.last_batch=drop", "complete", 4),
        ("smoke, data.last_batch=fill", "complete", 4),
    ]
    assert f"{command_line()} compare --configs smoke --set model.gen.width=4 " in report["command"]
    assert report["command"].endswith("--features pixels --samples 100 --seeds 0")
    (primary,) = [measure for measure in report["measures"] if measure["is_primary"]]
    assert primary["name"] == "pixels/kid_train"  # Nothing is held out.
    assert all(run["measures"][primary["name"]] is not None for run in report["runs"])
    (answer,) = [each for each in report["comparisons"] if each["measure"] == primary["name"]]
    assert answer["verdict"]["kind"] == "exploratory"
    assert report["answer"].startswith("smoke, data.last_batch=fill compared with smoke, data.last_batch=drop on KID")
    assert report["outcome"] == "2 runs: none failed, none collapsed. Every run is shown."
    assert any(line.startswith("Exploratory: ") for line in report["warnings"])
    assert [run["evaluated_step"] for run in report["runs"]] == [4, 4]
    assert {path.suffix for path in (study / "plots").iterdir()} == {".png", ".pdf"}
    for run in report["runs"]:
        folder = study / run["path"]
        assert (folder / "evaluation" / "step_000004" / "evaluation.json").is_file()
        assert manifest_of(folder)["digest"] == run["digest"]


def test_the_page_shows_both_variants_their_samples_and_the_command(study: Path) -> None:
    page = (study / "report.html").read_text()
    for words in (
        "Exploratory: some comparisons have only 1 paired seed.",
        "data.last_batch: drop -&gt; fill",
        'alt="Samples of smoke, data.last_batch=fill, seed 0, at step 4"',
        "How to remake this report",
        "nothing is held out: figures against training images reward copies",
    ):
        assert words in page, words


@without_paper_plots
def test_the_same_command_again_trains_nothing(study: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents_of(study)
    assert _compare(image_folder, study, "--seeds", "0") == 0
    assert capsys.readouterr().out == f"2 runs already trained\nlook at   {study / 'report.html'}\n"
    assert contents_of(study) == before


def test_a_dry_run_writes_nothing(image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _compare(image_folder, tmp_path / "new", "--seeds", "0:3", "--dry-run") == 0
    out = capsys.readouterr().out
    assert f"\n2 variants with 3 seeds in {tmp_path / 'new'}\n  smoke, data.last_batch=drop: 3 runs" in out
    assert "\n  smoke, data.last_batch=fill: 3 runs to train, 12 steps, roughly 0:0" in out
    assert out.endswith("\nnothing was written\n")
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("with_pages")
def test_every_run_leaves_a_report_and_the_end_of_training_names_it(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    more = ["--config.data.last_batch=drop", "--config.train.steps=4", "--config.sample.every=2"]
    assert main.main(train_arguments(image_folder, workdir, *more, "--config.train.steps_per_dispatch=1")) == 0
    assert f"look at   {workdir}/report.html, real_vs_fake.png, " in capsys.readouterr().out
    page = (workdir / "report.html").read_text()
    assert "One run: complete, at step 4." in page
    assert "This run has not been measured yet. The command at the end of this page measures its samples." in page
    assert manifest_of(workdir)["digest"] in page
    assert not (workdir / "report.json").exists()


def test_report_of_one_run_lies_in_its_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "evaluation")
    assert main.main(["report", str(run), "--samples", "0"]) == 0
    assert capsys.readouterr().out == f"look at   {run / 'report.html'}\n"
    assert _report(run)["measures"] == []
    assert not (run / "MODEL_CARD.md").exists()
    assert {path.name for path in run.iterdir()} >= {*TABLES, "plots"}


@pytest.mark.slow
def test_a_report_is_no_contradiction_to_the_runs_record(run: Path) -> None:
    assert main.main(["report", str(run), "--samples", "0"]) == 0
    assert main.main(["verify", "--workdir", str(run)]) == 0


@without_paper_plots
def test_report_of_several_runs_evaluates_those_that_were_not(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Path(shutil.copytree(study, tmp_path / "runs"))
    shutil.rmtree(runs / "smoke-data.last_batch=drop" / "seed-0" / "evaluation")
    assert main.main(["report", str(runs), "--out", str(tmp_path / "out"), *EVALUATED]) == 0
    assert "evaluating 100 images" in capsys.readouterr().out  # One run's, not two.
    ours, theirs = ({run["digest"]: run["measures"] for run in _report(folder)["runs"]} for folder in (tmp_path / "out", study))
    assert ours == theirs


@without_paper_plots
def test_report_from_python_measures_nothing_without_samples(study: Path, tmp_path: Path) -> None:
    done = sg.report([study], out=tmp_path / "report", samples=0)
    assert len(done.report.variants) == 2
    assert (done.report.measures, done.report.comparisons) == ((), ())
    assert done.report.command == f"sharingan_jax.report([{str(study)!r}], out={str(tmp_path / 'report')!r}, samples=0)"
    assert done.page == tmp_path / "report" / "report.html"
    assert "Nothing was measured" in done.page.read_text()


SEEDS, DIR = ["--seeds", "0"], ["--workdir", "new"]
SMOKE = ["--configs", "smoke"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare"], "the following arguments are required: --configs, --seeds, --workdir"),
        (
            ["compare", *SMOKE, *SEEDS, *DIR, "--seed", "1"],
            "--seed: not an argument of sharingan-jax compare. Did you mean --seeds?",
        ),
        (["compare", *SMOKE, *DIR, "--seeds", "3:1"], "--seeds=3:1: expected seeds such as 0:10 (0 to 9) or 0,1,5."),
        (["compare", *SMOKE, *DIR, "--seeds", "1,1"], "--seeds=1,1: expected different numbers from 0 on"),
        (["compare", "--configs", "smoke,", *SEEDS, *DIR], "--configs=smoke,: expected names with commas between them"),
        (
            ["compare", "--configs", "smokey", *SEEDS, *DIR],
            "config=smokey: expected a configuration, found none. Did you mean smoke?",
        ),
        (
            ["compare", *SMOKE, *SEEDS, *DIR, "--set", "train.steps"],
            "--set train.steps: expected KEY=VALUE, such as --set train.steps=400.",
        ),
        (["compare", *SMOKE, *SEEDS, *DIR, "--set", "train.stesp=4"], "train.stesp: no such setting. Did you mean train.steps?"),
        (["compare", *SMOKE, *SEEDS, *DIR, "--vary", "=4"], "--vary =4: expected KEY=VALUE"),
        (["compare", *SMOKE, *SEEDS, *DIR, "--vary", "model.nz=4,4"], "--vary=model.nz: expected different values, got 4, 4."),
        (
            ["compare", *SMOKE, *SEEDS, *DIR, "--vary", "model.nz=4", "--vary", "model.nz=5"],
            "--vary model.nz: given twice. Write all its values after one --vary, with commas.",
        ),
        (["compare", *SMOKE, *SEEDS, *DIR, "--baseline", "quick"], "--baseline=quick: expected one of smoke."),
        (["compare", *SMOKE, *SEEDS, *DIR, "--stacked", "x"], "--stacked=x: expected a whole number."),
        (["compare", *SMOKE, *SEEDS, *DIR, "--stacked", "0"], "--stacked=0: expected 1 to 4096 seeds in one program."),
        (["compare", *SMOKE, *SEEDS, *DIR, "--samples", "5"], "--samples=5: expected a whole number from 100 to 100000."),
        (
            ["compare", *SMOKE, *SEEDS, *DIR, "--features", "pixels,"],
            "--features=pixels,: expected names with commas between them",
        ),
        (
            ["compare", *SMOKE, *SEEDS, *DIR, "--features", "pixel"],
            "--features=pixel: expected pixels, aligned, random, gradients, inception",
        ),
        (["compare", *SMOKE, *SEEDS, *DIR, "--dry-run", "--stacked", "0"], "--stacked=0: expected 1 to 4096 seeds"),
        (["compare", *SMOKE, *SEEDS, *DIR, "--dry-run", "--samples", "1e1"], "--samples=10: expected a whole number from 100"),
        (["compare", *SMOKE, *SEEDS, *DIR, "--dry-run", "--features", "pixel"], "--features=pixel: expected pixels"),
        (["compare", *SMOKE, *SEEDS, "--workdir", ""], "--workdir=: expected the name of a file or folder, got an empty text."),
        (["compare", *SMOKE, *SEEDS, *DIR, "--config.seed=1"], "takes its settings from --set and --vary. Remove the flag."),
        (["report"], "the following arguments are required: DIR"),
        (["report", "nowhere"], "nowhere: expected a folder of runs, found none."),
        (["report", "empty"], "empty: expected a folder with runs, found none."),
        (["report", "nowhere", "--samples", "7"], "--samples=7: expected a whole number from 100 to 100000. Use 5000."),
        (["report", "nowhere", "--samples", "few"], "--samples=few: expected a whole number."),
        (["report", "nowhere", "--config.seed=1"], "takes its settings from the runs. Remove the flag."),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main.main(arguments) == 2
    assert message in _error(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_runs_folder_is_not_taken_for_a_comparison(
    run: Path, study: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents_of(run)
    assert _compare(image_folder, run, "--seeds", "0") == 2
    assert f"--workdir={run}: is a run's folder. Give a new folder for the comparison." in _error(capsys)
    assert main.main(["report", str(study), "--out", str(run), "--samples", "0"]) == 2
    assert f"--out={run}: is a run's folder. Give a new folder for the report of several runs." in _error(capsys)
    assert main.main(["report", str(study), "--baseline", "quick", "--out", str(run / "new"), "--samples", "0"]) == 2
    assert "--baseline=quick: expected one of smoke-data.last_batch=drop, smoke-data.last_batch=fill." in _error(capsys)
    assert contents_of(run) == before
