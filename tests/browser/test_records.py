"""Wrong predictions with what explains them, and dead letters, as people see them in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from deploy.servers import RedisServer
from schemas.explanation import ExplainFailure, Failure
from streams.errors import TemporaryFailure
from streams.explanation.kept import KeptExplanations, kept_explanation
from streams.monitored_model import HOUR_MS
from tests.browser.conftest import PageServer
from tests.support.fleet import NOON_MS
from tests.support.page_server import FakeLetters, kept_ones, some_records
from tests.support.page_world import HOSTILE, explained, keep, letter, world

WINDOW = "/?model=fraud&version=3&window=2026-11-24T10:00:00Z"
WINDOW_MS = NOON_MS + 22 * HOUR_MS
SYSTEM = "/?view=system"
VALUE = '{"request_id": "<script>window.hacked=1</script>"'


def explanations() -> Iterator[bytes]:
    """Of one window, newest last: two with segments, one hostile, one that failed, and some more."""
    for number in range(6):
        yield msgspec.json.encode(explained(f"more {number}", time_ms=WINDOW_MS + number))
    failure = Failure(ExplainFailure.MISSING_VALUES, "age_days has no value; explain.missing says what to do")
    yield msgspec.json.encode(explained("failed", time_ms=WINDOW_MS + 100, failure=failure))
    yield msgspec.json.encode(
        explained(HOSTILE, time_ms=WINDOW_MS + 200, label="<b>", predicted="<script>", weights={HOSTILE * 5: 0.4})
    )
    yield msgspec.json.encode(explained("in FR", time_ms=WINDOW_MS + 300, segment={"country": "FR"}))
    yield msgspec.json.encode(explained("in DE", time_ms=WINDOW_MS + 400, segment={"country": "DE"}))
    yield msgspec.json.encode(explained("elsewhere", time_ms=WINDOW_MS - 1))


@pytest.fixture
def letters() -> FakeLetters:
    return FakeLetters([letter(VALUE.encode(), message=f"not {HOSTILE}"), letter(b"\x00\xff", offset=6)])


@pytest.fixture
def kept() -> KeptExplanations:
    return kept_ones(explanations())


@pytest.fixture
def server(fresh_redis: RedisServer, letters: FakeLetters, kept: KeptExplanations) -> Iterator[PageServer]:
    """The page over a world of reports, explanations and dead letters."""
    server = PageServer(fresh_redis)
    server.records = some_records(kept, letters=letters, explained=["fraud"])
    server.run(keep(server.reports, world()))
    server.start()
    yield server
    server.close()


def ids(page: Page) -> list[str]:
    return page.locator(".record h3").all_inner_texts()


def test_window_shows_its_wrong_predictions_with_label_output_bars_and_inputs(page: Page) -> None:
    page.goto(WINDOW)
    expect(page.locator(".record")).to_have_count(5)
    assert ["in DE", "in FR", HOSTILE, "failed", "more 5"] == ids(page)
    first = page.locator(".record").first
    expect(first).to_contain_text("Label fraud, predicted ok (asked again: 0.810)")
    bars = first.locator("svg.weight rect")
    expect(bars).to_have_count(3)
    middle = 100
    left = [float(bars.nth(at).get_attribute("x") or "") for at in range(3)]
    width = [float(bars.nth(at).get_attribute("width") or "") for at in range(3)]
    assert [middle, middle] == left[:2]
    assert middle == pytest.approx(left[2] + width[2], abs=0.2)
    assert width[0] / width[1] == pytest.approx(0.31 / 0.09, rel=0.02)
    expect(first.locator("tr", has_text="30 < age_days <= 90")).to_contain_text("−0.140 ± 0.020")
    first.locator("summary").click()
    expect(first.locator("tr", has_text="amount").last).to_contain_text("12.5")
    expect(first.locator("tr", has_text="age_days").last).to_contain_text("missing taken as 41.5")
    expect(first).to_contain_text("predictions/7@81234")
    failed = page.locator(".record", has_text="failed")
    expect(failed).to_contain_text("Not explained: a feature has no value.")


def test_more_are_shown_when_asked_and_those_of_a_segment_alone(page: Page) -> None:
    page.goto(WINDOW)
    page.get_by_role("link", name="Show more").click()
    expect(page.locator(".record")).to_have_count(10)
    expect(page.get_by_role("link", name="Show more")).to_have_count(0)
    page.get_by_role("link", name="country FR").click()
    expect(page.locator(".record")).to_have_count(1)
    assert ["in FR"] == ids(page)


def test_what_was_opened_stays_open_when_news_come(kept: KeptExplanations, page: Page) -> None:
    page.goto(WINDOW)
    page.locator(".record summary").first.click()
    newest = kept_explanation(msgspec.json.encode(explained("newest", time_ms=WINDOW_MS + 900)))
    assert newest is not None
    kept.add(newest)
    expect(page.locator(".record h3").first).to_have_text("newest", timeout=30_000)
    expect(page.locator(".record", has_text="in DE").locator("tbody").last).to_be_visible()


def test_window_without_explanations_says_why(page: Page) -> None:
    page.goto("/?model=fraud&version=3&window=2026-11-24T08:00:00Z")
    expect(page.locator(".records")).to_contain_text("None of this window has been explained")
    page.goto("/?model=two+hundred+classes&window=2026-11-24T10:00:00Z")
    expect(page.locator(".records")).to_contain_text("This model is not explained; explain.predictor")


def test_names_in_records_are_shown_and_never_run(page: Page) -> None:
    page.goto(WINDOW)
    hostile = page.locator(".record", has_text=HOSTILE).first
    expect(hostile).to_contain_text("Label <b>, predicted <script>")
    page.goto(SYSTEM)
    page.get_by_role("link", name="predictions/3@40").first.click()
    expect(page.locator("pre.value")).to_have_text(VALUE)
    assert page.evaluate("window.hacked") is None


def test_dead_letters_are_listed_with_reasons_and_one_is_looked_at(page: Page) -> None:
    page.goto(SYSTEM)
    rows = page.get_by_role("region", name="Newest dead letters").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("malformed json")
    rows.first.get_by_role("link").click()
    expect(page.locator(".looked")).to_contain_text("malformed json: not")
    expect(page.locator(".looked")).to_contain_text("Key r1")
    assert "letter=2%405" in page.url
    rows.nth(1).get_by_role("link").click()
    expect(page.locator("pre.value")).to_have_text("00 ff")
    expect(page.locator(".looked")).to_contain_text("2 bytes, in hexadecimal")
    page.get_by_role("link", name="Close").click()
    expect(page.locator(".looked")).to_have_count(0)
    page.goto(f"{SYSTEM}&letter=2%409")
    expect(page.locator(".looked")).to_contain_text("no dead letter lies at dead-letters/2@9")


def test_kafka_that_does_not_answer_leaves_the_rest_of_the_view(letters: FakeLetters, page: Page) -> None:
    letters.failure = TemporaryFailure("Kafka at nowhere does not answer")
    page.goto(SYSTEM)
    expect(page.locator("main")).to_contain_text("Not shown: Kafka at nowhere does not answer")
    expect(page.locator("main")).to_contain_text("This worker reads.")
    expect(page.locator("#trouble")).to_be_hidden()


@pytest.mark.parametrize("width", [320, 1440])
def test_records_overflow_at_no_width(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for address in (f"{WINDOW}&records=100", f"{SYSTEM}&letter=2%405"):
        page.goto(address)
        page.locator("h3").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_records_are_accessible(server: PageServer, chromium: Browser, scheme: Any) -> None:
    context = chromium.new_context(base_url=server.address, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    try:
        for view in (WINDOW, f"{SYSTEM}&letter=2%405"):
            page.goto(view)
            page.locator("h3").first.wait_for()
            for summary in page.locator("summary").all():
                summary.click()
            results = Axe().run(page)
            assert 0 == results.violations_count, f"{view}\n{results.generate_report()}"
    finally:
        context.close()
