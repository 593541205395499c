"""The fleet and one model in a real Chromium over a real Redis: figures over time, by segment, and taken along."""

from __future__ import annotations

import csv
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from schemas.resource_report import ResourceReport
from schemas.window_report import WindowReport
from streams.alerting.life_cycle import Phase
from tests.browser.conftest import PageServer
from tests.browser.test_page import is_live, tell
from tests.support.page_world import HOSTILE, Report, keep, many_segments, quality, revised, world
from tests.support.waiting import wait_until

SCREENSHOTS = Path(".cache") / "screenshots"
FRAUD = "/?model=fraud&version=3"
SLICED = "/?model=sliced"
EMOJI = "🦊" * 32
COUNT_SHIFTS = (
    "window.shifted = [];"
    "new PerformanceObserver((list) => { for (const { sources } of list.getEntries())"
    " window.shifted.push(sources.map(({ node }) => node?.outerHTML?.slice(0, 200) ?? String(node))); })"
    ".observe({ type: 'layout-shift', buffered: true });"
)


@pytest.fixture
def full(server: PageServer) -> PageServer:
    """The page over a world of reports."""
    server.run(keep(server.reports, world()))
    return server


@pytest.fixture
def sliced(server: PageServer) -> PageServer:
    """The page over a model with twenty segments."""
    server.run(keep(server.reports, many_segments(20)))
    return server


def row(page: Page, model: str, version: str) -> Locator:
    return page.locator("table.fleet tbody tr", has_text=f"version {version}").filter(has_text=model)


def figure(page: Page, title: str) -> Locator:
    return page.locator("figure", has=page.locator("figcaption > span:first-child", has_text=re.compile(f"^{title}")))


def test_fleet_tells_the_change_against_the_reference_and_how_memory_goes(full: PageServer, page: Page) -> None:
    page.goto("/")
    bad = row(page, "fraud", "3")
    expect(bad).to_contain_text(re.compile(r"−0\.320 worse\s*reference 0\.940"))
    expect(bad).to_contain_text(re.compile(r"725 MiB of 916 MiB\s*▲ leak suspected\s*\+19 MiB/h, full in 10 h"))
    expect(bad).to_contain_text("fraud-7f, worst of 2")
    expect(row(page, "fraud", "2")).to_contain_text(re.compile(r"\+0\.046 better\s*reference 0\.940"))


def test_figure_of_binary_models_is_not_said_to_lack_the_scores_that_came(full: PageServer, page: Page) -> None:
    report = quality("two hundred classes", "3")[-1]
    of_scores = {**report.metrics, "log_loss": msgspec.structs.replace(report.metrics["log_loss"], n=7)}
    full.run(keep(full.reports, [revised(report, metrics=of_scores)]))
    page.goto("/?model=two hundred classes&version=3")
    table = page.get_by_role("table", name="All figures of this window")
    expect(table.locator("tr", has_text="log_loss")).to_contain_text("binary models only")
    expect(table.locator("tr", has_text="brier")).to_contain_text("no scores sent")


def test_fleet_is_taken_along_as_csv_and_json(full: PageServer, page: Page) -> None:
    page.goto("/")
    page.locator("table.fleet").wait_for()
    shown = page.locator("table.fleet tbody th a").all_inner_texts()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert shown == [each["model"] for each in rows]
    fraud = next(each for each in rows if (each["model"], each["version"]) == ("fraud", "3"))
    assert ("reference", "0.94", "worse", "suspected_leak") == (
        fraud["against"], fraud["against_value"], fraud["change"], fraud["memory_state"],
    )  # fmt: skip
    href = page.locator("[data-key=json]").get_attribute("href")
    assert shown == [each["model"] for each in page.request.get(str(href)).json()["rows"]]


def test_segments_are_small_charts_worst_first_with_a_table_behind_each(sliced: PageServer, page: Page) -> None:
    page.goto(SLICED)
    charts = page.locator(".multiples figure")
    expect(charts).to_have_count(12)
    assert ["country C19", "country C18"] == charts.locator("figcaption a").all_inner_texts()[:2]
    expect(page.locator("main")).to_contain_text("The 12 worst of 20")
    charts.first.locator("summary").click()
    reports = [each for each in many_segments(20) if each.segment == {"country": "C19"}]
    table = charts.first.locator("tbody tr")
    expect(table).to_have_count(24)
    accuracy = reports[0].metrics["accuracy"]
    expect(table.last).to_contain_text(f"{accuracy.value:.3f}")
    expect(table.last).to_contain_text(f"[{accuracy.low:.3f}, {accuracy.high:.3f}]")
    page.get_by_role("link", name="All 20").click()
    expect(charts).to_have_count(20)
    assert "segments=48" in page.url
    charts.first.locator("figcaption a").click()
    expect(page.locator("main")).to_contain_text("country C19")
    expect(page.get_by_role("link", name="Later")).to_be_visible()


def test_every_chart_of_a_model_spans_the_same_time(full: PageServer, page: Page) -> None:
    page.goto(f"{FRAUD}&since=2026-11-23T18:00:00Z&until=2026-11-24T02:00:00Z")
    expect(page.locator("figure canvas")).to_have_count(13)
    spans = page.evaluate(
        "[...document.querySelectorAll('.chart')].map(({ chart }) => [chart.scales.x.min, chart.scales.x.max])"
    )
    assert 13 == len(spans)
    assert [[1_795_456_800, 1_795_485_600]] * 13 == spans


def test_no_line_leads_over_windows_that_are_missing(server: PageServer, page: Page) -> None:
    kept = [report for at, report in enumerate(quality("fraud", "2")) if at in (0, 1, 5, 7, 8)]
    server.run(keep(server.reports, kept))
    page.goto("/?model=fraud&version=2")
    chart = page.locator(".chart").first
    expect(chart.locator("canvas")).to_be_visible()
    hours, values = chart.evaluate("({chart: {data}}) => [data[0].map(x => (x - data[0][0]) / 3600), data[5]]")
    assert [0, 1, 3, 5, 6, 7, 8] == hours
    assert [False, False, True, False, True, False, False] == [value is None for value in values]
    lonely = "({chart}) => chart.series[5].points.filter(chart, 5)"
    assert [3] == chart.evaluate(lonely)
    box = chart.locator(".u-over").bounding_box()
    assert box is not None
    reading = page.locator(".reading").first
    for share, said in ((0.99, kept[-1].window.start), (0.39, kept[-1].window.start), (0.01, kept[0].window.start)):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
        local = datetime.fromisoformat(said).astimezone(ZoneInfo("America/New_York"))
        expect(reading).to_contain_text(f"{local:%Y-%m-%d %H:%M}")


def test_restarts_stand_in_their_window_with_the_target(full: PageServer, page: Page) -> None:
    page.goto(FRAUD)
    restarts = figure(page, "Restarts")
    restarts.locator("summary").click()
    rows = [[cell.strip() for cell in text.split("\t")] for text in restarts.locator("tbody tr").all_inner_texts()]
    assert [["2026-11-23 21:00", "2", "0", "fraud-8a"]] == [cells for cells in rows if cells[1] != "0"]


def test_targets_that_have_ended_stand_in_the_span_in_which_they_ran(server: PageServer, page: Page) -> None:
    began = "2026-11-23T20:00:00Z"

    def ran(report: Report) -> bool:
        is_old = report.window.start < began
        return not isinstance(report, ResourceReport) or is_old == (report.segment["target"] == "fraud-7f")

    server.run(keep(server.reports, filter(ran, world())))
    page.goto(FRAUD)
    expect(figure(page, "Memory").locator("figcaption")).to_have_text(re.compile(r"Memory\s*fraud-8a$"))
    page.goto(f"{FRAUD}&until={began}")
    expect(figure(page, "Memory").locator("figcaption")).to_have_text(re.compile(r"Memory\s*fraud-7f$"))


def test_each_chart_is_taken_along(full: PageServer, page: Page) -> None:
    page.goto(FRAUD)
    for title, first in (
        ("accuracy by window", "window_start,status,predictions,failed"),
        ("Predictions", "window_start,predictions,labelled,due"),
        ("Latency", "window_start,p50,p95,p99"),
        ("Memory", "window_start,fraud-7f,fraud-8a"),
        ("Restarts", "window_start,restarts,oom_kills,targets"),
        ("accuracy of versions", "window_start,version 3,version 2"),
        ("margin", "window_start,status,n,undefined_share,p05"),
        ("country FR", "window_start,status,accuracy,low,high,n,coverage"),
    ):
        chart = figure(page, title)
        chart.locator("summary").click()
        with page.expect_download() as download:
            chart.get_by_role("button", name="CSV").click()
        lines = Path(download.value.path()).read_text().splitlines()
        assert lines[0].startswith(first), title
        assert 25 == len(lines), title


def test_json_beside_the_charts_is_the_span_that_is_seen(full: PageServer, page: Page) -> None:
    page.goto(f"{FRAUD}&since=2026-11-23T18:00:00Z&until=2026-11-23T21:00:00Z")
    href = page.locator("[data-key=json]").get_attribute("href")
    points = page.request.get(str(href)).json()["points"]
    assert ["2026-11-23T18:00:00Z", "2026-11-23T19:00:00Z", "2026-11-23T20:00:00Z"] == [
        each["start"] for each in points
    ]


def wait_for(page: Page, condition: str) -> None:
    """Wait until an expression is true; Playwright's own way of asking again is against the page's policy."""
    wait_until(lambda: bool(page.evaluate(condition)), what=condition)


def has_windows(page: Page, count: int) -> None:
    """Wait until the first chart is over so many windows."""
    wait_for(page, f"document.querySelector('.chart')?.chart?.data[0].length === {count}")


def test_span_is_chosen_by_keyboard_and_gone_back_from(full: PageServer, page: Page) -> None:
    page.goto(FRAUD)
    has_windows(page, 24)
    for key, span, count in (
        ("in", "2026-11-23 13:00 to 2026-11-24 01:00", 12),
        ("in", "2026-11-23 16:00 to 2026-11-23 22:00", 6),
        ("earlier", "2026-11-23 10:00 to 2026-11-23 16:00", 6),
    ):
        page.locator(f"[data-key={key}]").focus()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_contain_text(span)
        has_windows(page, count)
    for count in (6, 12, 24):
        page.go_back()
        has_windows(page, count)
    expect(page.get_by_role("link", name="Newest windows")).to_be_hidden()


def test_going_back_finds_the_place_on_the_page(sliced: PageServer, page: Page) -> None:
    page.goto(SLICED)
    last = page.locator(".multiples figcaption a").last
    last.scroll_into_view_if_needed()
    wait_for(page, "history.state?.top > 100")
    top = page.evaluate("scrollY")
    last.click()
    expect(page.get_by_role("link", name="Later")).to_be_visible()
    assert 0 == page.evaluate("scrollY")
    page.go_back()
    wait_for(page, f"scrollY === {top}")
    page.reload()
    wait_for(page, f"scrollY === {top}")


def test_page_says_which_zone_its_times_are_in(full: PageServer, page: Page) -> None:
    page.goto(FRAUD)
    expect(page.locator("#zone-name")).to_have_text("Times in America/New_York")
    page.get_by_role("button", name="UTC").click()
    expect(page.locator("#zone-name")).to_have_text("Times in UTC")
    expect(page.locator(".charts figure").first).to_contain_text("Newest: 2026-11-24 11:00")


def test_paper_shows_whole_charts_in_ink_on_white_with_address_and_zone(full: PageServer, page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(FRAUD)
    page.locator(".multiples canvas").last.wait_for()
    page.evaluate(
        "addEventListener('beforeprint', () => queueMicrotask(() => queueMicrotask(() => { window.printed = {"
        "  widths: [...document.querySelectorAll('.chart')].map(({ chart }) => chart.width),"
        "  ink: getComputedStyle(document.documentElement).getPropertyValue('--ink').trim(),"
        "  footer: document.getElementById('printed').textContent,"
        "}; })))"
    )
    before = page.evaluate("document.querySelector('.chart').chart.width")
    assert page.pdf(format="A4").startswith(b"%PDF")
    printed = page.evaluate("window.printed")
    assert 14 == len(printed["widths"])
    assert max(printed["widths"]) <= 700
    assert "#1a1d21" == printed["ink"]
    assert f"{full.address}{FRAUD}" in printed["footer"]
    assert "Times are in America/New_York." in printed["footer"]
    wait_for(page, f"document.querySelector('.chart').chart.width === {before}")


def test_what_fires_stands_above_the_figures(full: PageServer, page: Page) -> None:
    tell(full, Phase.FIRING, expected=0)
    page.goto(FRAUD)
    expect(page.locator(".alarms li")).to_contain_text("▲ Firing FraudWrong: all predictions, 1h, since")
    page.locator(".alarms a").last.click()
    expect(page.locator(".choices strong")).to_have_text("2026-11-23 07:00, 1h")
    page.goto("/?model=fraud&version=2")
    page.locator("h1").wait_for()
    expect(page.locator(".alarms")).to_have_count(0)


def with_hostile_names() -> list[Any]:
    """A model whose segments and targets are markup and emoji."""
    names = {"DE": HOSTILE, "FR": EMOJI}
    found = []
    for report in world():
        if report.model != "fraud" or report.model_version != "3":
            continue
        if isinstance(report, WindowReport) and report.segment.get("country") in names:
            report = msgspec.structs.replace(report, segment={"country": names[report.segment["country"]]})
        elif isinstance(report, ResourceReport):
            name = HOSTILE if report.segment["target"] == "fraud-7f" else EMOJI
            report = msgspec.structs.replace(report, segment={"target": name})
        found.append(msgspec.structs.replace(report, model=EMOJI))
    return found


@pytest.mark.parametrize("width", [320, 1440])
def test_names_of_segments_and_targets_are_shown_and_never_run(server: PageServer, page: Page, width: int) -> None:
    server.run(keep(server.reports, with_hostile_names()))
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/")
    page.get_by_role("link", name=EMOJI).click()
    expect(page.locator("figcaption a", has_text=HOSTILE)).to_be_visible()
    expect(figure(page, "Memory")).to_contain_text(HOSTILE)
    page.locator(".multiples canvas").last.wait_for()
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.hacked") is None


def test_news_on_a_model_move_nothing(full: PageServer, page: Page) -> None:
    page.add_init_script(COUNT_SHIFTS)
    page.goto(FRAUD)
    page.locator(".multiples canvas").last.wait_for()
    is_live(page)
    assert [] == page.evaluate("window.shifted")
    full.run(keep(full.reports, [revised(quality("fraud", "3")[-1], predictions=777_777)]))
    expect(page.locator("figure").nth(1)).to_contain_text("777,777")
    assert [] == page.evaluate("window.shifted")


def test_opened_table_of_a_segment_stays_open_and_shows_its_news(full: PageServer, page: Page) -> None:
    page.goto(FRAUD)
    is_live(page)
    chart = figure(page, "country FR")
    chart.locator("summary").click()
    expect(chart.locator("tbody tr")).to_have_count(24)
    slice_ = next(each for each in world() if each.segment == {"country": "FR"})
    assert isinstance(slice_, WindowReport)
    full.run(keep(full.reports, [revised(slice_, coverage=0.123)]))
    expect(chart.locator("tbody tr").last).to_contain_text("12.3%")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_opened_tables_and_a_span_are_accessible(full: PageServer, chromium: Browser, scheme: Any) -> None:
    tell(full, Phase.FIRING, expected=0)
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900}, base_url=full.address, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    try:
        page.goto(f"{FRAUD}&since=2026-11-23T18:00:00Z")
        page.locator(".multiples canvas").last.wait_for()
        for summary in page.locator("summary").all():
            summary.click()
        results = Axe().run(page)
        assert 0 == results.violations_count, results.generate_report()
        # What `deploy/guides/page.md` shows.
        page.set_viewport_size({"width": 1840, "height": 900})
        page.goto(FRAUD)
        page.locator(".multiples canvas").last.wait_for()
        page.screenshot(path=SCREENSHOTS / f"{scheme}-model.png", full_page=True)
    finally:
        context.close()
