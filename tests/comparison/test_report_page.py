"""The report in a browser: by mouse, by keyboard, on a phone, in print, and for those who hear it."""

import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from made_reports import make_report

from sharingan_jax.comparison.report import render_report

SHOWN = "[...document.querySelectorAll('.frames img')].filter(image => image.offsetWidth).map(image => image.alt)"
WIDE = """[...document.querySelectorAll(".scroll")].filter((box) => box.offsetWidth).map((box) =>
  [box.scrollWidth > box.clientWidth, box.previousElementSibling.offsetHeight > 0, box.tabIndex === 0])"""
CONTRASTS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => channels(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const opaque = (colour) => channels(colour).length === 3 || channels(colour)[3] === 1;
  const found = [];
  for (const each of document.body.querySelectorAll("*")) {
    const own = [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !each.getClientRects().length || each.closest("script, style")) continue;
    let back = each;
    while (!opaque(getComputedStyle(back).backgroundColor)) back = back.parentElement;
    const style = getComputedStyle(each);
    const text = each.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(text), light(getComputedStyle(back).backgroundColor)].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), each.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of a comparison and of a single run, on disk."""
    folder = tmp_path_factory.mktemp("pages")
    paths = {"comparison": folder / "comparison.html", "single": folder / "single.html"}
    paths["comparison"].write_text(render_report(make_report()), encoding="utf-8")
    paths["single"].write_text(render_report(make_report(variants=1, seeds=1)), encoding="utf-8")
    return paths


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
def test_the_page_works_in_a_browser(browser: Any, pages: dict[str, Path], kind: str, width: int, scheme: str) -> None:
    path = pages[kind]
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
    # The third run ended at step 640: from there on it keeps the samples of step 400, and says so.
    at_800 = ["800", "800", "400"] if kind == "comparison" else ["800"]
    says_so = tab.get_by_text("Its last samples, of step 400.")
    slider.press("ArrowLeft")
    assert [alt.rpartition(" ")[2] for alt in tab.evaluate(SHOWN)] == at_800
    assert (says_so.count(), says_so.is_visible()) == ((1, True) if kind == "comparison" else (0, False))
    slider.press("ArrowLeft")
    assert [alt.rpartition(" ")[2] for alt in tab.evaluate(SHOWN)] == ["400"] * len(at_800)
    assert not says_so.is_visible()
    assert tab.locator(".slider label").inner_text() == "Samples at step 400"
    assert slider.get_attribute("aria-valuetext") == "step 400"
    slider.press("ArrowRight")
    assert [alt.rpartition(" ")[2] for alt in tab.evaluate(SHOWN)] == at_800
    assert complaints == []
    tab.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["comparison", "single"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(browser: Any, pages: dict[str, Path], kind: str, scheme: str) -> None:
    """WCAG 2.2 asks for a contrast of 4.5 to 1."""
    tab = browser.new_page(color_scheme=scheme)
    tab.goto(pages[kind].as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    contrasts = tab.evaluate(CONTRASTS)
    assert len(contrasts) > 50
    assert [(ratio, text) for ratio, text in contrasts if ratio < 4.5] == []
    tab.close()


@pytest.mark.slow
def test_on_a_phone_every_figure_of_the_results_is_inside_the_window(browser: Any, pages: dict[str, Path]) -> None:
    tab = browser.new_page(viewport={"width": 360, "height": 800})
    tab.goto(pages["comparison"].as_uri())
    results = tab.locator("section[aria-labelledby=results] table").first
    shown = [cell for cell in results.locator("td:not(.blank)").all() if cell.is_visible()]
    assert len(shown) == 3 * (3 + 2 * 5)  # Of three measures: the baseline has no difference and no p.
    for cell in shown:
        box = cell.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    # The cards are still a table with its columns for a screen reader, and each row has its name and five cells.
    tree = results.aria_snapshot()
    assert 'columnheader "Difference [interval]"' in tree
    assert "caption: Main measures." in tree
    rows = [row for row in re.split(r"- '?row ", tree)[1:] if "cell" in row]
    assert len(rows) == 9
    assert {len(re.findall("- '?cell", row)) for row in rows} == {5}
    tab.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_only_tables_wider_than_the_window_say_so_and_are_stops_of_tab(browser: Any, pages: dict[str, Path], width: int) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 800})
    tab.goto(pages["comparison"].as_uri())
    for summary in tab.locator("summary").all():
        summary.click()
    tab.wait_for_timeout(100)  # The observer runs after layout.
    found = tab.evaluate(WIDE)
    assert all(wide == hint == stop for wide, hint, stop in found)
    assert {wide for wide, _, _ in found} == {True, False}  # The test has seen both kinds.
    tab.close()


@pytest.mark.slow
def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Any, pages: dict[str, Path]) -> None:
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    tab.goto(pages["comparison"].as_uri())
    tab.keyboard.press("Tab")
    skip = tab.locator(".skip")
    assert skip.evaluate("(each) => each === document.activeElement")
    assert skip.bounding_box()["x"] >= 0
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "content"
    tab.locator("h1").click()
    tab.evaluate("document.activeElement.blur()")
    expected = tab.locator("main summary:visible, main input").count()
    reached = []
    while len(reached) < 100:
        tab.keyboard.press("Tab")
        name, outline, inside = tab.evaluate(
            "((each) => [each.tagName, getComputedStyle(each).outlineStyle, !!each.closest('main')])(document.activeElement)"
        )
        if name == "BODY":
            break
        assert outline == "solid"
        reached.append(inside)
    assert sum(reached) == expected
    tab.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["comparison", "single"])
def test_headings_are_in_order_and_controls_have_names_of_their_own(browser: Any, pages: dict[str, Path], kind: str) -> None:
    tab = browser.new_page()
    tab.goto(pages[kind].as_uri())
    levels = tab.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map((each) => Number(each.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    summaries = [" ".join(text.split()) for text in tab.locator("summary").all_text_contents()]
    assert len(summaries) == len(set(summaries))
    tab.close()


@pytest.mark.slow
def test_print_is_dark_on_white_and_says_which_step_it_shows(browser: Any, pages: dict[str, Path]) -> None:
    tab = browser.new_page(color_scheme="dark")
    tab.goto(pages["comparison"].as_uri())
    tab.get_by_role("slider").press("ArrowLeft")
    tab.emulate_media(media="print", color_scheme="dark")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.locator(".slider label").is_visible()
    assert tab.locator(".slider label").inner_text() == "Samples at step 800"
    assert not tab.locator(".slider input").is_visible()
    assert tab.get_by_text("Numbers in brackets are the").is_visible()  # How to read the table.
    assert not tab.get_by_text("Digests of all runs").is_visible()  # Paper cannot open it.
    tab.close()
