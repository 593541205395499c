"""A file as records that are ready to be sent: mapped, checked as the worker will check them, in event-time order.

A file is read twice. The first time everything is checked, so that nothing is sent of files with mistakes, and it is
seen whether the rows are in order. The second time they are sent; a file that is not in order is sorted on disk
before, so that memory does not grow with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import orjson

from agents.file_replay.instants import Instants
from agents.file_replay.mapping import Mapper
from agents.file_replay.sorting import sorted_records
from agents.file_replay.tables import ROWS_AT_ONCE, Row, Table, UnreadableFile
from schemas.codec import decode_labels, decode_predictions
from schemas.errors import Reason
from schemas.times import format_time
from streams.ledger.parts import Role

__all__ = ["Checked", "Record", "RecordFile", "merged"]

MISTAKES_TOLD = 10


class Record(NamedTuple):
    """A record with its place in time; `key` is the request id."""

    time_ms: int
    role: Role
    key: bytes
    value: bytes


@dataclasses.dataclass(slots=True)
class Checked:
    """What reading a file once has shown. `without_label` rows have none yet, and are no records."""

    records: int = 0
    without_label: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    is_in_order: bool = True
    ambiguous_times: int = 0
    mistakes: list[str] = dataclasses.field(default_factory=list)
    """At most `MISTAKES_TOLD`; with so many the rest of the file was not read."""

    def add(self, time_ms: int) -> None:
        """Count one more record."""
        self.is_in_order = self.is_in_order and (self.last_ms is None or self.last_ms <= time_ms)
        self.first_ms = time_ms if self.first_ms is None else min(self.first_ms, time_ms)
        self.last_ms = time_ms if self.last_ms is None else max(self.last_ms, time_ms)
        self.records += 1


class RecordFile:
    """One file and what it is taken for.

    Args:
        now_ms: wall time; event times may be `max_future_skew_ms` after it.
    """

    def __init__(
        self, table: Table, role: Role, mapper: Mapper, instants: Instants, *, now_ms: int, max_future_skew_ms: int
    ) -> None:
        self.table = table
        self.role = role
        self._mapper = mapper
        self._instants = instants
        self._now_ms = now_ms
        self._skew_ms = max_future_skew_ms

    def check(self, report: Callable[[Checked], None]) -> Checked:
        """Read the whole file, and find its mistakes; `report` is called every thousand rows."""
        checked = Checked()
        try:
            for rows in _portions(self.table.rows(self._mapper.takes)):
                mistakes = sorted(self._mistakes(rows, checked))
                told = mistakes[: MISTAKES_TOLD - len(checked.mistakes)]
                checked.mistakes += [f"{self.table.place(number)}: {mistake}" for number, mistake in told]
                if len(checked.mistakes) == MISTAKES_TOLD:
                    break
                report(checked)
            else:
                checked.mistakes += [f"{self.table.path}: no row has {column!r}" for column in self._mapper.unseen]
                if not checked.records and not checked.mistakes:
                    checked.mistakes.append(f"{self.table.path}: {_nothing(checked)}")
        except UnreadableFile as error:
            checked.mistakes.append(str(error))
        checked.ambiguous_times, self._instants.ambiguous = self._instants.ambiguous, 0
        return checked

    @contextlib.contextmanager
    def in_order(self, checked: Checked) -> Iterator[Iterator[Record]]:
        """The records of a file without mistakes, by event time; those of one time as they stand in the file."""
        if checked.is_in_order:
            yield self._records()
        else:
            with sorted_records(self._records()) as records:
                yield (Record(time_ms, self.role, key, value) for time_ms, key, value in records)

    def _records(self) -> Iterator[Record]:
        for number, row in self.table.rows(self._mapper.takes):
            try:
                record = self._record(self._mapper.fields(row))
            except ValueError as error:
                raise UnreadableFile(f"{self.table.place(number)}: changed since it was checked: {error}") from None
            if record is not None:
                yield record

    def _record(self, fields: dict[str, object]) -> Record | None:
        """The record of a row; None if it is a label that is not known yet."""
        if self.role is Role.LABELS and fields.get("label") is None:
            return None
        if "event_time" not in fields:
            raise ValueError("event_time is missing; it is what orders the records")
        try:
            time_ms = self._instants.read_ms(fields["event_time"])
            fields["event_time"] = format_time(time_ms)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"event_time: {error}") from None
        try:
            value = orjson.dumps(fields)
        except orjson.JSONEncodeError as error:
            raise ValueError(f"cannot be written as JSON: {error}") from None
        return Record(time_ms, self.role, str(fields.get("request_id")).encode(), value)

    def _mistakes(self, rows: Sequence[tuple[int, Row]], checked: Checked) -> Iterator[tuple[int, str]]:
        """The rows that are no records, and why; the others are added to `checked`."""
        records: list[tuple[int, Record]] = []
        for number, row in rows:
            try:
                record = self._record(self._mapper.fields(row))
            except ValueError as error:
                yield number, str(error)
                continue
            if record is None:
                checked.without_label += 1
            else:
                records.append((number, record))
        # Read as the worker will, and as many at once, which is what makes it fast.
        decode = decode_predictions if self.role is Role.PREDICTIONS else decode_labels
        values = [record.value for _, record in records]
        decoded = decode(values, [self._now_ms] * len(values), now_ms=self._now_ms, max_future_skew_ms=self._skew_ms)
        for index in decoded.indexes:
            checked.add(records[index][1].time_ms)
        for index, rejected in decoded.rejected:
            is_missing = rejected.reason is Reason.MISSING_FIELD
            yield records[index][0], f"{rejected}{'; does --map say where it is?' if is_missing else ''}"


def _nothing(checked: Checked) -> str:
    if checked.without_label:
        return f"none of {checked.without_label:,} rows has a label; does --map say where it is?"
    return "there are no rows"


def _portions(rows: Iterator[tuple[int, Row]]) -> Iterator[list[tuple[int, Row]]]:
    """Rows by the thousand, those before a place that cannot be read included."""
    portion: list[tuple[int, Row]] = []
    try:
        for row in rows:
            portion.append(row)
            if len(portion) == ROWS_AT_ONCE:
                yield portion
                portion = []
    except UnreadableFile:
        yield portion
        raise
    yield portion


def merged(files: Sequence[Iterable[Record]]) -> Iterator[Record]:
    """The records of all files by event time; at one time, those of the first file come first."""
    return heapq.merge(*files, key=lambda record: record.time_ms)
