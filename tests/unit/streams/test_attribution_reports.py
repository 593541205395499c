"""From explanations to a report on attribution: both samples, what sets them apart, drift, status, news."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from scipy import stats

from schemas.attribution_report import AttributionReport
from schemas.explain_request import WhyAsked
from schemas.explanation import Explanation
from schemas.window_report import event_id
from streams.alerting.metrics import known_metrics, range_of, tasks_of
from streams.alerting.observation import observe, read_report
from streams.explanation.attribution_definitions import (
    ATTRIBUTION_DEFINITIONS,
    DRIFT,
    ERROR_DIFFERENCE,
    RANK_CORRELATION,
    AttributionReason,
)
from streams.explanation.attribution_progress import AttributionWindow, Progress, Settling, status_of, windows_of
from streams.explanation.attribution_reports import AttributionTerms, can_be_compared, report_on, revised
from streams.explanation.attribution_sample import Cell, row_of
from streams.explanation.terms import ExplainTerms
from streams.ledger.eras import Era
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel, Task
from streams.windows import WindowStatus
from tests.support.explanations import NOON_MS, explanation, explanations

EXPLAINED = ExplainTerms(predictor="served:fraud")
MODEL = MonitoredModel(name="fraud", explanation=EXPLAINED)
TERMS = AttributionTerms(topic="model-metrics", source="/latelabel/test", config_hash="c", confidence_level=0.95)
WINDOW = AttributionWindow(NOON_MS, 5 * MINUTE_MS)
USUAL = {"amount": 0.4, "country": 0.2, "age": -0.1}


def cell_of(found: Sequence[Explanation]) -> Cell:
    cell = Cell()
    for each in found:
        row = row_of(each, EXPLAINED)
        assert isinstance(row, tuple)
        cell.take(*row)
    return cell


def report(
    found: Sequence[Explanation],
    before: AttributionReport | None = None,
    *,
    status: WindowStatus = WindowStatus.PROVISIONAL,
) -> AttributionReport:
    return report_on(WINDOW, [cell_of(found)], before, model=MODEL, model_version="3", status=status, terms=TERMS)


def wrong(count: int, **means: float) -> list[Explanation]:
    return explanations(count, means=means, seed=count, reason=WhyAsked.WRONG, rate=0.5)


def base(count: int, *, seed: int = 1, **means: float) -> list[Explanation]:
    return explanations(count, means=means or USUAL, seed=seed, rate=0.02)


def test_features_of_both_samples_with_the_interval_of_their_difference() -> None:
    errors, all_of_them = wrong(30, amount=-0.3, country=0.2, device=0.3), base(50)
    made = report([*errors, *all_of_them, explanation("failed", reason=WhyAsked.WRONG, rate=0.5)])
    assert (30, 1, 60.0) == (made.wrong.explained, made.wrong.failed, made.wrong.stands_for)
    assert pytest.approx((50, 2500.0, 50.0, 0.8)) == (
        made.base.explained, made.base.stands_for, made.base.effective, made.base.stability,
    )  # fmt: skip
    assert ["amount", "country", "age", "device"] == [each.feature for each in made.features]
    amount = made.features[0]
    shares = [
        np.array([float((each.attributions or ())[0].weight) for each in sample]) for sample in (errors, all_of_them)
    ]
    interval = stats.ttest_ind(*shares, equal_var=False).confidence_interval()
    assert amount.wrong is not None
    assert amount.difference is not None
    assert pytest.approx(shares[0].mean(), abs=1e-6) == amount.wrong.mean
    assert pytest.approx((interval.low, interval.high), abs=1e-6) == (
        amount.difference.mean.low, amount.difference.mean.high,
    )  # fmt: skip
    assert 1.0 == amount.wrong.named
    device = made.features[-1]
    assert device.base is not None
    assert (0.0, 0.0) == (device.base.mean_absolute, device.base.named)
    apart = made.metrics[ERROR_DIFFERENCE]
    assert apart.low is not None
    assert apart.low > 0.2
    assert 30 == apart.n


def test_samples_that_are_too_small_are_told_and_not_compared() -> None:
    made = report([*wrong(19, amount=0.1), *base(19)])
    assert set(ATTRIBUTION_DEFINITIONS) == set(made.metrics) == set(made.undefined)
    assert {AttributionReason.TOO_FEW_EXPLANATIONS} == set(made.undefined.values())
    nothing = report([*wrong(1, amount=0.1), explanation("failed")])
    assert (None, None) == (nothing.features[0].base, nothing.features[0].difference)
    assert (None, 0, 1) == (nothing.base.effective, nothing.base.explained, nothing.base.failed)
    single = report([*wrong(1, amount=0.1), *base(1)])
    assert single.features[0].difference is not None
    assert None is single.features[0].difference.mean.low is single.features[0].base.standard_error  # type: ignore[union-attr]


def test_drift_is_told_against_an_earlier_window_and_not_where_there_is_none() -> None:
    before = report(base(60))
    same, other = report(base(60, seed=2), before), report(base(60, seed=3, age=0.4, device=0.2, amount=0.1), before)
    assert AttributionReason.NO_EARLIER_WINDOW == before.undefined[DRIFT]
    assert before.window == same.compared_with
    assert 0.0 == same.metrics[DRIFT].low
    assert (other.metrics[DRIFT].low or 0) > 0.3
    assert (other.metrics[RANK_CORRELATION].high or 1) < 0.9
    assert pytest.approx(1.0) == same.metrics[RANK_CORRELATION].value
    for each in (*same.metrics.values(), *other.metrics.values()):
        if each.value is not None:
            assert each.low <= each.value <= each.high  # type: ignore[operator]


def test_only_windows_whose_base_sample_is_in_can_be_compared() -> None:
    assert can_be_compared(report(base(20)))
    assert not can_be_compared(report(base(19)))
    assert not can_be_compared(report(base(20), status=WindowStatus.OPEN))


def test_the_same_explanations_in_another_order_make_no_news() -> None:
    found = [*wrong(30, amount=0.1), *base(300)]
    first = revised(report(found), None, watermark_ms=0, now_ms=NOON_MS, terms=TERMS)
    assert first is not None
    message, kept = first
    assert b'["attribution","fraud","3",{},300,"2026-11-23T12:00:00Z"]' == message.key
    value = msgspec.json.decode(message.value or b"")
    assert value["event_id"] == event_id(kept.key, value)
    assert None is revised(report(found[::-1]), kept, watermark_ms=0, now_ms=NOON_MS + 1, terms=TERMS)
    again = revised(report(found[1:]), kept, watermark_ms=0, now_ms=NOON_MS - 1, terms=TERMS)
    assert again is not None
    assert kept.revision + 1 == again[1].revision


def test_window_is_provisional_after_its_end_and_final_ten_minutes_after_its_hour_is_due() -> None:
    lateness = 10 * MINUTE_MS

    def status(reached_ms: int, settled_ms: int = 0, *later: Era) -> WindowStatus:
        eras = (Era(), *later)
        return status_of(WINDOW, Progress(reached_ms, settled_ms), model=MODEL, eras=eras, lateness_ms=lateness)

    end, due = NOON_MS + 5 * MINUTE_MS + lateness, NOON_MS + HOUR_MS + DAY_MS + lateness
    assert [WindowStatus.OPEN, WindowStatus.PROVISIONAL] == [status(end - 1), status(end)]
    assert [WindowStatus.PROVISIONAL, WindowStatus.FINAL] == [status(due, due - 1), status(due, due)]
    shorter = Era(label_horizon_ms=HOUR_MS, from_ms=NOON_MS)
    assert WindowStatus.PROVISIONAL is status(due, due - 1, dataclasses.replace(shorter, from_ms=NOON_MS + HOUR_MS))
    in_order = due - HOUR_MS
    assert [WindowStatus.PROVISIONAL, WindowStatus.FINAL] == [
        status(due, settled_ms, shorter) for settled_ms in (in_order - 1, in_order)
    ]
    assert [WINDOW, AttributionWindow(NOON_MS, HOUR_MS)] == windows_of(NOON_MS, MODEL)


def test_what_was_reached_is_settled_ten_minutes_later_and_memory_of_it_is_short() -> None:
    settling = Settling()
    settled = [settling.note(minute, now_ms=minute * MINUTE_MS).settled_ms for minute in range(100)]
    assert [0] * 10 == settled[:10]
    assert list(range(90)) == settled[10:]
    assert len(settling._points) <= 12


def test_rules_see_its_figures_and_wait_for_its_final_window() -> None:
    before = report(base(60))
    made = report(base(60, seed=3, age=0.4, device=0.2), before)
    news = revised(made, None, watermark_ms=0, now_ms=NOON_MS, terms=TERMS)
    assert news is not None
    seen = observe(read_report(news[1].value), DRIFT)
    assert seen is not None
    assert (60, False, made.metrics[DRIFT].low) == (seen.n, seen.is_final, seen.low)
    for name in ATTRIBUTION_DEFINITIONS:
        assert name in known_metrics()
        assert (-1.0 if name == RANK_CORRELATION else 0.0, 1.0) == range_of(name)
    assert Task.REGRESSION not in tasks_of(ERROR_DIFFERENCE)
