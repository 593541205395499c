"""A month of late labels through Kafka ends in the counts and figures that NannyML publishes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from deploy.servers import KafkaServer, RedisServer
from schemas.alert import read_alert
from schemas.times import format_time, parse_time_ms
from schemas.window_report import WindowReport
from streams.monitored_model import DAY_MS
from tests.support.car_loan import CHUNK_LOANS, LIMITS, PUBLISHED, THRESHOLD, limit_rules, loans_by_chunk
from tests.support.topics import read_topic
from tests.support.traffic import produce
from tests.support.workers import Installation, finish, worker

START_MS = parse_time_ms("2018-10-30T00:00:00Z")
LATEST_LABEL_DAYS = 30
REPEATED = 0.02
MODEL = {
    "name": "car-loan",
    "task": "binary",
    "positive_class": "1",
    "report_windows": ["1d"],
    "label_horizon": "31d",
}


def records() -> tuple[list[bytes | None], list[bytes | None]]:
    """Chunk i is made on day i in some order; labels come up to 30 days later, written in the order of their times."""
    rng = random.Random(20181030)
    predictions: list[bytes | None] = []
    labels: list[tuple[int, bytes]] = []
    for day, chunk in enumerate(loans_by_chunk()):
        loans = [
            (score, label)
            for score, not_repaid, repaid in chunk
            for label, count in (("0", not_repaid), ("1", repaid))
            for _ in range(count)
        ]
        rng.shuffle(loans)
        for number, (score, label) in enumerate(loans):
            made_ms = START_MS + day * DAY_MS + number * DAY_MS // CHUNK_LOANS
            known_ms = made_ms + rng.randrange(LATEST_LABEL_DAYS * DAY_MS)
            request_id = f"loan-{day}-{number}"
            prediction = {
                "request_id": request_id,
                "model": MODEL["name"],
                "event_time": format_time(made_ms),
                "prediction": int(score >= THRESHOLD),
                "score": score / 100,
            }
            told = {"request_id": request_id, "event_time": format_time(known_ms), "label": label}
            predictions += [json.dumps(prediction).encode()] * (1 + (rng.random() < REPEATED))
            labels += [(known_ms, json.dumps(told).encode())] * (1 + (rng.random() < REPEATED))
    return predictions, [value for _, value in sorted(labels)]


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Installation:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.create_topics()
    (tmp_path / "latelabel.yaml").write_text(yaml.safe_dump({"models": [MODEL], "rule_files": ["rules.yaml"]}))
    # A window that still fills is judged at whichever revisions a worker's pace makes, and a bare point makes no
    # allowance for labels that are missing.
    (tmp_path / "rules.yaml").write_text(limit_rules(confidence="none", status=["final"]))
    return installation


def highest_revisions(installation: Installation) -> Iterator[WindowReport]:
    """What a reader of the reports keeps who follows the contract."""
    kept: dict[bytes | None, WindowReport] = {}
    for key, value in read_topic(installation.brokers, installation.topics["metrics"]):
        if not (key or b"").startswith(b'["quality",'):
            continue
        report = msgspec.json.decode(value or b"", type=WindowReport)
        if key not in kept or report.revision >= kept[key].revision:
            kept[key] = report
    return iter(sorted(kept.values(), key=lambda report: report.window.start))


@pytest.mark.timeout(300)
def test_car_loan_equals_the_published_table_to_the_printed_digit(installation: Installation) -> None:
    predictions, labels = records()
    produce(installation.brokers, installation.topics["predictions"], predictions, partitions=installation.partitions)
    produce(installation.brokers, installation.topics["labels"], labels, partitions=installation.partitions)
    with worker(installation, "--until-caught-up", "--close") as process:
        code, log = finish(process, seconds=240)
    assert 0 == code, log

    reports = list(highest_revisions(installation))
    # NannyML's limits are passed from the sixth chunk on, by all six figures, and never before.
    alerts = [read_alert(value) for _, value in read_topic(installation.brokers, installation.topics["alerts"])]
    sixth = format_time(START_MS + 5 * DAY_MS)
    assert sorted((f"{metric}-1d", "firing", sixth) for metric in LIMITS) == sorted(
        (alert.labels["rule"], alert.status, alert.annotations["description"].split("breach spans ")[1][:20])
        for alert in alerts
    )

    assert len(PUBLISHED) == len(reports)
    for published, report in zip(PUBLISHED, reports, strict=True):
        true_positive, true_negative, false_positive, false_negative = published.counts
        assert ("final", CHUNK_LOANS, CHUNK_LOANS) == (report.status, report.predictions, report.labelled)
        assert report.confusion is not None
        assert ("0", "1") == report.confusion.classes
        assert ((true_negative, false_positive), (false_negative, true_positive)) == report.confusion.counts
        for name, printed in published.figures.items():
            metric = report.metrics[name]
            assert metric.value is not None
            if name == "roc_auc":
                assert isinstance(metric.bracket, tuple)
                assert metric.bracket[0] - 5e-7 <= printed <= metric.bracket[1] + 5e-7
                assert metric.bracket[1] - metric.bracket[0] <= 0.005
            assert printed == round(metric.value, 6), (name, report.window.start)
        # Labels came evenly over thirty days.
        delay = report.label_delay_seconds
        assert delay is not None
        assert pytest.approx((15 * 86_400, 27 * 86_400, 29.7 * 86_400), rel=0.08) == (delay.p50, delay.p90, delay.p99)
