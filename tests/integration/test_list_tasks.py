"""Sets of classes and rankings through a real Kafka: the final reports are what scikit-learn counts from the records.

Labels of the tagger are corrected and repeated; relevant items of the shop come one by one, some before their ranking.
All is written without any order across partitions, and one worker is killed on the way.
"""

from __future__ import annotations

import dataclasses
import json
import random
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from sklearn.metrics import accuracy_score, f1_score, hamming_loss, ndcg_score, precision_score, recall_score

from deploy.servers import KafkaServer, RedisServer
from schemas.times import format_time, parse_time_ms
from schemas.window_report import WindowReport
from streams.monitored_model import HOUR_MS, MINUTE_MS
from tests.support.topics import read_topic
from tests.support.traffic import produce
from tests.support.waiting import wait_until
from tests.support.workers import Installation, finish, worker

START_MS = parse_time_ms("2026-03-01T00:00:00Z")
REQUESTS = 1_500
AT_K = 5
TAGS = ("bags", "hats", "shoes", "toys", "é")
ITEMS = 40
SETTINGS = {"report_windows": ["1h"], "label_horizon": "2h", "segments": ["country"]}
MODELS = [
    {"name": "tagger", "task": "multilabel", "classes": {"names": [*TAGS], "aliases": {"boots": "shoes"}}, **SETTINGS},
    {"name": "shop", "task": "ranking", "at_k": AT_K, **SETTINGS},
]


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """What was predicted, and what was true in the end; None if nobody ever said."""

    window: str
    country: str
    predicted: tuple[Any, ...]
    label: frozenset[Any] | None


@dataclasses.dataclass(slots=True)
class Records:
    """What is written, and the pairs of each model that it comes to."""

    predictions: list[bytes | None] = dataclasses.field(default_factory=list)
    labels: list[bytes | None] = dataclasses.field(default_factory=list)
    pairs: dict[str, list[Pair]] = dataclasses.field(default_factory=lambda: {"tagger": [], "shop": []})


def drawn_records() -> Records:
    rng, records = random.Random(7), Records()
    for number in range(REQUESTS):
        made_ms = START_MS + number * 2 * HOUR_MS // REQUESTS
        country = rng.choice(["DE", "FR"])
        place = format_time(made_ms // HOUR_MS * HOUR_MS), country
        tags = tuple(tag for tag in TAGS if rng.random() < 0.4)
        ranked = tuple(rng.sample(range(ITEMS), rng.choice([0, 3, 12])))
        for model, answer in (("tagger", tags), ("shop", ranked)):
            predict(records, rng, number, model, made_ms, country, answer)
        records.pairs["tagger"].append(Pair(*place, tags, label_tags(records, rng, number, made_ms, tags)))
        records.pairs["shop"].append(Pair(*place, ranked, label_items(records, rng, number, made_ms)))
    for values in (records.predictions, records.labels):
        shuffle_nearby(values, rng)
    return records


def predict(
    records: Records, rng: random.Random, number: int, model: str, at_ms: int, country: str, answer: Sequence[Any]
) -> None:
    prediction = {
        "request_id": f"request-{number}",
        "model": model,
        "event_time": format_time(at_ms),
        "prediction": ["boots" if each == "shoes" and rng.random() < 0.3 else each for each in answer],
        "segment": {"country": country},
    }
    records.predictions += [json.dumps(prediction).encode()] * (1 + (rng.random() < 0.03))


def label(records: Records, number: int, model: str, at_ms: int, value: Any) -> None:
    told = {"request_id": f"request-{number}", "model": model, "event_time": format_time(at_ms), "label": value}
    records.labels.append(json.dumps(told).encode())


def label_tags(
    records: Records, rng: random.Random, number: int, made_ms: int, predicted: Sequence[str]
) -> frozenset[str] | None:
    """A label or none, corrected now and then; the last one counts."""
    at_ms, truth = made_ms, None
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        at_ms += rng.randint(1, 20) * MINUTE_MS
        truth = frozenset(predicted) ^ frozenset(tag for tag in TAGS if rng.random() < 0.15)
        sent: Any = [*truth, *truth]
        if len(truth) == 1 and rng.random() < 0.5:
            (sent,) = truth
        label(records, number, "tagger", at_ms, sent)
    return truth


def label_items(records: Records, rng: random.Random, number: int, made_ms: int) -> frozenset[int] | None:
    """Relevant items one by one, or some at once; more than eight of some requests."""
    count = rng.choice([0, 1, 1, 2, 3, 12])
    relevant = rng.sample(range(ITEMS), count)
    for item in relevant:
        value: Any = [item, rng.choice(relevant)] if rng.random() < 0.2 else str(item)
        label(records, number, "shop", made_ms + rng.randint(-4, 60) * MINUTE_MS, value)
    if not count and rng.random() < 0.5:
        label(records, number, "shop", made_ms + MINUTE_MS, [])
        return frozenset()
    return frozenset(relevant) if count else None


def shuffle_nearby(values: list[bytes | None], rng: random.Random) -> None:
    """Some disorder, well within what is allowed."""
    for at in range(0, len(values), 30):
        part = values[at : at + 30]
        rng.shuffle(part)
        values[at : at + 30] = part


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Installation:
    installation = Installation(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.create_topics()
    configuration = {"models": MODELS, "allowed_lateness": "4h", "max_read_ahead": "5h"}
    (tmp_path / "latelabel.yaml").write_text(yaml.safe_dump(configuration))
    return installation


def final_reports(installation: Installation) -> Mapping[tuple[str, str, str], WindowReport]:
    """Those of the highest revision, by model, window and country."""
    kept: dict[tuple[str, str, str], WindowReport] = {}
    for _, value in read_topic(installation.brokers, installation.topics["metrics"]):
        if json.loads(value or b"{}").get("kind") == "quality":
            report = msgspec.json.decode(value or b"", type=WindowReport)
            key = (report.model, report.window.start, report.segment.get("country", ""))
            if key not in kept or report.revision >= kept[key].revision:
                kept[key] = report
    return kept


def slices(pairs: Sequence[Pair]) -> Iterator[tuple[str, str, list[Pair]]]:
    for window in sorted({pair.window for pair in pairs}):
        for country in ("", "DE", "FR"):
            yield window, country, [pair for pair in pairs if pair.window == window and country in ("", pair.country)]


def check_head(report: WindowReport, pairs: Sequence[Pair]) -> None:
    labelled = [pair for pair in pairs if pair.label is not None]
    assert ("final", len(pairs), len(labelled)) == (report.status, report.predictions, report.labelled)
    assert None is report.confusion


@pytest.mark.timeout(300)
def test_final_reports_of_sets_and_rankings_are_what_scikit_learn_counts(installation: Installation) -> None:
    records = drawn_records()
    for role, values in (("predictions", records.predictions), ("labels", records.labels)):
        produce(installation.brokers, installation.topics[role], values, partitions=installation.partitions)
    with worker(installation) as process:
        metrics = installation.topics["metrics"]
        wait_until(
            lambda: any(key and key.startswith(b'["quality",') for key, _ in read_topic(installation.brokers, metrics)),
            what="a first report",
            seconds=60,
        )
        process.send_signal(signal.SIGKILL)
    with worker(installation, "--until-caught-up", "--close") as process:
        code, log = finish(process, seconds=200)
    assert 0 == code, log
    reports = final_reports(installation)

    for window, country, pairs in slices(records.pairs["tagger"]):
        check_tagger(reports["tagger", window, country], pairs)
    for window, country, pairs in slices(records.pairs["shop"]):
        check_shop(reports["shop", window, country], pairs)


def check_tagger(report: WindowReport, pairs: Sequence[Pair]) -> None:
    check_head(report, pairs)
    labelled = [(pair.label, pair.predicted) for pair in pairs if pair.label is not None]
    true, predicted = (
        np.array([[tag in some for tag in TAGS] for some in column]) for column in zip(*labelled, strict=True)
    )
    expected = {
        "subset_accuracy": accuracy_score(true, predicted),
        "hamming_loss": hamming_loss(true, predicted),
        **{
            f"{name}_{average}": score(true, predicted, average=average)
            for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score))
            for average in ("micro", "macro")
        },
    }
    assert expected == pytest.approx({name: metric.value for name, metric in report.metrics.items()}, abs=1e-12)
    assert isinstance(report.per_class, dict)
    assert dict(zip(TAGS, f1_score(true, predicted, average=None), strict=True)) == pytest.approx(
        {name: each.f1 for name, each in report.per_class.items()}
    )


def check_shop(report: WindowReport, pairs: Sequence[Pair]) -> None:
    check_head(report, pairs)
    assert AT_K == report.at_k
    figures: dict[str, list[float]] = {name: [] for name in report.metrics}
    for pair in pairs:
        if pair.label is None:
            continue
        ranks = [rank for rank, item in enumerate(pair.predicted, start=1) if item in pair.label]
        hits = sum(rank <= AT_K for rank in ranks)
        figures["hit_rate_at_k"].append(hits > 0)
        figures["mrr"].append(1 / ranks[0] if ranks else 0)
        figures["precision_at_k"].append(hits / AT_K)
        if pair.label:
            figures["recall_at_k"].append(hits / len(pair.label))
            # Items that were not ranked stand behind as many others as put them beyond k.
            order = [*pair.predicted, *[-1] * AT_K, *(item for item in range(ITEMS) if item not in pair.predicted)]
            relevant = np.array([[item in pair.label for item in order]])
            figures["ndcg_at_k"].append(ndcg_score(relevant, np.arange(len(order), 0, -1)[np.newaxis], k=AT_K))
    assert {name: np.mean(values) for name, values in figures.items()} == pytest.approx(
        {name: metric.value for name, metric in report.metrics.items()}, abs=1e-9
    )
