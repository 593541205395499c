"""What a worker picks from what it reads, in memory."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest

from agents.explain_sampler import ExplainSampler
from agents.good_records import GoodRecords
from schemas.explain_request import ExplainRequest, WhyAsked
from schemas.label import SentLabel
from schemas.prediction import SentPrediction
from streams.explanation.sampling import Purpose, is_drawn, mixes_of
from streams.explanation.terms import ExplainTerms
from streams.identity import request_keys
from streams.ledger.parts import Role, Source
from streams.monitored_model import MonitoredModel, Task

TOPICS = {Role.PREDICTIONS: "predictions", Role.LABELS: "labels"}
PREDICTIONS = Source(Role.PREDICTIONS, 3)


@dataclasses.dataclass
class FakeClock:
    seconds: float = 0.0

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic_seconds(self) -> float:
        return self.seconds


def model(rate: float = 600.0, **fields: Any) -> MonitoredModel:
    terms = ExplainTerms(predictor="m:f", rate_per_minute=rate)
    return MonitoredModel(**{"name": "cards", "explanation": terms, **fields})


def prediction(number: int, **fields: Any) -> SentPrediction:
    given = {"score": number % 100 / 100, "features": msgspec.Raw(b'{"a":1}'), "prediction": "ok"}
    return SentPrediction(**{"request_id": f"r{number}", "model": "cards", **given, **fields})


def look(sampler: ExplainSampler, records: list[Any], *, first: int = 0, source: Source = PREDICTIONS) -> None:
    classes = [getattr(record, "prediction", None) or getattr(record, "label", None) for record in records]
    found = GoodRecords(records, range(len(records)), classes, False, np.zeros(len(records), dtype=np.int64), [])
    keys = request_keys([record.request_id for record in records], [None] * len(records))
    sampler.look(source, found, np.arange(first, first + len(records)), keys)


def sampled(explained: MonitoredModel, *, batches: int = 60, size: int = 500, **fields: Any) -> ExplainSampler:
    clock = FakeClock()
    sampler = ExplainSampler([explained], TOPICS, clock)
    for batch in range(batches):
        start = batch * size
        look(sampler, [prediction(start + at, **fields) for at in range(size)], first=start)
        clock.seconds += 1
    return sampler


def by_reason(sampler: ExplainSampler) -> dict[WhyAsked, list[ExplainRequest]]:
    return {why: [each for each in sampler.requests if each.reason is why] for why in WhyAsked}


def test_a_minute_of_traffic_is_asked_about_as_often_as_the_budget_says() -> None:
    sampler = sampled(model())
    asked = by_reason(sampler)
    assert 30_000 == pytest.approx(sampler.seen, rel=0.03)
    assert 100 < len(asked[WhyAsked.BASE]) <= 151
    assert 80 < len(asked[WhyAsked.LOW_MARGIN]) <= 151
    request = asked[WhyAsked.BASE][-1]
    assert ("cards", "predictions", 3, "ok") == (request.model, request.topic, request.partition, request.predicted)
    assert f"r{request.offset}" == request.request_id
    assert 0.003 < request.rate < 0.01


def test_low_margins_are_the_lowest() -> None:
    binary = model(task=Task.BINARY, positive_class="ok")
    requests = by_reason(sampled(binary))[WhyAsked.LOW_MARGIN][20:]
    assert requests
    assert all(abs(2 * (each.offset % 100 / 100) - 1) < 0.25 for each in requests)


def test_each_predicted_class_is_sampled_apart() -> None:
    clock = FakeClock()
    sampler = ExplainSampler([model(rate=240)], TOPICS, clock)
    for batch in range(120):
        records = [prediction(batch * 500 + at, prediction="fraud" if at % 250 == 0 else "ok") for at in range(500)]
        look(sampler, records, first=batch * 500)
        clock.seconds += 1
    base = [each.predicted for each in by_reason(sampler)[WhyAsked.BASE]]
    assert 40 < base.count("ok")
    assert 20 < base.count("fraud"), "although it is 250 times rarer"


def test_what_was_seen_is_not_asked_about_again() -> None:
    sampler = sampled(model(), batches=20)
    seen, waiting = sampler.seen, len(sampler.requests)
    look(sampler, [prediction(at) for at in range(500)], first=9500)
    assert (seen, waiting) == (sampler.seen, len(sampler.requests))
    look(sampler, [prediction(at) for at in range(500)], first=9750)
    assert seen + 250 == pytest.approx(sampler.seen, abs=10)


def test_failed_and_featureless_predictions_and_other_models_are_not_asked_about() -> None:
    assert not sampled(model(), status="error").requests
    assert not sampled(model(), features=msgspec.Raw()).requests
    other = sampled(model(), model="another")
    assert (0, 0) == (other.seen, len(other.requests))
    assert ExplainSampler([MonitoredModel(name="cards")], TOPICS, FakeClock()).is_idle
    assert ExplainSampler([model(rate=0)], TOPICS, FakeClock()).is_idle


def test_regression_is_sampled_for_comparison_alone() -> None:
    sampler = sampled(model(task=Task.REGRESSION))
    assert {WhyAsked.BASE} == {each.reason for each in sampler.requests}
    assert not sampler.pointers


def test_pointers_and_lookups_are_drawn_by_the_same_rule() -> None:
    sampler = sampled(model())
    assert sampler.pointers
    sampler.label_rate = 1.0
    kept = {pointer.key for pointer in sampler.pointers}
    last = sampler.pointers[-1].request
    labels = [SentLabel(request_id=last.request_id, label="fraud", model=None), SentLabel(request_id="x", label="ok")]
    look(sampler, labels, source=Source(Role.LABELS, 0))
    assert [True, False] == [lookup.key in kept for lookup in sampler.lookups]
    nobody = sampled(model(task=Task.REGRESSION))
    look(nobody, labels, source=Source(Role.LABELS, 0))
    assert not nobody.lookups


def test_every_request_carries_the_rate_at_which_its_own_model_draws_it() -> None:
    models = [model(rate=600), model(rate=60, name="loans"), model(rate=600, name="prices", task=Task.REGRESSION)]
    clock = FakeClock()
    sampler = ExplainSampler(models, TOPICS, clock)
    names = ["cards", "loans", "prices", "prices", "cards", "loans", "prices"]
    for batch in range(120):
        records = [prediction(batch * 500 + at, model=names[at % 7]) for at in range(500)]
        look(sampler, records, first=batch * 500)
        clock.seconds += 1
    purposes = {
        WhyAsked.WRONG: Purpose.WRONG, WhyAsked.LOW_MARGIN: Purpose.LOW_MARGIN, WhyAsked.BASE: Purpose.BASE
    }  # fmt: skip
    asked = [*sampler.requests, *(pointer.request for pointer in sampler.pointers)]
    for each in asked:
        (mix,) = mixes_of(request_keys([each.request_id], [None]))
        assert is_drawn(int(mix), purposes[each.reason], each.rate)
    counts = collections.Counter((each.model, each.reason) for each in asked)
    assert 8 * counts["loans", WhyAsked.BASE] < counts["cards", WhyAsked.BASE] <= 302
    assert {WhyAsked.BASE} == {why for name, why in counts if name == "prices"}
    late = {each.model: each.rate for each in sampler.requests if each.offset > 50_000 and each.reason is WhyAsked.BASE}
    assert late["cards"] == pytest.approx(10 * late["loans"], rel=0.1)


def test_a_backlog_is_sampled_by_what_its_first_half_second_held() -> None:
    clock = FakeClock()
    sampler = ExplainSampler([model()], TOPICS, clock)
    for batch in range(7):
        look(sampler, [prediction(batch * 500 + at) for at in range(500)], first=batch * 500)
        clock.seconds += 0.1
    # 6,000 candidates a minute are wanted: 50 of the 3,000 predictions that were seen.
    assert pytest.approx(50 / 3000, rel=0.01) == sampler.pointers[-1].request.rate
    # Ten times as many come in the second that follows: 100 of 50,000 candidates, of which a batch counts some.
    for batch in range(7, 20):
        look(sampler, [prediction(batch * 5000 + at) for at in range(5000)], first=batch * 5000)
        clock.seconds += 0.1
    assert pytest.approx(1 / 500, rel=0.15) == sampler.pointers[-1].request.rate


@pytest.mark.parametrize("size", [20, 500], ids=["few", "many"])
def test_a_model_that_is_seldom_asked_is_sampled_wherever_its_prediction_stands_in_a_batch(size: int) -> None:
    clock = FakeClock()
    sampler = ExplainSampler([model(), model(name="rare")], TOPICS, clock)
    for batch in range(20):
        records = [prediction(batch * size + at) for at in range(size)]
        if batch == 19:
            records[-1] = prediction(batch * size + size - 1, model="rare")
        look(sampler, records, first=batch * size)
        clock.seconds += 1
    rare = [pointer.request for pointer in sampler.pointers if pointer.request.model == "rare"]
    assert [(20 * size - 1, 1.0)] == [(each.offset, each.rate) for each in rare]
    assert 1.0 == sampler.label_rate


def test_labels_look_at_the_rate_of_pointers_that_are_kept_not_of_models_that_nobody_asks() -> None:
    clock = FakeClock()
    sampler = ExplainSampler([model(), model(name="idle")], TOPICS, clock)
    for batch in range(20):
        look(sampler, [prediction(batch * 500 + at) for at in range(500)], first=batch * 500)
        clock.seconds += 1
    rates = [pointer.request.rate for pointer in sampler.pointers]
    assert max(rates) == sampler.label_rate < 0.25


def test_what_was_not_among_those_that_were_counted_is_not_taken_for_quiet() -> None:
    clock = FakeClock()
    sampler = ExplainSampler([model(), model(rate=30, name="rare")], TOPICS, clock)
    for batch in range(6):
        look(sampler, [prediction(batch * 500 + at) for at in range(500)], first=batch * 500)
        clock.seconds += 0.1
    # All of them rare, so that some are drawn whatever the rate.
    look(sampler, [prediction(3000 + at, model="rare") for at in range(500)], first=3000)
    (pointer, *_) = [each for each in sampler.pointers if each.request.model == "rare"]
    # 300 candidates a minute: 2.5 in half a second, of perhaps 15 that stood between those that were counted.
    assert pytest.approx(2.5 / 15, rel=0.01) == pointer.request.rate


def test_what_is_seen_counts_sampled_models_whatever_their_answers_are() -> None:
    sampler = ExplainSampler([model(task=Task.MULTILABEL)], TOPICS, FakeClock())
    answers: list[Any] = ["ok", ("ok", "late"), None]
    records = [prediction(at, prediction=answers[at % 3], model="cards" if at % 2 else "other") for at in range(60)]
    look(sampler, records)
    assert 30 == sampler.seen
    assert 30 == sampler.seen


def test_what_nobody_takes_is_bounded_and_counted() -> None:
    sampler = sampled(model(rate=60_000), batches=100)
    assert len(sampler.requests) <= 2000
    assert len(sampler.pointers) <= 2000
    assert sampler.dropped > 0


def test_share_of_a_worker_is_its_part_of_the_budget() -> None:
    clock = FakeClock()
    sampler = ExplainSampler([model()], TOPICS, clock)
    sampler.share = 0.1
    for batch in range(60):
        look(sampler, [prediction(batch * 500 + at) for at in range(500)], first=batch * 500)
        clock.seconds += 1
    assert len(by_reason(sampler)[WhyAsked.BASE]) <= 17
