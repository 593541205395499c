"""Every file under `schemas/examples` is what its path says, and every reason has an example."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import schemas
from schemas.alert import read_alert
from schemas.attribution_report import AttributionReport
from schemas.codec import decode_resource_samples, encode, read_label, read_prediction
from schemas.errors import Reason, Rejected
from schemas.resource_report import ResourceReport
from schemas.signals_report import SignalsReport
from schemas.stability_report import StabilityReport
from schemas.system_report import SystemReport
from schemas.topics import TOPICS
from schemas.window_report import WindowReport, event_id, report_key
from streams.alerting.fingerprint import fingerprint
from tests.support.poison import ODD_BUT_GOOD, POISON, PREDICTION_POISON

EXAMPLES = Path(schemas.__file__).parent / "examples"
NOW_MS = 1_795_608_000_000  # 2026-11-25T12:00:00Z, after every plausible example


def read_resource_sample(value: bytes | None, *, timestamp_ms: int, now_ms: int, max_future_skew_ms: int) -> object:
    decoded = decode_resource_samples([value], [timestamp_ms], now_ms=now_ms, max_future_skew_ms=max_future_skew_ms)
    for _, rejected in decoded.rejected:
        raise rejected
    return decoded.records[0]


READERS = {"predictions": read_prediction, "labels": read_label, "resource-samples": read_resource_sample}
RECORDS = ("predictions", "labels")
REPORTS = {
    "quality": WindowReport,
    "stability": StabilityReport,
    "signals": SignalsReport,
    "resources": ResourceReport,
    "system": SystemReport,
    "attribution": AttributionReport,
}


def examples(topic: str, kind: str) -> list[Path]:
    return sorted((EXAMPLES / topic / kind).iterdir())


def cases(kind: str) -> list[object]:
    return [pytest.param(topic, path, id=f"{topic}-{path.stem}") for topic in READERS for path in examples(topic, kind)]


def refusal(topic: str, value: bytes | None) -> Rejected | None:
    try:
        READERS[topic](value, timestamp_ms=NOW_MS, now_ms=NOW_MS, max_future_skew_ms=300_000)
    except Rejected as rejected:
        return rejected
    return None


@pytest.mark.parametrize(("topic", "path"), cases("valid"))
def test_valid_example_is_read(topic: str, path: Path) -> None:
    assert None is refusal(topic, path.read_bytes())


@pytest.mark.parametrize(("topic", "path"), cases("invalid"))
def test_invalid_example_is_refused_for_the_reason_in_its_name(topic: str, path: Path) -> None:
    rejected = refusal(topic, path.read_bytes())
    assert rejected is not None
    assert path.name.split("--")[0] == rejected.reason


@pytest.mark.parametrize(("name", "value", "reason"), [*POISON, *PREDICTION_POISON], ids=lambda case: str(case)[:40])
def test_poisoned_prediction_is_refused_with_a_printable_message(
    name: str, value: bytes | None, reason: Reason
) -> None:
    rejected = refusal("predictions", value)
    assert rejected is not None, name
    assert reason == rejected.reason
    assert rejected.message.isprintable()
    assert len(rejected.message) < 300


@pytest.mark.parametrize(("name", "value", "reason"), POISON, ids=lambda case: str(case)[:40])
def test_poisoned_label_is_refused_for_the_same_reason(name: str, value: bytes | None, reason: Reason) -> None:
    rejected = refusal("labels", value)
    assert rejected is not None, name
    assert reason == rejected.reason


@pytest.mark.parametrize("topic", RECORDS)
@pytest.mark.parametrize(("name", "value"), ODD_BUT_GOOD, ids=lambda case: str(case)[:40])
def test_odd_record_within_the_rules_is_read(topic: str, name: str, value: bytes) -> None:
    assert None is refusal(topic, value), name


def test_every_reason_that_a_value_can_give_has_a_payload() -> None:
    assert set(Reason) - {Reason.UNREADABLE_BATCH} == {reason for _, _, reason in POISON}


def test_there_are_more_than_a_hundred_poisoned_payloads_with_names_of_their_own() -> None:
    names = [name for name, _, _ in [*POISON, *PREDICTION_POISON]]
    assert len(names) == len(set(names))
    assert len(names) > 100


def test_every_folder_of_examples_is_a_topic() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert folders <= {topic.default_name for topic in TOPICS.values()}


@pytest.mark.parametrize("path", examples("model-alerts", "valid"), ids=lambda path: path.stem)
def test_alert_example_survives_reading_and_writing_and_carries_the_fingerprint_of_its_labels(path: Path) -> None:
    alert = read_alert(path.read_bytes())
    assert msgspec.json.decode(path.read_bytes()) == msgspec.json.decode(encode(alert))
    assert alert.fingerprint == fingerprint(alert.labels)
    assert (alert.name, alert.severity) == (alert.labels["alertname"], alert.labels.get("severity", ""))


@pytest.mark.parametrize("path", examples("model-alerts", "invalid"), ids=lambda path: path.stem)
def test_invalid_alert_is_refused_for_the_reason_in_its_name(path: Path) -> None:
    with pytest.raises(Rejected) as rejected:
        read_alert(path.read_bytes())
    assert path.name.split("--")[0] == rejected.value.reason


def test_tombstone_of_an_alert_is_refused_as_such() -> None:
    with pytest.raises(Rejected, match="tombstone"):
        read_alert(None)


@pytest.mark.parametrize("path", examples("model-metrics", "valid"), ids=lambda path: path.stem)
def test_report_example_survives_reading_and_writing_with_no_key_lost_or_added(path: Path) -> None:
    expected = msgspec.json.decode(path.read_bytes())
    report = msgspec.json.decode(path.read_bytes(), type=REPORTS[expected["kind"]])
    written = encode(report)
    assert expected == msgspec.json.decode(written)
    assert written == msgspec.json.encode(report)


@pytest.mark.parametrize("path", examples("model-metrics", "valid"), ids=lambda path: path.stem)
def test_report_example_carries_the_event_id_of_its_content(path: Path) -> None:
    content = msgspec.json.decode(path.read_bytes())
    key = report_key(
        kind=content["kind"],
        model=content["model"],
        model_version=content["model_version"],
        segment=content["segment"],
        window_seconds=content["window"]["size_seconds"],
        window_start_ms=1_795_435_200_000,
    )
    assert content["event_id"] == event_id(key, content)
