"""What people see, in a real Chromium over a real Redis."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from schemas.stability_report import StabilityReport
from schemas.window_report import Metric, WindowReport
from streams.alerting.fold import Judged
from streams.alerting.life_cycle import AlertState, Notice, Phase, Reason, Transition
from streams.alerting.outcome import Grounds, Outcome
from streams.alerting.record import MONITOR, AlertRecord
from streams.alerting.rules import Series
from streams.alerting.watchdog import WATCHDOG, watchdog
from streams.errors import TemporaryFailure
from streams.identity import model_version_hash
from streams.monitored_model import HOUR_MS
from tests.browser.conftest import PageServer
from tests.support.fleet import NOON_MS
from tests.support.page_world import HOSTILE, NOW_MS, keep, many_versions, quality, revised, world

SCREENSHOTS = Path(".cache") / "screenshots"
FRAUD = "/?model=fraud&version=3"
WINDOW = f"{FRAUD}&window=2026-11-24T10:00:00Z"


@pytest.fixture
def full(server: PageServer) -> PageServer:
    """The page over a world of reports."""
    server.run(keep(server.reports, world()))
    return server


def newest(model: str, version: str) -> WindowReport:
    return quality(model, version)[-1]


def is_live(page: Page) -> None:
    expect(page.locator("#connection")).to_have_text("live")


def names(page: Page) -> list[str]:
    return page.locator("table.fleet tbody th a").all_inner_texts()


def test_fleet_is_in_order_and_says_its_states_in_words_and_shapes(full: PageServer, page: Page) -> None:
    page.goto("/")
    expect(page.locator("h1")).to_have_text("Models")
    assert ["lost input", "price", "churn"] == names(page)[:3]
    states = page.locator("td.state").all_inner_texts()
    assert ["◆ Warning", "○ No data", "◔ Labels pending", *["● OK"] * 4] == [state.strip() for state in states]


def test_way_from_fleet_to_model_to_window_and_back_is_in_the_address(full: PageServer, page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="fraud").first.click()
    expect(page.locator("h1")).to_contain_text("fraud")
    expect(page.locator(".charts figure")).to_have_count(11)
    page.get_by_label("Metric").select_option("recall")
    expect(page.locator("figcaption").first).to_contain_text("recall by window")
    assert "metric=recall" in page.url
    page.locator(".lead a").click()
    expect(page.get_by_role("link", name="Later")).to_be_visible()
    page.go_back()
    expect(page.locator("figcaption").first).to_contain_text("recall by window")
    page.reload()
    expect(page.locator("figcaption").first).to_contain_text("recall by window")
    page.go_back()
    page.go_back()
    expect(page.locator("h1")).to_have_text("Models")


def test_figures_on_the_page_are_those_of_the_report(full: PageServer, page: Page) -> None:
    judged = next(each for each in quality("fraud", "3") if each.window.start == "2026-11-24T10:00:00Z")
    accuracy = judged.metrics["accuracy"]
    page.goto(WINDOW)
    row = page.locator("tr", has=page.locator("th", has_text=re.compile("^accuracy$")))
    expect(row).to_contain_text(f"{accuracy.value:.3f}")
    expect(row).to_contain_text(f"[{accuracy.low:.3f}, {accuracy.high:.3f}]")
    assert judged.confusion is not None
    counts = page.locator("table.matrix td").all_inner_texts()
    assert [str(count) for row in judged.confusion.counts for count in row] == [text.split()[0] for text in counts]


def test_segments_of_a_window_stand_worst_first_also_where_more_is_worse(full: PageServer, page: Page) -> None:
    losses = {"DE": 0.2, "FR": 0.9, "__missing__": 0.5}
    for report in world():
        country = report.segment.get("country", "")
        if isinstance(report, WindowReport) and country in losses and report.window.start == "2026-11-24T10:00:00Z":
            loss = losses[country]
            figure = Metric(loss, loss - 0.1, loss + 0.1, 200)
            full.run(keep(full.reports, [revised(report, metrics={**report.metrics, "log_loss": figure})]))
    for metric, order in (("log_loss", ["FR", "__missing__", "DE"]), ("accuracy", ["__missing__", "FR", "DE"])):
        page.goto(f"{WINDOW}&metric={metric}")
        table = page.get_by_role("region", name=f"{metric} by segment, worst first")
        expect(table.locator("tbody th")).to_have_text([f"country {country}" for country in order])


def test_revision_of_a_provisional_window_shows_by_itself(full: PageServer, page: Page) -> None:
    page.goto("/")
    is_live(page)
    report = newest("lost input", "3")
    full.run(keep(full.reports, [revised(report, predictions=123_456)]))
    expect(page.locator("tr", has_text="lost input")).to_contain_text("123,456")


def test_provisional_windows_look_provisional(full: PageServer, page: Page) -> None:
    page.goto(FRAUD)
    page.locator("figure").first.locator("summary").click()
    expect(page.locator("figure").first).to_contain_text("hollow ones may still move")
    expect(page.locator("figure").first.locator("tbody tr").first).to_contain_text("labels due")


def test_names_are_shown_and_never_run(full: PageServer, page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.locator("h1")).to_contain_text(HOSTILE)
    expect(page.locator("table.matrix")).to_contain_text("<script>")
    page.locator(".lead a").click()
    expect(page.locator("h1")).to_contain_text(HOSTILE)
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("width", [320, 1440, 3840])
def test_nothing_overflows_at_any_width(full: PageServer, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for address in ("/", FRAUD, "/?model=two+hundred+classes", WINDOW, "/?view=system"):
        page.goto(address)
        page.locator("h1").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address


def test_model_shows_what_its_service_took_beside_its_quality(full: PageServer, page: Page) -> None:
    page.goto(FRAUD)
    charts = page.locator(".charts figure")
    expect(charts).to_have_count(11)
    titles = page.locator(".charts figcaption > span:first-child").all_inner_texts()
    assert ["Latency, ms", "Error and time-out rate", "Memory", "CPU, cores", "Restarts"] == titles[2:7]
    expect(charts.nth(2)).to_contain_text("p50 35.000, p95 109, p99 297")
    expect(charts.nth(4)).to_contain_text("fraud-7f 725 MiB, fraud-8a 238 MiB")
    expect(charts.nth(6)).to_contain_text("In this span: 2 restarts, 0 killed for want of memory")
    page.goto("/")
    expect(page.locator("tr", has_text="version 3").filter(has_text="fraud")).to_contain_text("106 ms")


def test_model_of_two_hundred_classes_shows_its_commonest_confusions(full: PageServer, page: Page) -> None:
    page.goto("/?model=two+hundred+classes")
    wrong = sum(at * 7 % 200 != at for at in range(0, 200, 9))
    rows = page.get_by_role("region", name="Commonest confusions").locator("tbody tr")
    expect(rows).to_have_count(wrong)


def test_empty_installation_tells_how_to_publish(server: PageServer, page: Page) -> None:
    page.goto("/")
    expect(page.locator("h1")).to_have_text("No model has a report yet")
    expect(page.locator("main")).to_contain_text('{"request_id":"r1","label":"ok"}')
    is_live(page)
    server.run(keep(server.reports, world()))
    expect(page.locator("h1")).to_have_text("Models")


def test_unknown_model_is_explained(full: PageServer, page: Page) -> None:
    page.goto("/?model=frud")
    expect(page.locator("main")).to_contain_text("there are")
    expect(page.locator("main")).to_contain_text("'fraud'")


def test_page_says_that_its_worker_is_gone_and_goes_on_when_it_is_back(full: PageServer, page: Page) -> None:
    page.goto("/")
    is_live(page)
    full.stop()
    expect(page.locator("#trouble")).to_be_visible(timeout=15_000)
    expect(page.locator("#trouble")).to_contain_text("does not answer")
    expect(page.locator("#connection")).to_have_text("not live")
    assert "lost input" in names(page)
    full.start()
    expect(page.locator("#trouble")).to_be_hidden(timeout=30_000)
    is_live(page)


def test_page_stays_greyed_while_redis_is_away(full: PageServer, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.goto("/")
    is_live(page)

    async def away() -> int:
        raise TemporaryFailure("Redis at nowhere does not answer.")

    with monkeypatch.context() as broken:
        broken.setattr(full.reports, "changes", away)
        page.get_by_role("link", name="System").click()
        expect(page.locator("#trouble")).to_contain_text("Redis at nowhere does not answer. What is shown is as of")
        assert "stale" in (page.locator("body").get_attribute("class") or "")
    expect(page.locator("#trouble")).to_be_hidden(timeout=30_000)


def alert(phase: Phase) -> AlertRecord:
    window = Judged(
        start_ms=NOON_MS,
        end_ms=NOON_MS + HOUR_MS,
        outcome=Outcome.BREACH,
        grounds=Grounds.FINAL,
        is_final=True,
        value=0.62,
        n=355,
        threshold=0.9,
        low=0.57,
        high=0.67,
        coverage=0.97,
    )
    notice = Notice(starts_ms=NOW_MS, reason=Reason.BREACH, since_ms=NOON_MS, until_ms=NOON_MS + HOUR_MS, window=window)
    state = AlertState(
        phase=phase,
        reason=Reason.BREACH if phase is Phase.FIRING else Reason.REVISED,
        phase_ms=NOW_MS,
        newest=window,
        notice=notice,
        history=(Transition(NOW_MS, phase, Reason.BREACH, window),),
    )
    return AlertRecord(
        rule="r1",
        group="quality",
        alert="FraudWrong",
        labels={"alertname": "FraudWrong", "model": "fraud", "model_version": "3", "severity": "page"},
        series=Series("fraud", "3", (), HOUR_MS),
        state=state,
    )


def tell(server: PageServer, phase: Phase, *, expected: int) -> None:
    version = model_version_hash("fraud", "3")
    assert server.run(server.alerts.save(version, {"alert": alert(phase)}, expected=expected, judged={}))


def test_alert_shows_when_it_fires_and_when_it_resolves(full: PageServer, page: Page) -> None:
    page.goto("/?view=alerts")
    expect(page.locator("main")).to_contain_text("No rule looks at anything yet")
    is_live(page)
    tell(full, Phase.FIRING, expected=0)
    expect(page.locator("li h2").first).to_contain_text("▲ Firing FraudWrong")
    expect(page.locator("li").first).to_contain_text("0.620 [0.570, 0.670] of 355 against 0.900, 97.0% labelled")
    page.goto("/")
    expect(page.locator("td.state").first).to_contain_text("▲ Firing")
    assert "fraud" == names(page)[0]
    page.goto("/?view=alerts")
    is_live(page)
    tell(full, Phase.RESOLVED, expected=1)
    expect(page.locator("li h2").first).to_contain_text("● Resolved FraudWrong")
    expect(page.locator("li").first).to_contain_text("revised")


def test_watchdog_that_fires_looks_like_no_trouble(full: PageServer, page: Page) -> None:
    assert full.run(full.alerts.save(MONITOR, {WATCHDOG: watchdog(NOW_MS)}, expected=0, judged={}))
    page.goto("/?view=alerts")
    expect(page.locator("main")).to_contain_text("Watchdog fires, as it always does while the monitor works")
    expect(page.locator("main")).to_contain_text("No rule looks at anything yet")
    expect(page.locator("main li")).to_have_count(0)
    tell(full, Phase.FIRING, expected=0)
    expect(page.locator("main li h2")).to_have_text(re.compile("▲ Firing FraudWrong"))


def test_model_without_latencies_and_errors_shows_neither_empty_axes_nor_units_of_nothing(
    full: PageServer, page: Page
) -> None:
    silent = [
        revised(
            report,
            metrics={name: figure for name, figure in report.metrics.items() if "latency" not in name}
            | {"latency_p95_ms": Metric(None, None, None, 0), "error_rate": Metric(0.0, 0.0, 0.01, 500)}
            | {"timeout_rate": Metric(0.0, 0.0, 0.01, 500)},
            undefined={"latency_p95_ms": "no_latencies"},
        )
        for report in world()
        if isinstance(report, StabilityReport)
    ]
    full.run(keep(full.reports, silent))
    page.goto("/")
    row = page.locator("tr", has=page.locator("th", has_text=re.compile("^fraud")), has_text="version 3")
    expect(row).to_contain_text("0%")
    expect(row).not_to_contain_text("ms")
    page.goto(FRAUD)
    expect(page.locator(".charts").first).to_contain_text("No prediction of this span has a latency_ms.")
    expect(page.locator("figcaption", has_text="Latency, ms")).to_have_count(0)
    expect(page.locator("figcaption", has_text="Error and time-out rate")).to_have_count(1)


@pytest.mark.parametrize("width", [1280, 1440])
def test_tables_of_a_model_are_not_cut_off_on_a_laptop(full: PageServer, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for address in (FRAUD, WINDOW):
        page.goto(address)
        page.locator(".columns table.matrix").wait_for()
        cut = "regions => regions.filter(each => each.scrollWidth > each.clientWidth).map(each => each.ariaLabel)"
        assert [] == page.locator(".columns .scroll").evaluate_all(cut), address


def test_times_are_the_readers_or_utc(full: PageServer, page: Page) -> None:
    page.goto(WINDOW)
    expect(page.locator(".choices strong")).to_have_text("2026-11-24 05:00, 1h")
    page.get_by_role("button", name="UTC").click()
    expect(page.locator(".choices strong")).to_have_text("2026-11-24 10:00, 1h")
    page.reload()
    expect(page.locator(".choices strong")).to_have_text("2026-11-24 10:00, 1h")


def test_span_is_chosen_by_dragging_and_shared_by_address(full: PageServer, page: Page) -> None:
    page.goto(FRAUD)
    over = page.locator(".chart .u-over").first
    over.wait_for()
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40, steps=5)
    page.mouse.up()
    expect(page.get_by_role("link", name="Newest windows")).to_be_visible()
    assert "since=" in page.url
    page.locator("figure").first.locator("summary").click()
    assert 5 <= page.locator("figure").first.locator("tbody tr").count() <= 7
    page.get_by_role("link", name="Newest windows").click()
    expect(page.get_by_role("link", name="Newest windows")).to_be_hidden()


def test_what_is_seen_can_be_taken_along(full: PageServer, page: Page) -> None:
    page.goto(FRAUD)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert "window_start,status,predictions" in lines[0]
    assert 25 == len(lines)
    assert lines[1].startswith("2026-11-23T12:00:00Z,provisional,478,0,478,0,0.96")


def test_keyboard_alone_reaches_a_models_window(full: PageServer, page: Page) -> None:
    page.goto("/")
    page.locator("table.fleet").wait_for()
    _tab_to(page, "document.activeElement.textContent === 'lost input'")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("lost input")
    _tab_to(page, "document.activeElement.dataset.key === 'judged'")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Earlier")).to_be_visible()


def _tab_to(page: Page, condition: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(condition):
            return
    raise AssertionError(f"the keyboard does not reach: {condition}")


def test_focus_and_opened_tables_survive_news(full: PageServer, page: Page) -> None:
    page.goto(FRAUD)
    is_live(page)
    figure = page.locator("figure").first
    figure.locator("summary").click()
    expect(figure.locator("tbody tr").first).to_be_visible()
    full.run(keep(full.reports, [revised(newest("fraud", "3"), predictions=777_777)]))
    expect(page.locator("figure").nth(1)).to_contain_text("777,777")
    expect(figure.locator("tbody tr").first).to_be_visible()
    assert "metric summary" == page.evaluate("document.activeElement.dataset.key")


VIEWS = ("/", FRAUD, WINDOW, "/?model=two+hundred+classes", "/?view=alerts", "/?view=system")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_accessible(full: PageServer, chromium: Browser, scheme: Any) -> None:
    tell(full, Phase.FIRING, expected=0)
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900}, base_url=full.address, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    try:
        for at, view in enumerate(VIEWS):
            page.goto(view)
            page.locator("h1").wait_for()
            if view == FRAUD:
                page.locator(".chart canvas").first.wait_for()
            results = Axe().run(page)
            assert 0 == results.violations_count, f"{view}\n{results.generate_report()}"
            page.screenshot(path=SCREENSHOTS / f"{scheme}-{at}.png", full_page=True)
    finally:
        context.close()


def test_fleet_of_three_hundred_versions_is_small_on_the_wire_and_does_not_shift(
    server: PageServer, page: Page
) -> None:
    server.run(keep(server.reports, many_versions(models=100, versions=3)))
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    received: list[float] = []
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    page.add_init_script(
        "window.shifted = 0;"
        "new PerformanceObserver((list) => { for (const entry of list.getEntries()) window.shifted += entry.value; })"
        ".observe({ type: 'layout-shift', buffered: true });"
    )
    page.goto("/")
    expect(page.locator("table.fleet tbody tr")).to_have_count(300)
    print(f"    {sum(received) / 1000:.0f} kB over the wire for 300 model versions")
    assert sum(received) <= 150_000
    is_live(page)
    page.evaluate("window.shifted = 0")
    report = next(many_versions(models=1, versions=1))
    server.run(keep(server.reports, [revised(report, failed=4)]))
    expect(page.locator("td", has_text="4 failed")).to_be_visible(timeout=20_000)
    assert 0 == page.evaluate("window.shifted")


def test_system_shows_partitions_fates_and_metrics(full: PageServer, page: Page) -> None:
    page.goto("/?view=system")
    expect(page.locator("main")).to_contain_text("This worker reads.")
    expect(page.locator("tr", has_text="predictions").first).to_contain_text("20")
    expect(page.locator("main")).to_contain_text("latelabel_outage")
