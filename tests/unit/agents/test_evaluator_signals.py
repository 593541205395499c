"""Reports on the signals that predictions tell."""

from __future__ import annotations

import dataclasses
import math

import pytest

from schemas.signals_report import ComparedWith, SignalsReport
from schemas.times import format_time
from schemas.window_report import Metric
from streams.ledger.parts import Role
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel
from streams.signals.reference import SignalSpan, SignalTerms
from tests.support.evaluation import FRAUD, NOON_MS, EvaluatedWorld

EXPECTING = dataclasses.replace(FRAUD, signals=SignalTerms(("entropy", "margin")))


@pytest.fixture
async def world() -> EvaluatedWorld:
    return await EvaluatedWorld().start()


def newest(world: EvaluatedWorld, *, size_ms: int = 5 * MINUTE_MS, country: str | None = None) -> SignalsReport:
    segment = {"country": country} if country else {}
    found = [
        report
        for report in world.signals_reports()
        if report.window.size_seconds * 1000 == size_ms and report.segment == segment
    ]
    return max(found, key=lambda report: report.revision)


async def test_signals_of_a_window_are_reported_beside_its_quality(world: EvaluatedWorld) -> None:
    for value in (-1.0, 0.0, 1.0, 2.0):
        await world.predict("ok", at_ms=NOON_MS, country="DE", signals={"margin": value, "entropy": 0.5})
    await world.predict("ok", at_ms=NOON_MS, signals={"margin": math.nan})
    await world.predict("", at_ms=NOON_MS, failed=True)
    await world.evaluator().evaluate()
    report = newest(world)
    assert (5, 1, {"entropy": 4, "margin": 4}, 0) == (
        report.predictions,
        report.failed,
        report.values,
        report.left_out,
    )
    metrics = report.metrics
    assert (0.5, 4) == (metrics["signal.margin.mean"].value, metrics["signal.margin.mean"].n)
    assert pytest.approx(math.sqrt(5 / 3)) == metrics["signal.margin.std"].value
    assert (0.2, 5) == (metrics["signal.margin.undefined_share"].value, metrics["signal.margin.undefined_share"].n)
    assert 0.0 == metrics["signal.margin.p50"].value
    assert (-1.015625, -1.0) == metrics["signal.margin.p01"].bracket
    spread = metrics["signal.entropy.std"]
    assert (0.0, 0.0, 0.0) == (spread.value, spread.low, spread.high)
    assert {"entropy": 4, "margin": 4} == newest(world, country="DE").values


async def test_larger_windows_have_the_signals_of_all_that_they_are_made_of(world: EvaluatedWorld) -> None:
    for minutes, value in ((0, 1.0), (10, -1.0), (20, 0.25)):
        await world.predict("ok", at_ms=NOON_MS + minutes * MINUTE_MS, signals={"margin": value})
    await world.evaluator().evaluate()
    hour = newest(world, size_ms=HOUR_MS)
    assert {"margin": 3} == hour.values
    assert pytest.approx(0.25 / 3) == hour.metrics["signal.margin.mean"].value


async def test_model_that_tells_nothing_has_no_such_report(world: EvaluatedWorld) -> None:
    await world.predict("ok", at_ms=NOON_MS)
    await world.evaluator().evaluate()
    assert [] == world.signals_reports()


async def test_signal_that_is_expected_and_never_comes_is_told_as_undefined() -> None:
    world = await EvaluatedWorld((EXPECTING,)).start()
    await world.predict("ok", at_ms=NOON_MS, model=EXPECTING)
    await world.evaluator().evaluate()
    report = newest(world)
    assert {"entropy": 0, "margin": 0} == report.values
    assert 1.0 == report.metrics["signal.margin.undefined_share"].value
    assert "no_values" == report.undefined["signal.margin.p95"]


async def test_report_is_final_when_its_labels_are_and_says_the_same(world: EvaluatedWorld) -> None:
    request_id = await world.predict("ok", at_ms=NOON_MS, signals={"margin": 0.5})
    evaluator = world.evaluator()
    await evaluator.evaluate()
    before = newest(world)
    await world.label(request_id, "ok", at_ms=NOON_MS + MINUTE_MS)
    await evaluator.evaluate()
    assert [before] == [each for each in world.signals_reports() if each.window == before.window]
    await world.advance(NOON_MS + 2 * DAY_MS)
    await evaluator.evaluate()
    assert ("open", "final") == (before.status, newest(world).status)
    assert before.metrics == newest(world).metrics


async def test_windows_that_lost_predictions_say_so(world: EvaluatedWorld) -> None:
    await world.predict("ok", at_ms=NOON_MS, signals={"margin": 0.5})
    evaluator = world.evaluator()
    await evaluator.evaluate()
    await world.lose(Role.PREDICTIONS, lost=7, to_ms=NOON_MS + MINUTE_MS)
    await evaluator.evaluate()
    assert "incomplete" == newest(world).status


SPAN = SignalSpan(start_ms=NOON_MS, end_ms=NOON_MS + 10 * MINUTE_MS)
COMPARED = dataclasses.replace(FRAUD, signals=SignalTerms(reference=SPAN))
AFTER_MS = SPAN.end_ms + 5 * MINUTE_MS


async def compared_world(model: MonitoredModel = COMPARED) -> EvaluatedWorld:
    """A reference of two windows and two countries, and one window after it."""
    world = await EvaluatedWorld((model,)).start()
    for number in range(40):
        country, value = ("DE", 1.0) if number % 2 else ("FR", 2.0)
        at_ms = NOON_MS + number % 4 // 2 * 5 * MINUTE_MS
        await world.predict("ok", at_ms=at_ms, model=model, country=country, signals={"margin": value})
        await world.predict("ok", at_ms=AFTER_MS, model=model, country=country, signals={"margin": 2.0})
    return world


def psi(report: SignalsReport) -> Metric:
    return report.metrics["signal.margin.psi"]


async def test_signals_are_compared_with_a_span_once_it_is_final() -> None:
    world = await compared_world()
    evaluator = world.evaluator()
    await evaluator.evaluate()
    assert "no_reference" == newest(world).undefined["signal.margin.psi"]
    await world.advance(SPAN.end_ms + FRAUD.label_horizon_ms + 5 * MINUTE_MS)
    await evaluator.evaluate()
    await world.advance(AFTER_MS + 2 * FRAUD.label_horizon_ms)
    await evaluator.evaluate()
    final = {
        report.segment.get("country"): report
        for report in world.signals_reports()
        if report.window.start == format_time(AFTER_MS) and report.status == "final"
    }
    assert {None: 40, "DE": 20, "FR": 20} == {
        country: report.reference.values["margin"]
        for country, report in final.items()
        if isinstance(report.reference, ComparedWith)
    }
    assert psi(final["FR"]).value == 0.0
    german = psi(final["DE"])
    assert german.low is not None
    assert german.low > 1.0
    told = {country: report.reference for country, report in final.items()}
    assert {None: ("margin",), "DE": ("margin",), "FR": ()} == {
        country: each.moved for country, each in told.items() if isinstance(each, ComparedWith)
    }
    assert {None: (1.0078, 1.0078, 2.0155), "DE": (1.0078,) * 3, "FR": (2.0155,) * 3} == {
        country: each.quartiles["margin"] for country, each in told.items() if isinstance(each, ComparedWith)
    }


async def test_windows_of_the_span_itself_are_not_compared_whenever_they_are_read() -> None:
    world = await compared_world()
    await world.advance(AFTER_MS + 2 * FRAUD.label_horizon_ms)
    await world.evaluator().evaluate()
    within = [report for report in world.signals_reports() if report.window.start == format_time(NOON_MS)]
    assert within
    assert {"no_reference"} == {report.undefined["signal.margin.psi"] for report in within}


async def test_reference_is_kept_when_its_counts_have_gone_and_whoever_evaluates() -> None:
    world = await compared_world()
    await world.advance(AFTER_MS + 2 * FRAUD.label_horizon_ms)
    await world.evaluator().evaluate()
    for part in world.ledger.parts:
        for window in [window for window in part.cells if window[1] < SPAN.end_ms]:
            del part.cells[window], part.window_finality_ms[window]
    later_ms = AFTER_MS + 4 * HOUR_MS
    await world.predict("ok", at_ms=later_ms, model=COMPARED, signals={"margin": 2.0})
    await world.evaluator().evaluate()
    [report] = [each for each in world.signals_reports() if each.window.start == format_time(later_ms)][:1]
    assert psi(report).value is not None


async def test_version_is_compared_with_another_one_that_is_named() -> None:
    named = dataclasses.replace(COMPARED, signals=SignalTerms(reference=dataclasses.replace(SPAN, model_version="3")))
    world = await compared_world(named)
    await world.advance(AFTER_MS + 2 * FRAUD.label_horizon_ms)
    await world.evaluator().evaluate()
    report = newest(world, size_ms=5 * MINUTE_MS)
    assert isinstance(report.reference, ComparedWith)
    assert "3" == report.reference.model_version
    elsewhere = dataclasses.replace(
        COMPARED, signals=SignalTerms(reference=dataclasses.replace(SPAN, model_version="2"))
    )
    world = await compared_world(elsewhere)
    await world.advance(AFTER_MS + 2 * FRAUD.label_horizon_ms)
    await world.evaluator().evaluate()
    assert {"no_reference"} == {report.undefined["signal.margin.psi"] for report in world.signals_reports()}


async def test_span_whose_first_windows_may_be_gone_is_no_reference(caplog: pytest.LogCaptureFixture) -> None:
    world = await compared_world()
    evaluator = world.evaluator()
    await world.advance(SPAN.start_ms + FRAUD.base_window_ms + FRAUD.label_horizon_ms + world.keep_windows_ms + 1)
    await evaluator.evaluate()
    await evaluator.evaluate()
    assert {"no_reference"} == {report.undefined["signal.margin.psi"] for report in world.signals_reports()}
    assert 1 == sum("have no reference" in message for message in caplog.messages)
