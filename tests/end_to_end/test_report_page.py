"""The page of a run as a person uses it, in a browser: with pointer and keyboard, on paper, in the dark."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from paretune.experiments.asking import ask_run
from paretune.experiments.report.page import write_report
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import open_run
from paretune.experiments.terminal.answer_text import answer_lines
from tests.end_to_end.chromium import chromium
from tests.experiments.report.report_runs import HOSTILE, KINDS, document_of, hostile_run, of_three_objectives
from tests.experiments.report.test_report import OPTIONS, QUESTIONS

pytestmark = pytest.mark.slow

PATIENCE_MS = 120_000.0
LIGHT_PAPER, WHITE = "rgb(251, 251, 249)", "rgba(0, 0, 0, 0)"
#: Where a point of the first chart is, in pixels of the window.
POINT = """(number) => {
    const plot = document.querySelector(".plot");
    plot.scrollIntoView({block: "center", behavior: "instant"});
    const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();
    const trace = plot.data.find((each) => each.customdata.includes(number));
    const at = trace.customdata.indexOf(number);
    return [box.x + xaxis._offset + xaxis.d2p(trace.x[at]), box.y + yaxis._offset + yaxis.d2p(trace.y[at])];
}"""
#: The lowest contrast of a text colour against what it stands on, as WCAG 2 counts it.
CONTRAST = """() => {
    const style = getComputedStyle(document.documentElement);
    const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const luminance = (name) => {
        const hex = style.getPropertyValue(name).trim().slice(1);
        const [red, green, blue] = [0, 2, 4].map((at) => linear(parseInt(hex.slice(at, at + 2), 16) / 255));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const inks = ["--ink", "--soft", "--accent", "--knee", "--bad"];
    const pairs = ["--paper", "--card"].flatMap((ground) => inks.map((ink) => [luminance(ground), luminance(ink)]));
    return Math.min(...pairs.map((pair) => (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)));
}"""
#: How many things that can be used have no name.
NAMELESS = """() => [...document.querySelectorAll("button, input, summary, [tabindex='0']")].filter((each) => {
    const told = ["aria-label", "aria-labelledby"].map((name) => each.getAttribute(name));
    return ![each.labels?.[0]?.textContent, each.textContent, ...told].some((text) => text?.trim());
}).length"""


@dataclass
class Opened:
    """A page in a window of its own, and what went wrong in it."""

    page: Page
    troubles: list[str] = field(default_factory=list)

    @property
    def chosen(self) -> str:
        """The heading of the trial that is open."""
        return str(self.page.evaluate("() => document.getElementById('trial-title').firstChild.textContent.trim()"))

    def ask(self, bounds: dict[str, float]) -> str:
        """Put bounds into the number fields, and return the answer."""
        for option, name in OPTIONS.items():
            value = bounds.get(name)
            if value is not None and option == "--max-size":
                value /= 1000
            self.page.locator(f'[id="number{option}"]').fill("" if value is None else repr(value))
        return self.page.locator("#answer").inner_text()

    def settle(self) -> None:
        self.page.wait_for_function("() => state.drawing === null", timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return a run of three objectives with a constraint, and its page; tests only read it."""
    folder = of_three_objectives(tmp_path_factory.mktemp("three"))
    written(folder)
    return folder


def written(folder: RunFolder) -> Path:
    with open_run(folder) as run:
        return write_report(run)


def open_page(browser: Browser, path: Path, **looks: Any) -> Opened:
    """Open a file in a new window, and wait until it is drawn."""
    context = browser.new_context(viewport=looks.pop("viewport", {"width": 1280, "height": 900}), **looks)
    opened = Opened(context.new_page())
    page, troubles = opened.page, opened.troubles
    page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith(("file:", "data:", "blob:")) else troubles.append(asked.url),
    )
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready=yes]", timeout=PATIENCE_MS)
    return opened


@pytest.fixture
def opened(browser: Browser, folder: RunFolder) -> Iterator[Opened]:
    opened = open_page(browser, folder.report)
    yield opened
    assert opened.troubles == []
    opened.page.context.close()


def trial_in_view(folder: RunFolder) -> int:
    """Return a trial that is not open at first, of those that are in view; best one that is beaten by another."""
    rows = [row for row in document_of(folder)["trials"][1:] if row.get("feasible") and not row["knee"]]
    number: int = min(rows, key=lambda row: row["front"])["trial"]
    return number


@pytest.mark.parametrize("kind", [*KINDS, "hostile"])
def test_every_kind_of_run_opens_as_a_file_without_an_error_or_a_request(
    kind: str, browser: Browser, tmp_path: Path
) -> None:
    make = {**KINDS, "hostile": hostile_run}[kind]
    opened = open_page(browser, written(make(tmp_path)))
    opened.page.locator("#all-trials summary").click()
    opened.settle()
    assert opened.troubles == []
    assert opened.page.locator("#trouble").is_hidden()
    assert opened.page.locator("#all-trials tbody tr").count() == len(
        document_of(RunFolder(tmp_path / "runs/fake"))["trials"]
    )
    if kind == "hostile":
        assert HOSTILE in opened.page.locator("#trial .layers").inner_text()
        assert opened.page.locator("img, b:not(.plot b)").count() == 0
    opened.page.context.close()


def test_a_click_on_a_point_opens_its_trial(opened: Opened, folder: RunFolder) -> None:
    number = trial_in_view(folder)
    assert opened.chosen != f"Trial {number}"
    x, y = opened.page.evaluate(POINT, number)
    opened.page.mouse.move(x, y)
    opened.page.wait_for_function(f"() => document.querySelector('.hoverlayer').textContent.includes('trial {number}')")
    opened.page.mouse.click(x, y)
    opened.page.wait_for_function(
        f"() => document.querySelector('#trial-title').textContent.startsWith('Trial {number}')"
    )
    assert opened.page.url.endswith(f"#trial-{number}")


def test_the_fields_answer_as_paretune_front_does(opened: Opened, folder: RunFolder) -> None:
    for bounds in QUESTIONS:
        with open_run(folder) as run:
            answer = ask_run(run, **bounds)
        said = answer_lines(answer, None)[0].replace("best by", "Best by").replace("  ", ", ") if bounds else ""
        assert opened.ask(bounds).rstrip(".") == said.rstrip("."), bounds
        shown = answer.best or answer.nearest
        if bounds and shown is not None:
            assert opened.chosen == f"Trial {shown.number}"


def test_where_nothing_fits_the_page_says_so_and_mutes_every_point(opened: Opened) -> None:
    assert opened.ask({"max_bytes": 1.0}).startswith("No trial meets the bounds; trial ")
    opened.settle()
    rows = opened.page.locator("#front-table tr[data-trial]:not(.baseline)")
    assert rows.count() == opened.page.locator("#front-table tr.outside").count() > 0
    faint = opened.page.evaluate(
        "() => document.querySelector('.plot').data.find((trace) => trace.name === 'on the front').marker.opacity"
    )
    assert set(faint) == {0.22}
    opened.ask({})
    assert opened.page.locator("#front-table tr.outside").count() == 0
    assert opened.page.locator("#answer").inner_text() == ""


def test_a_slider_moved_by_keys_asks_too_and_shows_the_command(opened: Opened, folder: RunFolder) -> None:
    slider = opened.page.locator('[data-option="--max-size"]')
    slider.focus()
    opened.page.keyboard.press("Home")
    smallest = min(
        row["values"]["size_bytes"] for row in document_of(folder)["trials"] if row.get("feasible") and row["trial"]
    )
    assert opened.page.locator("#answer").inner_text().startswith("Best by accuracy: trial ")
    assert float(opened.page.locator('[id="number--max-size"]').input_value()) == pytest.approx(
        smallest / 1000, abs=1e-3
    )
    assert f"paretune front {folder} --max-size " in opened.page.locator("#ask-command code").inner_text()
    opened.page.keyboard.press("End")
    assert opened.page.locator('[id="number--max-size"]').input_value() == ""


def test_arrow_keys_in_the_table_move_the_choice(opened: Opened) -> None:
    rows = opened.page.locator("#front-table input[type=radio]")
    numbers = [rows.nth(index).input_value() for index in range(rows.count())]
    rows.first.focus()
    opened.page.keyboard.press("Space")
    assert opened.chosen == f"Trial {numbers[0]}"
    opened.page.keyboard.press("ArrowDown")
    assert opened.chosen == f"Trial {numbers[1]}"
    opened.page.keyboard.press("ArrowUp")
    opened.page.keyboard.press("ArrowUp")
    assert opened.chosen == "The baseline"


def test_everything_that_can_be_used_is_reached_by_tab_and_has_a_name(opened: Opened) -> None:
    assert opened.page.evaluate(NAMELESS) == 0
    reached = set()
    for _ in range(25):
        opened.page.keyboard.press("Tab")
        reached.add(
            opened.page.evaluate("() => document.activeElement.type || document.activeElement.tagName.toLowerCase()")
        )
    assert {"a", "range", "number", "radio", "button", "summary"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_colour_schemes(scheme: str, browser: Browser, folder: RunFolder) -> None:
    opened = open_page(browser, folder.report, color_scheme=scheme)
    assert opened.page.evaluate(CONTRAST) >= 4.5
    opened.page.context.close()


def test_the_page_and_its_charts_follow_the_colour_scheme(opened: Opened) -> None:
    ticks = "() => getComputedStyle(document.querySelector('.xtick text')).fill"
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = opened.page.evaluate(ticks), opened.page.evaluate(ground)
    assert light[1] == LIGHT_PAPER
    opened.page.emulate_media(color_scheme="dark")
    opened.page.wait_for_function(f"() => ({ticks})() !== '{light[0]}'")
    assert opened.page.evaluate(ground) != light[1]


def test_paper_is_light_and_wide_enough_and_the_screen_comes_back(browser: Browser, folder: RunFolder) -> None:
    opened = open_page(browser, folder.report, color_scheme="dark")
    ticks = "() => getComputedStyle(document.querySelector('.xtick text')).fill"
    dark = opened.page.evaluate(ticks)
    opened.page.emulate_media(media="print")
    opened.page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert opened.page.evaluate(ticks) != dark
    assert opened.page.evaluate("() => getComputedStyle(document.body).color") == "rgb(28, 32, 36)"
    assert (
        max(opened.page.evaluate("() => [...document.querySelectorAll('.main-svg')].map((each) => each.clientWidth)"))
        <= 650
    )
    assert opened.page.locator("#asking").is_hidden()
    opened.page.emulate_media(media="screen")
    opened.page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    opened.settle()
    assert opened.page.evaluate(ticks) == dark
    assert len(opened.page.pdf(format="A4")) > 10_000
    assert opened.troubles == []
    opened.page.context.close()


def test_a_phone_needs_no_sideways_scrolling(browser: Browser, folder: RunFolder) -> None:
    opened = open_page(browser, folder.report, viewport={"width": 390, "height": 844})
    assert opened.page.evaluate("() => document.scrollingElement.scrollWidth") <= 390
    assert opened.troubles == []
    opened.page.context.close()
