"""Reports on stability, beside those on quality: same windows, same rounds, and news only when they have any."""

from __future__ import annotations

import numpy as np
import pytest

from streams.ledger.parts import Role
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS
from streams.stability.latency_words import TIMED_OUT, latency_words
from tests.support.evaluation import FRAUD, NOON_MS, EvaluatedWorld

FIVE_MINUTES_MS = 5 * MINUTE_MS


def took(latency_ms: float) -> bytes:
    return latency_words(np.array([latency_ms]), np.zeros(1, dtype=np.bool_)).tobytes()


@pytest.fixture
async def world() -> EvaluatedWorld:
    return await EvaluatedWorld().start()


async def test_latencies_and_failures_of_a_window_are_reported_beside_its_quality(world: EvaluatedWorld) -> None:
    for latency_ms in (10.0, 20.0, 30.0):
        await world.predict("ok", at_ms=NOON_MS, country="DE", latency=took(latency_ms))
    await world.predict("ok", at_ms=NOON_MS)
    await world.predict("", at_ms=NOON_MS, failed=True, latency=TIMED_OUT)
    await world.predict("", at_ms=NOON_MS, failed=True)
    await world.advance(NOON_MS + FIVE_MINUTES_MS)
    await world.evaluator().evaluate()
    quality, stability = world.reports()[0], world.stability_reports()[0]
    for shared in ("model", "model_version", "segment", "window", "status", "predictions", "failed"):
        assert getattr(quality, shared) == getattr(stability, shared)
    assert (4, 2, 1, 3) == (stability.predictions, stability.failed, stability.timed_out, stability.with_latency)
    metrics = stability.metrics
    assert metrics["latency_p50_ms"].value == pytest.approx(20.0, rel=0.01)
    assert metrics["latency_mean_ms"].value == pytest.approx(20.0)
    assert metrics["latency_max_ms"].value == pytest.approx(30.0, rel=0.01)
    assert (1 / 6, 6) == (metrics["error_rate"].value, metrics["error_rate"].n)
    assert (1 / 6, 6) == (metrics["timeout_rate"].value, metrics["timeout_rate"].n)
    assert (6 / 300, 6) == (metrics["throughput_per_second"].value, metrics["throughput_per_second"].n)
    assert {} == stability.undefined


async def test_windows_of_an_hour_and_a_day_add_up_those_in_them_and_slices_have_their_own(
    world: EvaluatedWorld,
) -> None:
    await world.predict("ok", at_ms=NOON_MS, country="DE", latency=took(10.0))
    await world.predict("ok", at_ms=NOON_MS + 10 * MINUTE_MS, country="FR", latency=took(40.0))
    await world.advance(NOON_MS + DAY_MS)
    await world.evaluator().evaluate()
    means = {
        (report.window.size_seconds, report.segment.get("country")): report.metrics["latency_mean_ms"].value
        for report in world.stability_reports()
        if report.window.size_seconds > 300
    }
    of_slices = ((None, 25), ("DE", 10), ("FR", 40))
    assert {(size, country): mean for size in (3600, 86400) for country, mean in of_slices} == means


async def test_a_later_prediction_moves_the_sums_of_every_size_that_were_kept(world: EvaluatedWorld) -> None:
    evaluator = world.evaluator()
    for latency_ms in (10.0, 20.0, 60.0):
        await world.predict("ok", at_ms=NOON_MS, latency=took(latency_ms))
        world.clock.wall_ms += HOUR_MS
        await evaluator.evaluate()
    newest = world.stability_reports()[-3:]
    assert {300, 3600, 86400} == {report.window.size_seconds for report in newest}
    assert [pytest.approx(30.0)] * 3 == [report.metrics["latency_mean_ms"].value for report in newest]
    assert [3] * 3 == [report.with_latency for report in newest]


async def test_labels_are_no_news_about_stability(world: EvaluatedWorld) -> None:
    evaluator = world.evaluator()
    request_id = await world.predict("ok", at_ms=NOON_MS, latency=took(10.0))
    await evaluator.evaluate()
    published = len(world.stability_reports())
    await world.label(request_id, "fraud", at_ms=NOON_MS + MINUTE_MS)
    world.clock.wall_ms += HOUR_MS
    await evaluator.evaluate()
    assert published == len(world.stability_reports())
    assert len(world.reports()) > published


async def test_throughput_is_undefined_while_its_window_is_open(world: EvaluatedWorld) -> None:
    await world.predict("ok", at_ms=NOON_MS)
    await world.evaluator().evaluate()
    report = world.stability_reports()[0]
    assert {"no_latencies", "window_open"} == set(report.undefined.values())
    assert ("window_open", None) == (
        report.undefined["throughput_per_second"],
        report.metrics["throughput_per_second"].value,
    )
    assert (0.0, 1) == (report.metrics["error_rate"].value, report.metrics["error_rate"].n)


@pytest.mark.parametrize(("role", "status"), [(Role.PREDICTIONS, "incomplete"), (Role.LABELS, "provisional")])
async def test_lost_labels_leave_stability_complete_and_lost_predictions_do_not(
    world: EvaluatedWorld, role: Role, status: str
) -> None:
    await world.predict("ok", at_ms=NOON_MS)
    await world.advance(NOON_MS + FIVE_MINUTES_MS)
    await world.lose(role, lost=3, to_ms=NOON_MS + HOUR_MS)
    # What the partitions held before the gap may be of any time.
    for shard in world.ledger.parts:
        shard.gaps[-1] = type(shard.gaps[-1])(source=shard.gaps[-1].source, lost=3, from_ms=0, to_ms=NOON_MS + HOUR_MS)
    await world.evaluator().evaluate()
    report = world.stability_reports()[0]
    assert status == report.status
    assert (report.undefined.get("throughput_per_second") == "input_lost") == (status == "incomplete")
    assert "incomplete" == world.newest().status


async def test_final_report_says_the_same_to_another_worker(world: EvaluatedWorld) -> None:
    await world.predict("ok", at_ms=NOON_MS, latency=took(10.0))
    await world.advance(NOON_MS + FIVE_MINUTES_MS + FRAUD.label_horizon_ms)
    await world.evaluator().evaluate()
    published = len(world.stability_reports())
    await world.evaluator().evaluate(everything=True)
    assert published == len(world.stability_reports())
    assert "final" == world.stability_reports()[0].status


async def test_interval_of_a_quantile_of_few_latencies_has_no_upper_end(world: EvaluatedWorld) -> None:
    for latency_ms in range(1, 21):
        await world.predict("ok", at_ms=NOON_MS, latency=took(float(latency_ms)))
    await world.evaluator().evaluate()
    figure = world.stability_reports()[0].metrics["latency_p99_ms"]
    assert figure.value == pytest.approx(20.0, rel=0.01)
    assert figure.low == pytest.approx(19.0, rel=0.02)
    assert figure.high is None
