"""`sg.compare`: the runs of a comparison, what a second call does, and runs that fail. Small variants with few steps."""

import html
import io
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import contents_of, environments_of, manifest_of, metrics_of

import sharingan_jax as sg
from sharingan_jax.comparison import runs as comparison_runs
from sharingan_jax.comparison import write
from sharingan_jax.comparison.plan import make_plan
from sharingan_jax.comparison.runs import Compared
from sharingan_jax.errors import UserError
from sharingan_jax.evaluation import judge
from sharingan_jax.evaluation.features import pixel_features
from sharingan_jax.evaluation.measures.kid import kid
from sharingan_jax.evaluation.panel import Reference
from sharingan_jax.evaluation.turns import Orientation, Turns
from sharingan_jax.run.sampling import Sampler
from sharingan_jax.training import forecast as forecast_module
from sharingan_jax.training import recorder
from sharingan_jax.training import study as study_module
from sharingan_jax.training.forecast import forecast
from sharingan_jax.training.recorder import OpenRun
from sharingan_jax.training.study import describe_plan

# Both variants, and the runs of test_compare.py and test_stop_on_collapse.py, use one compiled program.
NAMES = ("smoke, data.last_batch=drop", "smoke, data.last_batch=fill")
FOLDERS = ("smoke-data.last_batch=drop", "smoke-data.last_batch=fill")


@pytest.fixture(autouse=True, scope="module")
def _small_and_without_the_users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache folder out of the tests. Measure KID only, and draw no plot but those of the page."""

    def measure_kid(images_u8: np.ndarray, reference: Reference, *, done: Callable[[], None]) -> dict[str, float]:
        real, fake = pixel_features(reference.train), pixel_features(images_u8)
        return {"pixels/kid_train": kid(real, fake).value}

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        monkeypatch.setattr(judge, "CONTROL_IMAGES", 24)
        monkeypatch.setattr(judge, "measure_images", measure_kid)
        monkeypatch.setattr(judge, "save_neighbour_sheet", lambda *_: None)
        monkeypatch.setattr(judge, "save_distance_plot", lambda *_: None)
        monkeypatch.setattr(Orientation, "turns", Turns(angles=4))
        monkeypatch.setattr(recorder, "save_summaries", lambda *_, **__: None)
        monkeypatch.setattr(comparison_runs, "write_run_report", lambda path: None)
        monkeypatch.setattr(write, "save_paper_plots", lambda report, folder: [])
        yield


def _settings(images: Path) -> dict[str, Any]:
    """Return settings of a tiny run of eight steps, without what makes the last batch of an epoch."""
    return {
        "model.gen.width": 4, "model.disc.width": 4, "model.nz": 8, "model.conv_impl": "direct", "train.batch_size": 8,
        "train.devices": 1, "data.size": 32, "data.source": "folder", "data.path": str(images),
        "sample.num": 9, "sample.every": 4, "checkpoint.every": 4, "train.steps": 8, "train.steps_per_dispatch": 1,
        "log.tensorboard": False,
    }  # fmt: skip


Call = Callable[..., tuple[Compared, str]]


@pytest.fixture(scope="module")
def compare(image_folder: Path) -> Call:
    """Return `sg.compare` for tiny variants that differ in the last batch, and what it printed."""

    def call(workdir: Path, *, last_batch: tuple[str, ...] = ("drop", "fill"), seeds: Any = (0, 1), **options: Any) -> Any:
        stream = io.StringIO()
        options = {"features": ("pixels",), "samples": 100, **options}
        options["settings"] = _settings(image_folder) | options.get("settings", {})
        vary = {"data.last_batch": last_batch}
        done = sg.compare(["smoke"], seeds=seeds, workdir=workdir, vary=vary, stream=stream, **options)
        return done, stream.getvalue()

    return call


@pytest.fixture(scope="module")
def study(compare: Call, tmp_path_factory: pytest.TempPathFactory) -> tuple[Compared, str]:
    """Two variants with two seeds each, and what the call printed. Read-only."""
    return compare(tmp_path_factory.mktemp("studies") / "study")


@pytest.fixture
def copy(study: tuple[Compared, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(study[0].folder, tmp_path / "copy"))


def _digests(folder: Path, *, seeds: tuple[int, ...] = (0, 1)) -> dict[tuple[str, int], str]:
    return {(name, seed): manifest_of(folder / name / f"seed-{seed}")["digest"] for name in FOLDERS for seed in seeds}


def _report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def test_runs_of_other_images_are_refused_before_anything_is_trained(compare: Call, image_folder: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(image_folder, tmp_path / "images"))
    options: dict[str, Any] = {"last_batch": ("drop",), "settings": {"data.path": str(images)}}
    compare(tmp_path / "study", seeds=(0,), **options)
    (images / "00.png").unlink()
    with pytest.raises(UserError, match=r"images: these are not the images that .*seed-0 was trained on, so no figure would"):
        compare(tmp_path / "study", seeds=(0, 1), **options)
    assert not (tmp_path / "study" / FOLDERS[0] / "seed-1").exists()


def test_runs_are_evaluated_again_if_the_file_of_a_feature_space_changes(compare: Call, tmp_path: Path) -> None:
    file, folder = tmp_path / "own.py", tmp_path / "study"

    def evaluated_by(source: str) -> dict[str, str]:
        file.write_text(f"def f(images):\n    return {source}\n")
        compare(folder, last_batch=("drop",), seeds=(0,), features=("pixels", f"{file}:f"))
        (record,) = folder.glob("*/seed-0/evaluation/*/evaluation.json")
        keys: dict[str, str] = json.loads(record.read_text())["asked"]
        return keys

    first = evaluated_by("images.mean((1, 2))")
    assert first["pixels"] == "pixels"
    assert evaluated_by("images.mean((1, 2))") == first
    assert evaluated_by("images.std((1, 2))") != first


def test_a_run_that_draws_no_finite_image_stays_without_figures(
    compare: Call, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copy / FOLDERS[1] / "seed-0" / "evaluation")
    monkeypatch.setattr(Sampler, "draw_groups", lambda self, z: iter([np.full((len(z), 32, 32, 3), np.nan, np.float32)]))
    _, said = compare(copy)
    assert f"{FOLDERS[1]}/seed-0: at step 8 G draws values that are not finite. Evaluate an earlier step." in said
    values = {(run["variant"], run["seed"]): run["measures"]["pixels/kid_train"] for run in _report(copy)["runs"]}
    assert [key for key, value in values.items() if value is None] == [(NAMES[1], 0)]


def test_an_evaluation_that_fails_leaves_a_report_with_the_figures_that_are_there(
    compare: Call, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise UserError("own.py:f: the function failed: MemoryError.")

    shutil.rmtree(copy / FOLDERS[1] / "seed-0" / "evaluation")
    for file in ("report.html", "report.json"):
        (copy / file).unlink()
    with monkeypatch.context() as patched:
        patched.setattr(comparison_runs, "evaluate_step", refuse)
        with pytest.raises(UserError, match="MemoryError"):
            compare(copy)
    assert "The evaluation ended with an error, so figures are missing: own.py:f" in (copy / "report.html").read_text()
    values = {(run["variant"], run["seed"]): run["measures"]["pixels/kid_train"] for run in _report(copy)["runs"]}
    assert [key for key, value in values.items() if value is None] == [(NAMES[1], 0)]
    assert not any("ended with an error" in one for one in compare(copy)[0].report.trouble)


def test_every_run_is_bitwise_identical_to_the_one_that_train_makes(
    study: tuple[Compared, str], image_folder: Path, tmp_path: Path
) -> None:
    digests = _digests(study[0].folder)
    assert len(set(digests.values())) == 4
    for number, (last_batch, seed) in enumerate((("drop", 0), ("fill", 1))):
        config = sg.load_config("smoke", _settings(image_folder) | {"data.last_batch": last_batch, "seed": seed})
        run = sg.train(config, tmp_path / f"{number}", stream=io.StringIO())
        theirs = study[0].folder / FOLDERS[number] / f"seed-{seed}"
        assert run.manifest.digest == digests[FOLDERS[number], seed]
        assert metrics_of(run.path) == metrics_of(theirs)
        assert (run.path / "config.json").read_bytes() == (theirs / "config.json").read_bytes()


def test_the_report_shows_every_run_and_the_settings_that_differ(study: tuple[Compared, str]) -> None:
    done, out = study
    report = _report(done.folder)
    assert [(run["variant"], run["seed"], run["status"], run["step"]) for run in report["runs"]] == [
        (name, seed, "complete", 8) for name in NAMES for seed in (0, 1)
    ]
    assert [run["path"] for run in report["runs"]] == [f"{folder}/seed-{seed}" for folder in FOLDERS for seed in (0, 1)]
    assert [variant["changes"] for variant in report["variants"]] == [[], ["data.last_batch: drop -> fill"]]
    assert {run["images_seen"] for run in report["runs"]} == {64}
    assert report["title"] == f"{NAMES[1]} against {NAMES[0]}"
    assert {each["verdict"]["kind"] for each in report["comparisons"]} <= {"exploratory"}
    for name in ("report.html", "runs.csv", "MODEL_CARD.md", "training.log"):
        assert (done.folder / name).exists(), name
    assert done.page.read_text().startswith("<!DOCTYPE html>")
    estimate, _, rest = out.partition("training 4 of 4 runs; their own lines go to training.log\n")
    assert f"\n  {NAMES[1]}: 2 runs to train, 16 steps, roughly 0:" in estimate
    assert estimate.endswith("in all on two cores, with 4 evaluations, without compiling\n")
    assert "evaluating " in rest
    for name in NAMES:
        assert all(f"\n{name}, seed {seed}: complete at step 8" in out for seed in (0, 1))
    assert out.endswith(f"look at   {done.page}\n")


def test_the_call_in_the_report_remakes_it(study: tuple[Compared, str], image_folder: Path) -> None:
    caught = SimpleNamespace(compare=lambda *given, **options: (given, options))
    given, options = eval(study[0].report.command, {"sharingan_jax": caught})
    assert given == (["smoke"],)
    assert options == {
        "seeds": [0, 1],
        "workdir": str(study[0].folder),
        "settings": _settings(image_folder),
        "vary": {"data.last_batch": ("drop", "fill")},
        "features": ("pixels",),
        "samples": 100,
    }


def test_a_second_call_trains_nothing_and_gives_the_same_bytes(study: tuple[Compared, str], compare: Call) -> None:
    before = contents_of(study[0].folder)
    _, out = compare(study[0].folder)
    assert out == f"4 runs already trained\nlook at   {study[0].page}\n"
    assert contents_of(study[0].folder) == before


@pytest.mark.slow
def test_another_seed_trains_one_run(study: tuple[Compared, str], copy: Path, compare: Call) -> None:
    done, out = compare(copy, last_batch=("drop",), seeds=(0, 1, 2))
    assert "training 1 of 3 runs" in out
    assert "evaluating 100 images" in out
    assert [run.seed for run in done.report.runs] == [0, 1, 2]
    assert _digests(copy) == _digests(study[0].folder)


@pytest.mark.slow
def test_a_stopped_comparison_continues_to_the_same_bits(
    study: tuple[Compared, str], compare: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = OpenRun.draw

    def draw_and_stop(run: OpenRun, state: Any) -> Any:
        if (run.setup.config.seed, int(state.step)) == (1, 4):
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(run, state)

    workdir = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(OpenRun, "draw", draw_and_stop)
        with pytest.raises(sg.Stopped, match="stopped by SIGTERM; the same command continues from here"):
            compare(workdir, last_batch=("drop",))
    ends = [manifest_of(workdir / FOLDERS[0] / f"seed-{seed}") for seed in (0, 1)]
    assert [(end["status"], end["step"]) for end in ends] == [("complete", 8), ("stopped", 5)]
    assert not (workdir / "report.html").exists()
    _, out = compare(workdir, last_batch=("drop",))
    assert "training 1 of 2 runs" in out
    for seed in (0, 1):
        assert manifest_of(workdir / FOLDERS[0] / f"seed-{seed}")["digest"] == _digests(study[0].folder)[FOLDERS[0], seed]


def test_a_run_that_fails_is_a_result_and_is_not_tried_again(compare: Call, image_folder: Path, tmp_path: Path) -> None:
    workdir, settings = tmp_path / "study", {"optim.disc.lr": 1e30}
    done, out = compare(workdir, last_batch=("drop",), settings=settings)
    assert "training 2 of 2 runs" in out
    failed = _report(workdir)["runs"]
    assert [(run["seed"], run["status"]) for run in failed] == [(0, "failed"), (1, "failed")]
    for run in failed:
        assert re.match(r"step \d+: .+ is (not finite|nan|-?inf)", run["failure"])  # Each has its own reason.
        assert run["failure"] in html.unescape(done.page.read_text())
        assert f"\n{NAMES[0]}, seed {run['seed']}: failed; training.log says why" in out
    assert [rate["count"] for rate in _report(workdir)["rates"] if rate["what"] == "failed"] == [2]

    before = contents_of(workdir)
    _, out = compare(workdir, last_batch=("drop",), settings=settings)
    assert "2 runs already trained" in out
    assert contents_of(workdir) == before
    plan = make_plan(["smoke"], (0, 1), settings=_settings(image_folder) | settings, vary={"data.last_batch": ["drop"]})
    assert [each.missing for each in forecast(plan, workdir).variants] == [0]

    # With other settings it is another run, and a run whose folder is gone is tried again.
    with pytest.raises(sg.UserError, match=r"holds another run: optim\.disc\.lr was 1e\+30 and is now 0\.0002"):
        compare(workdir, last_batch=("drop",))
    assert contents_of(workdir)["study.json"] == before["study.json"]
    shutil.rmtree(workdir / FOLDERS[0] / "seed-1")
    assert [each.missing for each in forecast(plan, workdir).variants] == [1]


def test_trouble_that_can_be_mended_is_no_result(compare: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise sg.UserError("train.batch_size=8: expected a step that fits into the device's memory.")

    monkeypatch.setattr(study_module, "train_seeds", fail)
    with pytest.raises(sg.UserError, match="fits into the device's memory"):
        compare(tmp_path / "study")
    assert not (tmp_path / "study" / "study.json").exists()


def test_a_collapsed_run_is_settled_until_the_limit_changes(copy: Path, image_folder: Path) -> None:
    path = copy / FOLDERS[0] / "seed-0" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["status"], manifest["config"]["train"]["stop_on_collapse"] = "collapsed", 2
    path.write_text(json.dumps(manifest))
    for limit, missing in ((2, 0), (0, 1)):
        settings = _settings(image_folder) | {"train.stop_on_collapse": limit}
        plan = make_plan(["smoke"], (0, 1), settings=settings, vary={"data.last_batch": ["drop"]})
        assert [each.missing for each in forecast(plan, copy).variants] == [missing]


def test_the_time_left_counts_the_evaluations_that_follow() -> None:
    stream = io.StringIO()
    with study_module._Display(stream, total=10, then_seconds=3600.0) as display:
        display.say("before the first step")
        display.step(weight=5)
        display.say("a, seed 0: complete at step 5")
        display.settle(10)
        display.say("b, seed 0: complete at step 5")
    first, second, last = stream.getvalue().splitlines()
    assert (first, last) == ("before the first step", "b, seed 0: complete at step 5")
    assert re.fullmatch(r"a, seed 0: complete at step 5 \(1:00:0\d left\)", second)


def test_mistakes_are_found_before_anything_is_trained(compare: Call, study: tuple[Compared, str], tmp_path: Path) -> None:
    workdir = tmp_path / "study"
    for options, message in (
        ({"features": ("pixel",)}, "features=pixel: expected pixels, aligned, random, gradients"),
        ({"features": ("none.py:f",)}, "features=none.py:f: expected a Python file, found none."),
        ({"samples": 99}, "samples=99: expected a whole number from 100 to 100000. Use 5000."),
        ({"stacked": 0}, "stacked=0: expected 1 to 4096 seeds in one program."),
        ({"baseline": "default"}, "baseline=default: expected one of "),
    ):
        with pytest.raises(sg.UserError) as error:
            compare(workdir, **options)
        assert message in str(error.value)
    assert not workdir.exists()
    run = study[0].folder / FOLDERS[0] / "seed-0"
    with pytest.raises(sg.UserError, match=r"is a run's folder\. Give a new folder for the comparison"):
        compare(run)


def test_a_dry_run_counts_what_is_missing_and_writes_nothing(study: tuple[Compared, str], image_folder: Path) -> None:
    before = contents_of(study[0].folder)
    plan = make_plan(["smoke"], (0, 1, 2), settings=_settings(image_folder), vary={"data.last_batch": ["drop"]})
    line, total = describe_plan(plan, study[0].folder).splitlines()
    assert line.startswith(f"  {NAMES[0]}: 1 run to train, 8 steps, roughly 0:0")
    # 0.0005 · 15,000 · 4 seconds and a little: other feature spaces and more samples than in the evaluations that are there.
    assert re.match(r"roughly 0:3\d in all on two cores, with 3 evaluations, ", total)
    plan = make_plan(["smoke"], (0, 1), settings=_settings(image_folder), vary={"data.last_batch": ["drop"]})
    assert describe_plan(plan, study[0].folder, features=("pixels",), samples=100) == "nothing is left to train or to evaluate"
    assert contents_of(study[0].folder) == before


@pytest.mark.slow
def test_stacked_seeds_are_recorded_as_such(copy: Path, compare: Call) -> None:
    shutil.rmtree(copy / FOLDERS[1])
    done, out = compare(copy, seeds=(0, 1, 2), stacked=2)
    assert "training 4 of 6 runs" in out
    stacked = {run.path: environments_of(copy / run.path)[-1]["stacked_seeds"] for run in done.report.runs}
    assert stacked == {
        **{f"{FOLDERS[0]}/seed-{seed}": 1 for seed in (0, 1, 2)},
        **{f"{FOLDERS[1]}/seed-{seed}": 2 - seed // 2 for seed in (0, 1, 2)},
    }
    assert "Some seeds were stacked in one program and others were not: they round differently." in done.report.notes
    assert f"\n{NAMES[1]}, seed 1: complete at step 8" in out


def test_only_a_dry_run_refuses_to_download_images(compare: Call, image_folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    allowed = []

    def refuse(*_: Any, fetch: bool, **__: Any) -> Any:
        allowed.append(fetch)
        raise UserError("stop here")

    monkeypatch.setattr(forecast_module, "prepare", refuse)
    plan = make_plan(["smoke"], (0,), settings=_settings(image_folder))
    for call in (lambda: compare(tmp_path / "new"), lambda: describe_plan(plan, tmp_path / "new")):
        with pytest.raises(UserError, match="stop here"):
            call()
    assert allowed == [True, False]
    assert not (tmp_path / "new").exists()
