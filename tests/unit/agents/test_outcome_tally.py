from __future__ import annotations

import logging

import pytest

from agents.explainer.outcome_tally import OutcomeTally
from schemas.explanation import ExplainFailure, Failure
from tests.support.explanations import NOON_MS, explanation
from tests.support.publishing import FakeClock

AWAY = Failure(ExplainFailure.UNREACHABLE, "cards:8080 does not answer; start it, or correct explain.predictor")
SLOW = Failure(ExplainFailure.TOO_SLOW, "took more than 30 s; raise explainer.timeout")


def test_failures_are_told_once_in_a_minute_for_each_model_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock(NOON_MS)
    tally = OutcomeTally(["cards", "loans"], clock)
    for _ in range(59):
        for failure, model in ((AWAY, "cards"), (AWAY, "loans"), (SLOW, "cards"), (None, "cards")):
            tally.add(explanation(model=model, failure=failure))
        clock.wall_ms += 1000
    assert [
        f"A prediction of {model} was not explained, {failure.reason}: {failure.message}"
        for failure, model in ((AWAY, "cards"), (AWAY, "loans"), (SLOW, "cards"))
    ] == [record.getMessage() for record in caplog.records]
    assert {logging.WARNING} == {record.levelno for record in caplog.records}
    clock.wall_ms += 1000
    caplog.clear()
    tally.add(explanation(model="cards", failure=SLOW))
    (record,) = caplog.records
    assert ("cards", "3", 58) == tuple(vars(record)[name] for name in ("model", "model_version", "repeated"))


def test_models_that_are_not_explained_are_counted_and_told_as_one(caplog: pytest.LogCaptureFixture) -> None:
    tally = OutcomeTally(["cards"], FakeClock(NOON_MS))
    unknown = Failure(ExplainFailure.NOT_CONFIGURED, "no explain.predictor")
    for number in range(100):
        tally.add(explanation(model=f"guess-{number}", failure=unknown))
    tally.add(explanation(model="cards", failure=None))
    (metric,) = tally.metrics()
    values = metric.values
    assert isinstance(values, dict)
    assert {
        (("model", "__other__"), ("outcome", "not_configured")): 100,
        (("model", "cards"), ("outcome", "explained")): 1,
    } == {labels: count for labels, count in values.items() if count}
    assert 2 * (1 + len(ExplainFailure)) == len(values)
    assert ["A prediction of guess-0 was not explained, not_configured: no explain.predictor"] == [
        record.getMessage() for record in caplog.records
    ]
