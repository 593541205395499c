"""The limits that NannyML publishes for the car loan, as rules on its matrices: as they stand, and beyond doubt."""

from __future__ import annotations

import pytest

from schemas.codec import encode
from streams.alerting.assessment import assess, new_record
from streams.alerting.life_cycle import Phase
from streams.alerting.observation import JudgedReport, read_report
from streams.alerting.rules import AlertRule, Condition, Op
from streams.alerting.verdict import Surroundings
from streams.monitored_model import DAY_MS, MonitoredModel, Task
from streams.quality.confusion import Cell
from streams.reports import ReportKey, SliceCounts, window_report
from tests.support.car_loan import LIMITS, PUBLISHED

MODEL = MonitoredModel(
    name="car-loan", task=Task.BINARY, positive_class="1", report_windows_ms=(DAY_MS,), base_window_ms=DAY_MS
)
SHARES = ("accuracy", "precision", "recall", "specificity", "f1")


def reports() -> list[JudgedReport]:
    """One final report for each chunk."""
    made = []
    for chunk, published in enumerate(PUBLISHED):
        true_positive, true_negative, false_positive, false_negative = published.counts
        cells: dict[Cell, int] = {
            ("1", "1"): true_positive,
            ("0", "0"): true_negative,
            ("0", "1"): false_positive,
            ("1", "0"): false_negative,
        }
        key = ReportKey(
            model="car-loan", model_version="", segment={}, window_start_ms=chunk * DAY_MS, window_size_ms=DAY_MS
        )
        content = window_report(
            key, SliceCounts(cells), MODEL, watermark_ms=100 * DAY_MS, confidence_level=0.95, config_hash=""
        )
        made.append(read_report(encode(content)))
    return made


def firing_chunks(metric: str, confidence: float | None) -> list[int]:
    """Chunks after which some rule with the metric's limits fires."""
    found: set[int] = set()
    for op, limit in zip((Op.LESS, Op.MORE), LIMITS[metric], strict=True):
        rule = AlertRule(group="g", alert="A", when=Condition(metric=metric, op=op, value=limit, confidence=confidence))
        record = new_record(rule, reports()[0].series)
        for chunk, report in enumerate(reports()):
            record = assess(record, rule, report, Surroundings(), now_ms=chunk)
            if record.state.phase is Phase.FIRING:
                found.add(chunk)
    return sorted(found)


@pytest.mark.parametrize("metric", SHARES)
def test_limits_as_they_stand_are_passed_by_every_shifted_chunk_and_no_stable_one(metric: str) -> None:
    assert [5, 6, 7, 8, 9] == firing_chunks(metric, None)


@pytest.mark.parametrize("metric", SHARES)
def test_beyond_doubt_are_the_shifts_that_the_loans_of_a_chunk_can_prove(metric: str) -> None:
    # Recall rests on 2,500 loans of the positive class: a standard error is 0.6 points, and it stands 1.1 to 1.8 points
    # below its limit. The others stand three standard errors and more beyond theirs.
    expected = [6, 7] if metric == "recall" else [5, 6, 7, 8, 9]
    assert expected == firing_chunks(metric, 0.95)
