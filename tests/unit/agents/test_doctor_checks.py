"""What the doctor makes of what it sees, without the trouble itself."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

import pytest

from agents.doctor.codec_checks import check_codecs
from agents.doctor.finding import Finding, Verdict
from agents.doctor.kafka_checks import check_brokers, check_lag, standings
from agents.doctor.ledger_checks import check_classes, check_dead_letters, check_gaps, check_ledger, check_stops
from agents.doctor.redis_checks import check_clock, check_memory, check_servers
from agents.doctor.traffic import Traffic, recent_traffic
from agents.partition_intake import LogBounds
from agents.redis_facts import RedisFacts
from agents.settings import Settings
from streams.dead_letter_limits import Excess, Stop
from streams.ledger.agreements import Agreement, Agreements
from streams.ledger.eras import Era
from streams.ledger.founding import Charter
from streams.ledger.parts import Gap, Role, ShardState, Source, SourceState
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel, Task
from tests.support.evaluation import FRAUD, NOON_MS, EvaluatedWorld

TOPICS = {Role.PREDICTIONS: "predictions", Role.LABELS: "labels"}
P0, P1, L0 = Source(Role.PREDICTIONS, 0), Source(Role.PREDICTIONS, 1), Source(Role.LABELS, 0)
REDIS = RedisFacts(
    address="",
    is_valkey=False,
    version="7.0.15",
    policy="noeviction",
    persists_commands=True,
    last_write_succeeded=True,
    used_memory_bytes=1_000_000,
    maxmemory_bytes=2_000_000_000,
    system_memory_bytes=32_000_000_000,
    time_ms=NOON_MS,
)
MODEL = MonitoredModel(name="fraud", label_horizon_ms=DAY_MS)
TRAFFIC = Traffic(
    model=MODEL,
    version="3",
    horizon_ms=DAY_MS,
    per_second=100.0,
    predictions=frozenset({"fraud", "ok"}),
    labels=frozenset({"fraud"}),
    labelled=500,
)


def bad(findings: Iterable[Finding]) -> dict[str, str]:
    return {each.check: each.verdict.value for each in findings if each.verdict is not Verdict.OK}


def states(*shards: Mapping[Source, int]) -> list[ShardState]:
    return [ShardState("one", {source: SourceState(at) for source, at in shard.items()}) for shard in shards]


@pytest.mark.parametrize(
    ("releases", "expected"),
    [
        (["4.3"], "k:9092 answers: 1 broker, Kafka 4.3"),
        (["4.2", "4.3", "4.2"], "k:9092 answers: 3 brokers, 2 Kafka 4.2, 1 Kafka 4.3"),
        ([None, None], "k:9092 answers: 2 brokers, Kafka of a release that is not told"),
    ],
)
def test_release_of_each_broker_is_told(releases: list[str | None], expected: str) -> None:
    assert expected == check_brokers("k:9092", releases).found


def test_lag_is_counted_from_the_shard_that_is_furthest_behind() -> None:
    bounds = {P0: LogBounds(0, 100), P1: LogBounds(5, 10), L0: LogBounds(0, 0)}
    found = standings(bounds, states({P0: 90, P1: 10, L0: 0}, {P0: 40, P1: 10, L0: 0}))
    predictions, labels = check_lag(found, TOPICS, members=["latelabel-worker"])
    assert "60 records behind in 1 of 2 partitions: predictions/0 60" == predictions.found
    assert (Verdict.OK, "1 partitions, counted to their ends") == (labels.verdict, labels.found)
    assert {"lag predictions": "warning"} == bad(check_lag(found, TOPICS, members=[]))


def test_partition_that_no_shard_knows_is_behind_by_its_whole_log() -> None:
    found = standings({P0: LogBounds(20, 100)}, states({}, {}))
    assert [80] == [each.lag for each in found]


def test_log_that_was_replaced_or_has_outlived_its_records_is_told_with_its_partition() -> None:
    bounds = {P0: LogBounds(0, 50), P1: LogBounds(30, 60)}
    found = standings(bounds, states({P0: 51, P1: 60}, {P0: 50, P1: 29}))
    assert {"log predictions/0": "failed", "log predictions/1": "warning"} == bad(
        check_lag(found, TOPICS, members=["latelabel-worker"])
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"version": "6.2.14"}, {"redis version": "failed"}),
        ({"version": "8.0.0", "is_valkey": True}, {}),
        ({"policy": "allkeys-lru"}, {"redis eviction": "failed"}),
        ({"persists_commands": False}, {"redis persistence": "warning"}),
        ({"last_write_succeeded": False}, {"redis persistence": "failed"}),
    ],
)
def test_one_unfit_server_of_several_is_found(changes: dict[str, object], expected: dict[str, str]) -> None:
    unfit = dataclasses.replace(REDIS, address="b:6379", **changes)  # type: ignore[arg-type]
    assert expected == bad(check_servers([REDIS, unfit]))


@pytest.mark.parametrize(
    ("per_second", "maxmemory_bytes", "expected"),
    [
        # 100/s over a day and 70 minutes, at 170 bytes: 1.54 GB.
        (100, 2_000_000_000, "ok"),
        (100, 1_900_000_000, "warning"),
        (100, 1_500_000_000, "failed"),
        (100, 0, "warning"),
        (0, 900_000, "failed"),
    ],
)
def test_memory_is_forecast_from_rate_and_horizon(per_second: float, maxmemory_bytes: int, expected: str) -> None:
    traffic = dataclasses.replace(TRAFFIC, per_second=per_second)
    server = dataclasses.replace(REDIS, maxmemory_bytes=maxmemory_bytes)
    finding = check_memory([server], [traffic], Settings())
    assert expected == finding.verdict.value
    assert bool(finding.remedy) == (expected != "ok")
    if per_second:
        assert "up to 1.5 GB for waiting ids at 100.0 predictions/s" in finding.found


@pytest.mark.parametrize(
    ("difference_ms", "expected"),
    [(900, "ok"), (-900, "ok"), (1100, "warning"), (-5 * MINUTE_MS, "warning"), (-5 * MINUTE_MS - 1, "failed")],
)
def test_clocks_may_differ_a_little(difference_ms: int, expected: str) -> None:
    servers = [REDIS, dataclasses.replace(REDIS, time_ms=NOON_MS + difference_ms)]
    assert expected == check_clock(servers, now_ms=NOON_MS, max_future_skew_ms=5 * MINUTE_MS).verdict.value


def test_ledger_is_judged_as_a_starting_worker_would() -> None:
    charter = Charter(ledger_id="one", shards=2, starts={P0: 0})
    creating = dataclasses.replace(charter, is_creating=True)
    verdicts = [
        check_ledger(charter, ["one", "one"], group_has_committed=True).verdict.value,
        check_ledger(charter, ["one", None], group_has_committed=True).verdict.value,
        check_ledger(creating, ["one", None], group_has_committed=True).verdict.value,
        check_ledger(None, [None, None], group_has_committed=False).verdict.value,
        check_ledger(None, [None, None], group_has_committed=True).verdict.value,
        check_ledger(None, [None, None], group_has_committed=None).verdict.value,
    ]
    assert ["ok", "failed", "warning", "ok", "failed", "ok"] == verdicts


def test_lost_input_is_told_once_for_all_shards_and_a_replaced_log_without_a_number() -> None:
    gaps = [
        [Gap(source=P0, lost=5, from_ms=0, to_ms=1), Gap(source=P0, lost=2, from_ms=1, to_ms=2)],
        [Gap(source=P0, lost=6, from_ms=0, to_ms=1), Gap(source=L0, lost=0, from_ms=0, to_ms=1)],
    ]
    finding = check_gaps(gaps)
    assert Verdict.WARNING is finding.verdict
    assert finding.found.startswith("up to 7 of predictions/0, some of labels/0; ")
    assert Verdict.OK is check_gaps([[], []]).verdict


def test_many_dead_letters_are_a_warning_and_a_stopped_partition_fails() -> None:
    fates = {"predictions:read": 1000, "predictions:rejected": 10, "labels:read": 1000, "labels:rejected": 11}
    assert {"dead letters of labels": "warning"} == bad(check_dead_letters(fates, TOPICS))
    stop = Stop(
        excess=Excess(offset=7, in_a_row=101, recent=101),
        since_ms=NOON_MS,
        tried_ms=NOON_MS,
        marks="",
        earlier_in_a_row=0,
    )
    (finding,) = check_stops({L0: stop}, TOPICS)
    assert (Verdict.FAILED, "partition labels/0") == (finding.verdict, finding.check)
    assert finding.remedy.endswith("latelabel dead-letters accept labels/0")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"labels": frozenset({"1"})}, {"classes of fraud": "failed"}),
        ({"labels": frozenset({"1"}), "labelled": 19}, {}),
        ({"labels": frozenset()}, {}),
        ({"labels": frozenset({"1"}), "model": dataclasses.replace(MODEL, task=Task.REGRESSION)}, {}),
    ],
)
def test_classes_that_never_agree_are_found_once_enough_labels_are_in(
    changes: dict[str, object], expected: dict[str, str]
) -> None:
    assert expected == bad(check_classes([dataclasses.replace(TRAFFIC, **changes)]))  # type: ignore[arg-type]


async def test_traffic_is_the_rate_of_the_busiest_recent_window_and_the_classes_of_settled_ones() -> None:
    world = await EvaluatedWorld().start()
    old_ms = NOON_MS - DAY_MS
    await world.label(await world.predict("ok", at_ms=old_ms, country="DE"), "fraud", at_ms=old_ms)
    for window in range(12):
        for number in range(30 if window == 5 else 3):
            await world.predict("ok", at_ms=NOON_MS + window * 5 * MINUTE_MS + number)
    await world.predict("fraud", at_ms=NOON_MS, failed=True)
    (found,) = await recent_traffic(world.ledger, lambda _: FRAUD, Agreements(), watermark_ms=NOON_MS + HOUR_MS)
    expected = Traffic(
        model=FRAUD,
        version="3",
        horizon_ms=FRAUD.label_horizon_ms,
        per_second=0.1,
        predictions=frozenset({"ok"}),
        labels=frozenset({"fraud"}),
        labelled=1,
    )
    assert expected == found
    lengthened = (Era.of(FRAUD), Era(label_horizon_ms=DAY_MS, from_ms=NOON_MS + DAY_MS))
    agreed = Agreements(1, {"fraud": dataclasses.replace(Agreement.of(FRAUD), eras=lengthened)})
    (found,) = await recent_traffic(world.ledger, lambda _: FRAUD, agreed, watermark_ms=NOON_MS + HOUR_MS)
    assert DAY_MS == found.horizon_ms


def test_every_codec_of_kafka_is_read() -> None:
    assert (Verdict.OK, "gzip, snappy, lz4, zstd are read") == (check_codecs().verdict, check_codecs().found)


@pytest.mark.parametrize("module", ["agents.guarded_records._DECOMPRESSORS", "aiokafka.codec.cramjam"])
def test_codec_that_cannot_be_read_is_named_with_what_to_install(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, {} if module.endswith("DECOMPRESSORS") else None)
    finding = check_codecs()
    assert Verdict.FAILED == finding.verdict
    assert re.search(r"zstd: \S", finding.found), finding.found
    assert "cramjam" in finding.remedy
