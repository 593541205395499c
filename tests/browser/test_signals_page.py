"""Signals of a model in a real Chromium: under the same time as its figures, moved ones marked, a table behind each."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import msgspec
from playwright.sync_api import Page, expect

from schemas.signals_report import ComparedWith, SignalsReport
from tests.browser.conftest import PageServer
from tests.browser.test_models_page import COUNT_SHIFTS, FRAUD, figure, full, has_windows
from tests.browser.test_page import is_live
from tests.support.page_world import HOSTILE, keep, revised, world
from tests.support.signal_reports import MOVES_AT

__all__ = ["full"]

SERIES = "[...document.querySelectorAll('.chart')].map(({ chart }) => chart.data).find((data) => data.length === 8)"


def signals() -> list[SignalsReport]:
    return [each for each in world() if isinstance(each, SignalsReport)]


def drawn(page: Page) -> list[list[Any]]:
    """Columns of the first chart of a signal: times, two bands, median, what has moved, reference."""
    figure(page, "margin").locator("canvas").wait_for()
    found: list[list[Any]] = page.evaluate(SERIES)
    return found


def test_signal_is_drawn_as_the_reports_say_with_its_reference_and_what_has_moved(full: PageServer, page: Page) -> None:
    page.goto(FRAUD)
    _, p05, p95, p25, p75, median, moved, reference = drawn(page)
    metrics = [each.metrics for each in signals()]
    for name, column in (("p05", p05), ("p95", p95), ("p25", p25), ("p75", p75), ("p50", median)):
        assert [each[f"signal.margin.{name}"].value for each in metrics] == column
    assert [None] * MOVES_AT + median[MOVES_AT:] == moved
    compared = signals()[0].reference
    assert isinstance(compared, ComparedWith)
    assert [compared.quartiles["margin"][1]] * 24 == reference
    chart = figure(page, "margin")
    expect(chart.locator(".reading")).to_contain_text("moved from its reference")
    expect(chart.locator("figcaption")).to_contain_text("moved from it")
    expect(figure(page, "vote_entropy").locator(".reading")).to_contain_text("56.0% undefined")


def test_table_behind_a_signal_has_its_windows_and_leads_to_them(full: PageServer, page: Page) -> None:
    page.goto(FRAUD)
    chart = figure(page, "margin")
    chart.locator("summary").focus()
    page.keyboard.press("Enter")
    rows = chart.locator("tbody tr")
    expect(rows).to_have_count(24)
    expect(rows.first).to_contain_text("◆ moved")
    expect(rows.last).to_contain_text("alike")
    with page.expect_download() as download:
        chart.get_by_role("button", name="CSV").click()
    taken = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert ["true"] * 8 == [each["moved"] for each in taken if float(each["psi_low"]) > 0.25]
    rows.first.get_by_role("link").click()
    expect(page.locator("h2", has_text="Signals")).to_be_visible()


def test_signals_follow_the_span_and_come_as_json(full: PageServer, page: Page) -> None:
    page.goto(f"{FRAUD}&since=2026-11-23T18:00:00Z&until=2026-11-23T21:00:00Z")
    assert 3 == len(drawn(page)[0])
    href = str(page.locator("[data-key='json of signals']").get_attribute("href"))
    assert [3, 3] == [len(each["points"]) for each in page.request.get(href).json()["series"]]


def test_share_of_predictions_that_tell_no_signal_is_drawn_where_there_is_any(full: PageServer, page: Page) -> None:
    page.goto(FRAUD)
    chart = figure(page, "Undefined")
    chart.locator("canvas").wait_for()
    expect(chart.locator(".reading")).to_contain_text("vote_entropy 56.0%")
    expect(chart.locator("figcaption")).not_to_contain_text("margin")


def test_news_on_signals_move_nothing(full: PageServer, page: Page) -> None:
    page.add_init_script(COUNT_SHIFTS)
    page.goto(FRAUD)
    has_windows(page, 24)
    drawn(page)
    is_live(page)
    newest = signals()[-1]
    full.run(keep(full.reports, [revised(newest, values={**newest.values, "margin": 123_456})]))
    expect(figure(page, "margin").locator(".reading")).to_contain_text("of 123,456")
    assert [] == page.evaluate("window.shifted")


def test_name_of_a_signal_is_shown_and_never_run(server: PageServer, page: Page) -> None:
    def renamed(report: SignalsReport) -> SignalsReport:
        compared = report.reference
        assert isinstance(compared, ComparedWith)
        return msgspec.structs.replace(
            report,
            values={HOSTILE: 500},
            metrics={name.replace("margin", HOSTILE): each for name, each in report.metrics.items()},
            reference=msgspec.structs.replace(compared, quartiles={HOSTILE: (0.0, 1.0, 2.0)}),
        )

    rest = (each for each in world() if not isinstance(each, SignalsReport))
    server.run(keep(server.reports, [*rest, *map(renamed, signals())]))
    page.set_viewport_size({"width": 320, "height": 900})
    page.goto(FRAUD)
    expect(page.locator("figcaption", has_text=HOSTILE)).to_be_visible()
    page.locator("figure", has_text=HOSTILE).locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.evaluate("window.hacked") is None
