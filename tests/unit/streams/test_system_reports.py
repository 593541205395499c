"""What a worker says of itself: each look counted once, in windows of wall time that a restart goes on with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest

from schemas.system_report import SystemReport
from schemas.window_report import event_id
from streams.monitored_model import HOUR_MS, MINUTE_MS
from streams.stability.resource_reports import ReportSettings
from streams.stability.system_figures import SYSTEM_DEFINITIONS, SYSTEM_REASONS, SystemLook
from streams.stability.system_reports import SystemRevision, SystemWindows, read_system_report

NOON_MS = 1_795_435_200_000
WINDOW_MS = 5 * MINUTE_MS
SETTINGS = ReportSettings(topic="model-metrics", source="/latelabel/test", config_hash="abc", interval_ms=10_000)
FATES = {"predictions": {"read": 10, "waiting": 4, "matched": 6}, "labels": {"read": 6, "matched": 6}}


def windows(*last: SystemReport, sizes_ms: Sequence[int] = (WINDOW_MS,)) -> SystemWindows:
    return SystemWindows("1", address="pod-1:6066", program_version="0.1.0", sizes_ms=sizes_ms, last=last)


def look(*violations: str, **numbers: float) -> SystemLook:
    return SystemLook(numbers=numbers, counters={}, fates=FATES, violations=violations)


def take(
    of: SystemWindows, *, at_ms: int, grown: Mapping[str, float] | None = None, **numbers: float
) -> list[SystemRevision]:
    """One look; returns what is due, told."""
    of.take(look(**numbers), grown or {}, now_ms=at_ms)
    due = list(of.due(now_ms=at_ms, settings=SETTINGS))
    for revision in due:
        of.tell(revision)
    return due


def values(report: SystemReport, *names: str) -> list[float | None]:
    return [report.metrics[name].value for name in names]


def test_figures_are_the_largest_the_least_and_the_sums_of_the_looks() -> None:
    of = windows()
    for second, lag, letters in ((0, 5, 1), (20, 90, 0), (40, 30, 2)):
        (due,) = take(
            of,
            at_ms=NOON_MS + second * 1000,
            grown={"records_taken_in": 50, "dead_letters": letters},
            lag_offsets=lag,
        )
    assert [90, 5] == values(due.report, "lag_offsets", "least_lag_offsets")
    assert [150, 3, 0.02] == values(due.report, "records_taken_in", "dead_letters", "dead_letter_ratio")
    assert (3, 150) == (due.report.metrics["lag_offsets"].n, due.report.metrics["dead_letter_ratio"].n)
    assert ("open", 3, FATES) == (due.report.status, due.report.samples, due.report.fates)


def test_report_has_the_key_the_headers_and_the_identity_of_every_report() -> None:
    (due,) = take(windows(), at_ms=NOON_MS, lag_offsets=0)
    key = b'["system","","",{"worker":"1"},300,"2026-11-23T12:00:00Z"]'
    assert (key, key, "model-metrics") == (due.message.key, due.kept.key, due.message.topic)
    content = json.loads(due.message.value or b"")
    assert ("system", "", "", {"worker": "1"}) == tuple(
        content[name] for name in ("kind", "model", "model_version", "segment")
    )
    assert content["event_id"] == event_id(key, content)
    assert b"io.latelabel.report.v1" == dict(due.message.headers)["ce_type"]
    assert due.kept.value == due.message.value


def test_what_is_not_known_is_undefined_and_every_reason_has_a_meaning() -> None:
    (due,) = take(windows(), at_ms=NOON_MS, grown={"records_taken_in": 0, "dead_letters": 0})
    assert set(SYSTEM_DEFINITIONS) == set(due.report.metrics)
    undefined = due.report.undefined
    assert ("not_known_yet", "no_records") == (undefined["lag_offsets"], undefined["dead_letter_ratio"])
    assert [None, None, 0] == values(due.report, "lag_offsets", "dead_letter_ratio", "records_taken_in")
    assert set(undefined.values()) <= {str(reason) for reason in SYSTEM_REASONS}


def test_revisions_are_spaced_by_the_interval_and_the_final_one_comes_with_the_first_look_after_the_end() -> None:
    of = windows()
    said = [
        (revision.report.window.start[11:16], revision.report.status)
        for second in range(0, 310, 4)
        for revision in take(of, at_ms=NOON_MS + second * 1000, lag_offsets=second)
    ]
    assert [("12:00", "open")] * 25 + [("12:00", "final"), ("12:05", "open")] == said


def test_final_report_says_what_the_window_saw_and_nothing_of_the_look_after_it() -> None:
    of = windows()
    take(of, at_ms=NOON_MS, lag_offsets=7)
    final, opened = take(of, at_ms=NOON_MS + WINDOW_MS, lag_offsets=900)
    assert ([7.0], [900.0]) == (values(final.report, "lag_offsets"), values(opened.report, "lag_offsets"))
    assert final.kept.revision > NOON_MS


def test_windows_of_each_size_hold_all_looks_of_theirs() -> None:
    of = windows(sizes_ms=(WINDOW_MS, HOUR_MS))
    last: dict[int, SystemReport] = {}
    for minute in range(12):
        for revision in take(of, at_ms=NOON_MS + minute * MINUTE_MS, grown={"rebalances": 1}):
            last[revision.report.window.size_seconds] = revision.report
    assert ([2.0], [12.0]) == (values(last[300], "rebalances"), values(last[3600], "rebalances"))


def test_worker_that_is_started_again_goes_on_with_the_window_of_its_last_report() -> None:
    of = windows()
    take(of, at_ms=NOON_MS, grown={"worker_starts": 1, "records_taken_in": 10}, lag_offsets=80)
    (before,) = take(of, at_ms=NOON_MS + 20_000, grown={"records_taken_in": 5}, lag_offsets=3)
    again = windows(read_system_report(before.kept.value))
    (after,) = take(again, at_ms=NOON_MS + 40_000, grown={"worker_starts": 1, "records_taken_in": 1}, lag_offsets=4)
    assert [2, 16, 80, 3] == values(
        after.report, "worker_starts", "records_taken_in", "lag_offsets", "least_lag_offsets"
    )
    assert (3, True) == (after.report.samples, after.kept.revision > before.kept.revision)


def test_window_that_was_left_open_by_a_crash_is_made_final_by_the_next_start() -> None:
    (before,) = take(windows(), at_ms=NOON_MS, lag_offsets=3)
    again = windows(read_system_report(before.kept.value))
    final, _ = take(again, at_ms=NOON_MS + HOUR_MS, lag_offsets=0)
    assert ("final", [3.0]) == (final.report.status, values(final.report, "lag_offsets"))


def test_clock_that_is_set_back_does_not_open_a_window_again_that_is_final() -> None:
    of = windows()
    take(of, at_ms=NOON_MS, lag_offsets=3)
    final, opened = take(of, at_ms=NOON_MS + WINDOW_MS, lag_offsets=0)
    assert [] == take(of, at_ms=NOON_MS + WINDOW_MS - 1, lag_offsets=9)
    last = [read_system_report(each.kept.value) for each in (final, opened)]
    assert [] == take(windows(*last), at_ms=NOON_MS + WINDOW_MS - 1, lag_offsets=9)


def test_nothing_is_published_twice_that_says_the_same() -> None:
    (first,) = take(windows(), at_ms=NOON_MS, lag_offsets=3)
    again = windows(read_system_report(first.kept.value))
    assert [] == list(again.due(now_ms=NOON_MS + MINUTE_MS, settings=SETTINGS))


def test_report_that_was_not_acknowledged_is_due_again_with_the_same_identity() -> None:
    of = windows()
    of.take(look(lag_offsets=3), {}, now_ms=NOON_MS)
    ((first,), (second,)) = (list(of.due(now_ms=NOON_MS + later, settings=SETTINGS)) for later in (0, 1))
    assert first.report.event_id == second.report.event_id
    assert first.report.revision < second.report.revision


def test_books_that_do_not_balance_are_in_the_report() -> None:
    of = windows()
    of.take(look("shard 3: the fates of labels add up to those read: 2 of 3"), {}, now_ms=NOON_MS)
    (due,) = of.due(now_ms=NOON_MS, settings=SETTINGS)
    assert ("shard 3: the fates of labels add up to those read: 2 of 3",) == due.report.violations


@pytest.mark.parametrize("topic", FATES)
def test_fates_in_a_report_add_up_to_what_was_read(topic: str) -> None:
    (due,) = take(windows(), at_ms=NOON_MS)
    fates = dict(due.report.fates[topic])
    assert fates.pop("read") == sum(fates.values())
