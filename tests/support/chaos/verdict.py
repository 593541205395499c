"""What the command line and the topics say, compared with the recount."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.support.chaos.models import LISTED, UNLISTED, monitored_as
from tests.support.chaos.recount import Cell, Expected, Slice
from tests.support.chaos.topic_log import Entry
from tests.support.poison import POISON, PREDICTION_POISON

__all__ = ["Verdict", "judge"]

SHOWN = 8
REASONS = {value: str(reason) for _, value, reason in POISON + PREDICTION_POISON}
UNSETTLED = ("waiting", "held")
"""Fates that nothing may have once all windows are closed."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Every difference, by where it was found; all empty when the answer is right.

    `repeated_reports` and `repeated_letters` are no mistakes as such: outside, things may stand twice. Beside
    them stands how many different ones there are.
    """

    cells: Mapping[str, str]
    totals: Mapping[str, str]
    reports: Mapping[str, str]
    letters: Mapping[str, str]
    repeated_reports: int
    repeated_letters: int
    distinct_reports: int
    distinct_letters: int
    counted: int

    @property
    def differences(self) -> Mapping[str, str]:
        """All of them, a few of each kind."""
        return {
            f"{kind} {name}": text
            for kind in ("totals", "cells", "reports", "letters")
            for name, text in list(getattr(self, kind).items())[:SHOWN]
        }


def judge(
    expected: Expected,
    *,
    cells: Iterable[Mapping[str, Any]],
    totals: Iterable[Mapping[str, Any]],
    reports: Sequence[Entry],
    letters: Sequence[Entry],
    topics: Mapping[str, str],
) -> Verdict:
    """Compare.

    Args:
        cells: what `counts` printed.
        totals: what `counts --totals` printed.
        reports: the whole metrics topic.
        letters: the whole dead-letter topic.
        topics: names on the wire.
    """
    distinct_reports = len({(entry.key, _event_id(entry)) for entry in reports})
    distinct_letters = len({_place(entry) for entry in letters})
    return Verdict(
        cells=_differences(_counted(expected.cells), _printed(cells)),
        totals=_wrong_totals(expected, {each["topic"]: each for each in totals}, topics),
        reports=_differences(_expected_reports(expected), _last_reports(reports)),
        letters=_wrong_letters(expected, letters, topics),
        repeated_reports=len(reports) - distinct_reports,
        repeated_letters=len(letters) - distinct_letters,
        distinct_reports=distinct_reports,
        distinct_letters=distinct_letters,
        counted=sum(count for cell, count in expected.cells.items() if cell.slice.segment == "{}"),
    )


def _differences(expected: Mapping[Any, Any], actual: Mapping[Any, Any]) -> dict[str, str]:
    return {
        str(key): f"expected {expected.get(key)}, found {actual.get(key)}"
        for key in sorted(expected.keys() | actual.keys(), key=str)
        if expected.get(key) != actual.get(key)
    }


def _text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms // 1000, UTC).isoformat().replace("+00:00", "Z")


def _counted(cells: Mapping[Cell, int]) -> dict[tuple[Any, ...], int]:
    return {(*_place_of(cell.slice), cell.label, cell.predicted): count for cell, count in cells.items()}


def _place_of(slice_: Slice) -> tuple[str, ...]:
    return slice_.model, slice_.version, slice_.segment, _text(slice_.window_ms)


def _printed(cells: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, ...], int]:
    printed: dict[tuple[Any, ...], int] = {}
    for cell in cells:
        place = (cell["model"], cell["model_version"], json.dumps(cell["segment"]), cell["window_start"])
        key = (*place, cell["label"], cell["prediction"])
        assert key not in printed, f"printed twice: {cell}"
        printed[key] = cell["count"]
    return printed


def _wrong_totals(
    expected: Expected, totals: Mapping[str, Mapping[str, Any]], topics: Mapping[str, str]
) -> dict[str, str]:
    wrong: dict[str, str] = {}
    for role in ("predictions", "labels"):
        total = dict(totals[topics[role]])
        del total["topic"]
        read = total.pop("read")
        wanted = {"rejected": len(expected.rejected[role]), **dict.fromkeys(UNSETTLED, 0)}
        if role == "predictions":
            wanted |= {fate: expected.fates.get(fate, 0) for fate in total} | {"waiting": 0}
        checks = {"read": (expected.read[role], read), "sum of fates": (read, sum(total.values()))}
        checks |= {fate: (wanted[fate], count) for fate, count in total.items() if fate in wanted}
        wrong |= {f"{role} {name}": f"expected {a}, found {b}" for name, (a, b) in checks.items() if a != b}
    return wrong


def _expected_reports(expected: Expected) -> dict[str, Any]:
    pairs: dict[tuple[Slice, int], Counter[tuple[str | None, str]]] = collections.defaultdict(Counter)
    failed: Counter[tuple[Slice, int]] = Counter()
    for cell, count in expected.cells.items():
        for window in _report_windows(cell.slice):
            pairs[window][cell.label, cell.predicted] += count
    for slice_, count in expected.failed.items():
        for window in _report_windows(slice_):
            failed[window] += count
    reports = {}
    for window in pairs.keys() | failed.keys():
        slice_, size_ms = window
        key = [slice_.model, slice_.version, slice_.segment, size_ms // 1000, _text(slice_.window_ms)]
        counts = pairs[window]
        status = _last_status(slice_, size_ms, expected.highest_ms)
        unlabelled = sum(count for (label, _), count in counts.items() if label is None)
        reports[str(key)] = {
            "status": status,
            "predictions": sum(counts.values()),
            "failed": failed[window],
            "labelled": sum(count for (label, _), count in counts.items() if label is not None),
            "never_labelled": unlabelled if status == "final" else 0,
            "pairs": sorted((*pair, count) for pair, count in counts.items() if pair[0] is not None),
        }
    return reports


def _last_status(slice_: Slice, size_ms: int, highest_ms: int) -> str:
    """Closing raises the watermark past whatever may still be joined, not past a window that nothing has filled."""
    watermark_ms = highest_ms + max(max(each.horizon_ms, each.skew_ms) for each in (*LISTED, UNLISTED)) + 1
    settled_ms = slice_.window_ms + size_ms + monitored_as(slice_.model).horizon_ms
    return "final" if settled_ms <= watermark_ms else "provisional"


def _report_windows(slice_: Slice) -> Iterable[tuple[Slice, int]]:
    for size_ms in monitored_as(slice_.model).report_windows_ms:
        yield dataclasses.replace(slice_, window_ms=slice_.window_ms - slice_.window_ms % size_ms), size_ms


def _last_reports(entries: Iterable[Entry]) -> dict[str, Any]:
    last: dict[bytes | None, dict[str, Any]] = {}
    for entry in entries:
        report = json.loads(entry.value or b"")
        if report["kind"] != "quality":
            continue
        if entry.key not in last or report["revision"] >= last[entry.key]["revision"]:
            last[entry.key] = report
    found = {}
    for report in last.values():
        window = report["window"]
        key = [report["model"], report["model_version"], json.dumps(report["segment"]), window["size_seconds"]]
        shown = {name: report[name] for name in ("status", "predictions", "failed", "labelled", "never_labelled")}
        found[str([*key, window["start"]])] = {**shown, "pairs": _pairs(report["confusion"])}
    return found


def _pairs(confusion: Mapping[str, Any] | None) -> list[tuple[str, str, int]]:
    if confusion is None:
        return []
    classes = confusion["classes"]
    return sorted(
        (classes[row], classes[column], count)
        for row, counts in enumerate(confusion["counts"])
        for column, count in enumerate(counts)
        if count
    )


def _event_id(entry: Entry) -> str:
    return str(json.loads(entry.value or b"")["event_id"])


def _place(letter: Entry) -> tuple[str, int, int]:
    return (
        letter.header("latelabel-topic"),
        int(letter.header("latelabel-partition")),
        int(letter.header("latelabel-offset")),
    )


def _wrong_letters(expected: Expected, letters: Sequence[Entry], topics: Mapping[str, str]) -> dict[str, str]:
    wanted = {(topics[role], *place) for role, places in expected.rejected.items() for place in places}
    found = {_place(letter) for letter in letters}
    wrong = {str(place): "a dead letter is missing" for place in sorted(wanted - found)}
    wrong |= {str(place): "a dead letter of a good record" for place in sorted(found - wanted)}
    for letter in letters:
        reason = letter.header("latelabel-reason")
        if _place(letter) in wanted and reason != REASONS.get(letter.value):
            wrong[str(_place(letter))] = f"reason {reason} for {(letter.value or b'')[:60]!r}"
    return wrong
