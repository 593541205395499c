"""Shipped rules on workers: they are read, name figures that there are, fire when they should, and say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.alert_rule_files import load_rules
from agents.settings import Settings
from schemas.alert import Alert
from streams.alerting.record import MONITOR
from streams.alerting.rules import AlertRule
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS
from streams.stability.resource_reports import ReportSettings
from streams.stability.system_figures import SYSTEM_DEFINITIONS, SystemLook
from streams.stability.system_reports import SystemWindows
from tests.support.alerting import AlertWorld, statuses

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy/rules/system.yaml"
RUNBOOK = ROOT / "deploy/runbooks/workers.md"
PROMETHEUS = ROOT / "deploy/prometheus/latelabel.rules.yaml"
RULES = {rule.alert: rule for rule in load_rules(Settings(), [FILE])}
WINDOW_MS = 5 * MINUTE_MS
SETTINGS = ReportSettings(topic="model-metrics", source="/latelabel/test", config_hash="", interval_ms=10_000)
WELL: dict[str, float] = {
    "lag_offsets": 20.0,
    "oldest_uncounted_seconds": 1.0,
    "waiting_predictions": 1e6,
    "partitions_stopped": 0.0,
    "redis_memory_ratio": 0.4,
    "event_loop_lag_seconds": 0.05,
    "worker_memory_bytes": 1.8e8,
}
GROWN_WELL: dict[str, float] = {
    "records_taken_in": 6000.0,
    "dead_letters": 3.0,
    "input_gaps": 0.0,
    "rebalances": 0.0,
    "conservation_failures": 0.0,
}
SICK: list[tuple[str, dict[str, float], int, str]] = [
    ("LatelabelConservationBroken", {"conservation_failures": 1}, 1, "counts of a shard do not add up, says worker 1"),
    ("LatelabelPartitionStopped", {"partitions_stopped": 2}, 1, "2 partitions of worker 1 wait for an operator"),
    (
        "LatelabelInputLost",
        {"input_gaps": 1},
        1,
        "Kafka has removed input that worker 1 had not counted; windows are incomplete",
    ),
    ("LatelabelFallingBehind", {"lag_offsets": 50_000}, 20, "never fewer than 50k records wait for worker 1"),
    (
        "LatelabelOldestRecordWaits",
        {"oldest_uncounted_seconds": 900},
        15,
        "a record of worker 1 has been waiting to be counted for 15m 0s",
    ),
    (
        "LatelabelManyWaiting",
        {"waiting_predictions": 2.5e6},
        70,
        "2.5M predictions wait for labels, a million more than a day ago",
    ),
    ("LatelabelManyDeadLetters", {"dead_letters": 180}, 15, "3% of the records that worker 1 reads are bad"),
    ("LatelabelRedisMemory", {"redis_memory_ratio": 0.9}, 1, "Redis is 90% full"),
    ("LatelabelEventLoopLate", {"event_loop_lag_seconds": 4}, 15, "the event loop of worker 1 is 4s late"),
    ("LatelabelWorkerMemory", {"worker_memory_bytes": 7e8}, 20, "worker 1 uses 700MB of memory"),
    (
        "LatelabelManyRebalances",
        {"rebalances": 2},
        5,
        "partitions of worker 1 were dealt out anew 10 times within the hour",
    ),
]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_every_rule_is_one_of_prometheus_too_with_the_same_severity_and_chapter(rule: AlertRule) -> None:
    assert f"- alert: {rule.alert}\n" in PROMETHEUS.read_text()
    assert f"{RUNBOOK.relative_to(ROOT)}#{rule.alert.lower()}" == rule.annotations["runbook_url"]
    assert f"## {rule.alert}\n" in RUNBOOK.read_text()
    of_prometheus = PROMETHEUS.read_text().partition(f"- alert: {rule.alert}\n")[2].partition("- alert:")[0]
    assert f"severity: {rule.labels['severity']}" in of_prometheus


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_every_rule_looks_at_each_worker_in_one_size_of_window(rule: AlertRule) -> None:
    assert rule.when.metric in SYSTEM_DEFINITIONS
    assert ({"worker": "*"}, None) == (dict(rule.when.segment), rule.when.confidence)
    assert rule.when.window_ms in (WINDOW_MS, HOUR_MS)


def looks(
    sick: dict[str, float], *, from_minute: int, minutes: int
) -> Iterator[tuple[int, SystemLook, dict[str, float]]]:
    """A look every minute of two days that are well, but for some minutes of the second."""
    since = DAY_MS // MINUTE_MS + from_minute
    for minute in (*range(from_minute - 5, from_minute + 100), *range(since - 5, since + minutes + 70)):
        now = sick if since <= minute < since + minutes else {}
        numbers = {name: now.get(name, value) for name, value in WELL.items()}
        yield minute, SystemLook(numbers=numbers, counters={}, fates={}), {**GROWN_WELL, **now}


async def said_of(*alerts: str, sick: dict[str, float], minutes: int) -> list[Alert]:
    world = await AlertWorld(*map(RULES.__getitem__, alerts)).start()
    owner = world.evaluator(owns=lambda _: True)
    windows = SystemWindows("1", address="a", program_version="0", sizes_ms=(WINDOW_MS, HOUR_MS))
    begun_ms, said = world.clock_ms, list[Alert]()
    for minute, look, grown in looks(sick, from_minute=30, minutes=minutes):
        world.world.clock.wall_ms = begun_ms + minute * MINUTE_MS
        windows.take(look, grown, now_ms=world.clock_ms)
        due = list(windows.due(now_ms=world.clock_ms, settings=SETTINGS))
        await world.world.store.keep(MONITOR, None, [revision.kept for revision in due])
        for revision in due:
            windows.tell(revision)
        said += [each for each in await world.round(after_ms=0, by=owner) if each.name in alerts]
    return said


@pytest.mark.parametrize(("alert", "sick", "minutes", "summary"), SICK, ids=[name for name, *_ in SICK])
async def test_rule_fires_when_a_worker_is_sick_for_long_enough_and_says_how(
    alert: str, sick: dict[str, float], minutes: int, summary: str
) -> None:
    said = await said_of(alert, sick=sick, minutes=minutes)
    firing = [each for each in said if each.status == "firing"]
    assert summary in {each.annotations["summary"] for each in firing}
    assert "resolved: recovered" in statuses(said)
    assert {"1"} == {each.labels["worker"] for each in said}


def test_every_rule_is_tried() -> None:
    assert list(RULES) == [name for name, *_ in SICK]


async def test_no_rule_says_anything_of_a_worker_that_is_well() -> None:
    assert [] == await said_of(*RULES, sick={}, minutes=1)


async def test_rules_that_wait_say_nothing_of_a_worker_that_is_sick_for_a_minute() -> None:
    waiting = [name for name, rule in RULES.items() if rule.for_ms]
    sick = {figure: value for name, figures, *_ in SICK if name in waiting for figure, value in figures.items()}
    assert (6, 6) == (len(waiting), len(sick))
    assert [] == await said_of(*waiting, sick=sick, minutes=1)
