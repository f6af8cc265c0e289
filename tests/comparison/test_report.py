"""The report of a comparison and of a single run: its words, bytes and size, and how it works in a browser."""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import photo_noise, rows_of_eight

from sharingan_jax.comparison.report import QUALITIES, _pictures, duration, render_report
from sharingan_jax.comparison.report_plots import MOST_POINTS, make_plots, number, save_paper_plots
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
    runs_csv,
    to_json,
)
from sharingan_jax.comparison.sentences import answer, outcome, too_few_seeds
from sharingan_jax.comparison.statistics import holm, paired_difference, summarise, wilson_interval
from sharingan_jax.comparison.verdict import verdict

MEASURES = (
    Measure("kid_heldout", "KID against held-out images", "lower", "×10³", "Kernel distance of features.", is_primary=True),
    Measure("recall", "Recall", "higher", "", "Share of real images near a sample."),
    Measure("fid", "FID against the training images", "lower", "", "For the literature.", copier_wins=True),
)
STEPS = (200, 400, 800, 1200)
SHOWN = "[...document.querySelectorAll('.frames img')].filter(image => image.offsetWidth).map(image => image.alt)"
HOSTILE = "<script>alert('$x$')</script> & \"_quoted\" 😀"


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


@pytest.fixture(scope="module")
def report() -> Report:
    return make_report()


@pytest.fixture(scope="module")
def single() -> Report:
    return make_report(variants=1, seeds=1)


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render_report(report)


class _Tags(HTMLParser):
    """The start tags of a page, each name with its attributes, and the texts between them."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(" ".join(data.split()))


def _headings(page: str) -> list[str]:
    return re.findall(r'<h2 id="(\w+)"', page)


def test_the_same_report_gives_the_same_bytes(report: Report, page: str, tmp_path: Path) -> None:
    assert render_report(report) == page
    first, second = (save_paper_plots(report, tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [
        f"{name}.{suffix}" for name in ("runs-kid_heldout", "loss-loss_d", "measure-kid") for suffix in ("png", "pdf")
    ]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]

    for name in ("runs-fid.png", "runs-fid.pdf", "mine.png"):  # The first two are of an earlier report.
        (tmp_path / "a" / name).write_bytes(b"")
    assert {*save_paper_plots(report, tmp_path / "a"), tmp_path / "a" / "mine.png"} == set((tmp_path / "a").iterdir())


def test_the_table_of_a_plot_names_the_file_with_every_value(page: str, single: Report) -> None:
    """A run's own folder has no report.json."""
    assert "median [band] at some of the steps. report.json has all of them." in page
    own = render_report(single)
    assert "values at some of the steps. The run's metrics.jsonl has every step." in own
    assert "report.json" not in own


def test_a_single_run_has_no_section_that_compares(page: str, single: Report) -> None:
    every = ["compared", "results", "runs", "losses", "training", "samples", "neighbours", "collapse", "controls", "seeds"]
    assert _headings(page) == [*every, "environment", "digests", "command"]
    assert set(every) - set(_headings(render_report(single))) == {"compared", "seeds"}
    bare = Report("A run", "", (Variant("baseline"),), single.runs)
    assert _headings(render_report(bare)) == ["runs"]


def test_the_answer_follows_the_verdicts(report: Report, single: Report) -> None:
    words = answer(report)
    assert words.startswith("On KID against held-out images (×10³, lower is better), compared with baseline: no difference is ")
    # One of its six runs failed, so five pairs are left.
    assert words.endswith("; for modified_loss there are too few seeds (exploratory).")
    assert outcome(report) == "18 runs: 1 failed, 1 collapsed. No run is left out."
    assert answer(single).startswith("KID against held-out images (×10³, lower is better): ")
    assert ": spectral norm and clipping and modified_loss are better." in answer(make_report(seeds=8))
    two = make_report(variants=2)
    assert answer(two).startswith("spectral norm and clipping is better than baseline on KID against held-out images")
    assert "exploratory: lower in 3 of 3 seeds" in answer(make_report(variants=2, seeds=3))
    partial = replace(report, comparisons=report.comparisons[:1])
    assert answer(partial).endswith("; not compared, because too few runs have a value: modified_loss.")


def test_the_page_says_when_seeds_are_too_few_to_show_anything(report: Report) -> None:
    exploratory, adjusted = too_few_seeds(report)
    assert exploratory.startswith("Exploratory: some comparisons have only 5 paired seeds. With fewer than 6 ")
    assert adjusted.startswith("With 2 variants compared with baseline, no difference can be shown with fewer than 7 paired ")
    assert too_few_seeds(make_report(variants=2)) == []
    assert " only 1 paired seed. With " in too_few_seeds(make_report(variants=2, seeds=1))[0]


def test_hostile_texts_are_escaped(tmp_path: Path) -> None:
    base = make_report(variants=1, seeds=2)
    rename: Any = {"variant": HOSTILE}
    hostile = replace(
        base,
        title=HOSTILE,
        command=HOSTILE,
        variants=(Variant(HOSTILE, (HOSTILE,)),),
        runs=tuple(replace(run, **rename, path=HOSTILE, device=HOSTILE, failure=HOSTILE) for run in base.runs),
        curves=tuple(replace(curve, **rename, label=HOSTILE, unit=HOSTILE) for curve in base.curves),
        strips=tuple(replace(strip, **rename) for strip in base.strips),
        sheets=tuple(replace(sheet, **rename, title=HOSTILE) for sheet in base.sheets),
        measures=tuple(replace(measure, label=HOSTILE, unit=HOSTILE, note=HOSTILE) for measure in base.measures),
        environment=((HOSTILE, HOSTILE),),
        notes=(HOSTILE,),
    )
    tags = _Tags(render_report(hostile))
    assert sum(name == "script" for name, _ in tags.tags) == 1
    assert tags.texts.count(HOSTILE) > 10
    assert len(save_paper_plots(hostile, tmp_path)) == 6


def test_the_page_refers_to_nothing_outside_of_it(page: str) -> None:
    tags = _Tags(page).tags
    ids = [own["id"] for _, own in tags if "id" in own]
    assert len(ids) == len(set(ids))
    for name, own in tags:
        for key in ("src", "href"):
            target = own.get(key) or ("#content" if key not in own else "")
            assert target.startswith("data:image/png;base64,") or target.removeprefix("#") in ids, (name, target)
        for needed in (own.get("aria-labelledby") or "").split():
            assert needed in ids
    assert set(re.findall(r"url\(#?([^)]*)\)", page)) <= set(ids)
    assert not re.findall(r"https?:", page)


def test_tables_images_and_plots_have_names(page: str) -> None:
    tags = _Tags(page).tags
    assert all(own.get("scope") for name, own in tags if name == "th")
    assert sum(name == "table" for name, _ in tags) == sum(name == "caption" for name, _ in tags)
    assert all(own.get("alt") for name, own in tags if name == "img")
    plots = [own for name, own in tags if name == "svg" and "aria-hidden" not in own]
    assert len(plots) == 3
    assert all(own["role"] == "img" for own in plots)


def test_without_javascript_the_last_step_is_shown(page: str) -> None:
    shown = [own["data-frame"] for _, own in _Tags(page).tags if "data-frame" in own and "hidden" not in own]
    assert shown == [str(len(STEPS) - 1)] * 3
    assert "No samples at step 1,200: the run ended at step 640 (failed)." in page


@pytest.mark.slow
def test_ten_variants_with_noisy_samples_stay_under_3_mb() -> None:
    page = render_report(make_report(variants=10, seeds=10, side=64, records=5000, steps=(100, 200, 400, 800, 1000, 1200)))
    assert len(page.encode()) < 3_000_000
    assert "To keep this file small" in page


def test_images_are_reduced_no_more_than_needed() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (40, 80, 3), np.uint8)] * 4
    pictures, quality = _pictures(noise, [2] * 4, 1e6)
    assert quality == QUALITIES[0]
    assert (pictures[0].width, pictures[0].height) == (80, 40)
    pictures, quality = _pictures(noise, [2] * 4, 4000)
    assert sum(len(picture.url) for picture in pictures) <= 4000
    assert quality.words().startswith("To keep this file small: 64 colours for each image")


def test_long_curves_are_drawn_with_few_points_that_are_means() -> None:
    steps = tuple(range(1, 1001))
    values = tuple(float(step) for step in steps)
    missing = tuple(None if step % 2 else float(step) for step in steps)
    curve = Curve("a", "loss_g", "G", "nats", steps, values, missing, (float("nan"),) * 1000)
    report = Report("", "", (Variant("a"),), (), curves=(curve,))
    (plot,) = make_plots(report)
    assert plot.rows[0] == ("6", "5.50")  # The mean of steps 1 to 10, and of the values there.
    assert len(plot.rows) == 12
    assert plot.note == f"Each point is the mean of about {1000 // MOST_POINTS} recorded values."


def test_plots_describe_marks_and_last_values_in_words(report: Report) -> None:
    runs, loss, _ = make_plots(report)
    assert "baseline collapsed at step 410; modified_loss failed at step 640" in loss.svg
    assert re.search(r"Last values: baseline −?[\d.]+ at step 1,19\d;", loss.svg)
    assert "modified_loss: 5 of 6 runs, from " in runs.svg
    assert runs.rows[3][-1] == "–"


def test_report_json_survives_a_round_trip_and_has_no_images(report: Report) -> None:
    value = to_json(replace(report, controls=(Control("noise", {"fid": float("inf")}),)))
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["controls"] == [{"name": "noise", "measures": {"fid": None}}]
    assert value["summaries"][0]["variant"] == "baseline"
    assert value["comparisons"][0]["verdict"]["kind"] == "none"
    assert not {"strips", "sheets"} & set(value)


def test_runs_csv_has_a_line_for_each_run_and_measure_with_all_digits(report: Report) -> None:
    lines = list(csv.DictReader(io.StringIO(runs_csv(report))))
    assert len(lines) == 18 * 3
    for line, (run, measure) in zip(lines, ((run, measure.name) for run in report.runs for measure in MEASURES), strict=True):
        assert (line["variant"], line["seed"], line["measure"]) == (run.variant, str(run.seed), measure)
        assert (float(line["value"]) if line["value"] else None) == run.measures.get(measure)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (-0.01234, "−0.0123"), (45.27, "45.3"), (1234.5, "1,234"), (1200, "1,200"), (0.0, "0")],
)
def test_numbers_have_three_digits_and_durations_two_units(value: float | None, text: str) -> None:
    assert number(value) == text
    assert [duration(seconds) for seconds in (12.34, 59.9, 75, 7300)] == ["12.3 s", "1 min 0 s", "1 min 15 s", "2 h 1 min"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["comparison", "single"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_works_in_a_browser(
    browser: Any, report: Report, single: Report, tmp_path: Path, kind: str, width: int, scheme: str
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_report(report if kind == "comparison" else single), encoding="utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    requests, complaints = list[str](), list[str]()
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(path.as_uri())
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]

    plots = tab.locator(".plot > svg")
    assert plots.count() == (3 if kind == "comparison" else 2)
    for i in range(plots.count()):
        assert min(plots.nth(i).bounding_box()[side] for side in ("width", "height")) > 100
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for summary in tab.locator("summary").all():
        summary.click()  # Opened or closed, the page is no wider than the window.
    assert tab.evaluate("document.documentElement.scrollWidth") <= width

    background, text = tab.evaluate("['backgroundColor', 'color'].map(key => getComputedStyle(document.body)[key])")
    brightness = [sum(map(int, re.findall(r"\d+", colour))) for colour in (background, text)]
    assert (brightness[0] < brightness[1]) == (scheme == "dark")
    assert tab.evaluate("getComputedStyle(document.querySelector('.plot text')).fill") == text

    assert tab.get_by_label("Samples at step 1,200").get_attribute("type") == "range"
    slider = tab.get_by_role("slider")

    assert tab.evaluate(SHOWN)[0] == f"Samples of baseline, seed {3 if kind == 'comparison' else 0}, at step 1,200"
    slider.press("ArrowLeft")
    assert all("at step 800" in alt for alt in tab.evaluate(SHOWN))
    slider.press("ArrowLeft")
    assert len(tab.evaluate(SHOWN)) == (3 if kind == "comparison" else 1)
    assert tab.locator(".slider label").inner_text() == "Samples at step 400"
    assert slider.get_attribute("aria-valuetext") == "step 400"
    slider.press("ArrowRight")
    assert all("at step 800" in alt for alt in tab.evaluate(SHOWN))
    assert complaints == []
    tab.close()
