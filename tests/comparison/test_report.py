"""The report of a comparison and of a single run: its words, bytes and size."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_reports import MEASURES, STEPS, make_report

from sharingan_jax.comparison.report import QUALITIES, _pictures, duration, render_report
from sharingan_jax.comparison.report_plots import MOST_POINTS, make_plots, number, save_paper_plots
from sharingan_jax.comparison.results import (
    Control,
    Curve,
    Report,
    Variant,
    runs_csv,
    to_json,
)
from sharingan_jax.comparison.sentences import answer, outcome, too_few_seeds

HOSTILE = "<script>alert('$x$')</script> & \"_quoted\" 😀"


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
    assert outcome(report) == "18 runs: 1 failed, 1 collapsed. Every run is shown."
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


def test_without_javascript_the_last_samples_are_shown(page: str) -> None:
    last = str(len(STEPS) - 1)
    shown = [(name, own["data-frames"].split()) for name, own in _Tags(page).tags if "data-frames" in own and "hidden" not in own]
    assert [name for name, _ in shown] == ["img", "img", "img", "p"]
    assert all(last in positions for _, positions in shown)


def test_a_run_that_ended_keeps_its_last_samples_and_says_of_which_step(page: str) -> None:
    assert "Its last samples, of step 400. The run ended at step 640 (failed)." in page


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
    assert "baseline collapsed at step 410; modified_loss failed after step 640" in loss.svg
    assert re.search(r"Last values: baseline −?[\d.]+ at step 1,19\d;", loss.svg)
    assert "modified_loss: 5 of 6 runs, from " in runs.svg
    assert runs.rows[3][-1] == "–"


def test_a_plot_names_variants_that_have_no_values(report: Report) -> None:
    absent = report.variants[-1].name
    less = replace(report, curves=tuple(curve for curve in report.curves if curve.variant != absent))
    found = [plot.note for plot in make_plots(less) if f"{absent} has no values." in plot.note]
    assert len(found) == len({curve.metric for curve in less.curves})
    assert not any("has no values" in plot.note for plot in make_plots(report) if absent in plot.note)


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
    [
        (None, "–"),
        (float("nan"), "–"),
        (-0.01234, "−0.0123"),
        (45.27, "45.3"),
        (1234.5, "1,234"),
        (1200, "1,200"),
        (0.0, "0"),
        (-6.254e-5, "−6.25×10⁻⁵"),
    ],
)
def test_numbers_have_three_digits_and_durations_two_units(value: float | None, text: str) -> None:
    assert number(value) == text
    assert [duration(seconds) for seconds in (12.34, 59.9, 75, 7300)] == ["12.3 s", "1 min 0 s", "1 min 15 s", "2 h 1 min"]


def test_marks_of_one_step_do_not_hide_each_other_and_equal_lines_are_named(report: Report) -> None:
    """Six collapses at four steps once looked like four."""
    lost = tuple(replace(run, collapse_step=400) if run.variant == "baseline" else run for run in report.runs)
    _, first, _ = make_plots(replace(report, runs=tuple(replace(run, collapse_step=None) for run in report.runs)))
    _, stacked, _ = make_plots(replace(report, runs=lost))
    assert "baseline collapsed at step 400; " * 5 in stacked.svg

    def marks(svg: str) -> list[str]:
        return re.findall(r'<use href="[^"]*" x="[\d.]+" y="[\d.]+"', svg)

    new = [mark for mark in marks(stacked.svg) if mark not in marks(first.svg)]
    assert len(new) == len(set(new)) == 6
    twin = [replace(curve, variant="stabilised") for curve in report.curves if curve.variant == "baseline"]
    variants = (*report.variants, Variant("stabilised"))
    _, plot, _ = make_plots(replace(report, variants=variants, curves=(*report.curves, *twin)))
    assert plot.note.endswith("The lines of baseline and stabilised are equal: one hides the other.")


def test_a_plot_says_what_a_sign_is_its_best_value_and_a_scale_that_is_not_linear() -> None:
    steps, low = (1, 2), (0.5, 0.5)
    sign = Curve("a", "diversity", "diversity of the grid", "", steps, low, low, low, "measure")
    loss = Curve("a", "loss_d", "loss of D", "nats", steps, (0.5, 20.0), low, (0.5, 20.0), "loss", "symlog")
    first, second = make_plots(Report("", "", (Variant("a"),), (), curves=(sign, loss)))
    assert first.note == "Mean distance between two images of the grid over that between two real images. 1 is best."
    assert second.note == "The axis is linear from −1 to 1 and logarithmic outside."


def test_the_page_explains_only_marks_that_are_there(page: str, single: Report) -> None:
    assert "A cross at the axis is a run in which collapse begins at this step. A triangle is a run that failed" in page
    alone = render_report(single)
    assert "A cross at the axis" not in alone
    assert "no collapse" in alone


def test_the_page_of_a_run_starts_with_its_samples(single: Report) -> None:
    assert _headings(render_report(single))[:3] == ["samples", "results", "runs"]


def test_controls_have_a_row_for_each_measure(page: str) -> None:
    table = page[page.index('<section aria-labelledby="controls">') :]
    table = table[: table.index("</table>")]
    assert re.findall(r'<th scope="row" class="wide">([^<]*)', table) == [
        "KID against held-out images (×10³)", "Recall", "FID against the training images",
    ]  # fmt: skip
    assert table.count('data-label="exact copies"') == 3
    assert table.count('data-label="modified_loss"') == 3


def test_each_measure_says_what_it_measures_and_the_page_when_a_variant_is_better(page: str) -> None:
    assert "Primary measure. Kernel distance of features. Lower is better.</small>" in page
    assert "For the literature. Lower is better. Copies pass.</small>" in page
    assert "at least 6 paired seeds, an interval without 0, and a p of at most 0.05" in page


def test_the_script_of_the_page_stays_small(page: str) -> None:
    script = page[page.index("<script>") : page.index("</script>")]
    assert len(script.splitlines()) <= 40
