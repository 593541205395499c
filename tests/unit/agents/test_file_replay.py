"""Replayed files: which column becomes which field, what a time means, the order of records, what is refused."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from agents.__main__ import main
from agents.file_replay import sender as sending
from agents.file_replay.fields import FIELDS, REQUIRED
from agents.file_replay.instants import Instants, read_zone
from agents.file_replay.mapping import Mapped, Mapper, Misused
from agents.file_replay.records import Record, RecordFile, merged
from agents.file_replay.sender import Sender
from agents.file_replay.sorting import sorted_records
from agents.file_replay.tables import UnreadableFile, open_table
from schemas.label import SentLabel
from schemas.prediction import SentPrediction
from schemas.times import format_time
from streams.errors import TemporaryFailure
from streams.ledger.parts import Role
from tests.support.publishing import FakeClock, FakePublisher

NOON_MS = 1_357_041_600_000  # 2013-01-01T12:00:00Z
NOW_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "2013-01-01T12:00:00Z",
        "2013-01-01t12:00:00.000999z",
        "2013-01-01 07:00:00-05:00",
        "2013-01-01 07:00:00.000-0500",
        "2013-01-01 14:00+02",
        "2013-01-01 12:00:00 UTC",
        "2013-01-01 17:30",
        "1357041600",
        "1357041600.0",
        "1357041600000",
        1_357_041_600,
        1_357_041_600_000,
        1_357_041_600_000_000,
        1_357_041_600_000_000_999,
        datetime.datetime(2013, 1, 1, 12, tzinfo=datetime.UTC),
        datetime.datetime(2013, 1, 1, 17, 30),  # noqa: DTZ001  (as Parquet has it)
    ],
)
def test_time_is_read_however_it_is_written(value: object) -> None:
    assert NOON_MS == Instants(read_zone("+05:30")).read_ms(value)


@pytest.mark.parametrize("value", ["2013-01-01", datetime.date(2013, 1, 1)])
def test_day_begins_at_midnight_of_the_zone(value: object) -> None:
    assert "2013-01-01T05:00:00Z" == format_time(Instants(read_zone("America/New_York")).read_ms(value))


@pytest.mark.parametrize(
    "value",
    ["", "soon", "20130101", "2013-13-01T00:00:00Z", "01/02/2013 10:00", "2013-01-01T10:00:60Z", 20130101, -1, True,
     1.5, None, "2013-W01-1", "10:15", float("nan"), float("inf")],
)  # fmt: skip
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is no time such as"):
        Instants(datetime.UTC).read_ms(value)


def test_time_without_zone_is_refused_unless_one_is_given() -> None:
    with pytest.raises(ValueError, match=r"2013-01-01 05:15 names no zone; say which with --timezone"):
        Instants(None).read_ms("2013-01-01 05:15")


def test_time_that_no_clock_showed_is_refused_and_of_one_shown_twice_the_first_is_taken() -> None:
    instants = Instants(read_zone("Europe/Berlin"))
    with pytest.raises(ValueError, match=r"Europe/Berlin never showed 2013-03-31 02:30"):
        instants.read_ms("2013-03-31 02:30")
    assert 0 == instants.ambiguous
    assert "2013-10-27T00:30:00Z" == format_time(instants.read_ms("2013-10-27 02:30"))
    assert "2013-10-27T02:30:00Z" == format_time(instants.read_ms("2013-10-27 03:30"))
    assert 1 == instants.ambiguous


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd", "+25:00", "/etc/localtime"])
def test_zone_that_there_is_not_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="is no time zone such as"):
        read_zone(zone)


# --- mapping ---------------------------------------------------------------------------------------------------------


def mapper(
    columns: Sequence[str] | None,
    *,
    role: Role = Role.PREDICTIONS,
    maps: dict[str, str] | None = None,
    sets: dict[str, str] | None = None,
    is_text: bool = True,
) -> Mapper:
    return Mapper(Mapped(role=role, columns=maps or {}, constants=sets or {}), columns, is_text=is_text)


NEEDED = ("request_id", "model", "event_time", "prediction")


def test_fields_are_those_of_the_wire() -> None:
    assert set(SentPrediction.__struct_fields__) == set(FIELDS[Role.PREDICTIONS])
    assert set(SentLabel.__struct_fields__) == set(FIELDS[Role.LABELS])


def test_field_takes_the_column_of_its_name_unless_it_is_mapped_set_or_left_out() -> None:
    columns = (*NEEDED, "score", "status", "segment.country", "p", "height")
    maps, sets = {"score": "p", "status": ""}, {"model": "fraud"}
    row = dict(zip(columns, ("1", "car", "t", "ok", "700", "old", "DE", "0.5", "1.8"), strict=True))
    assert {
        "request_id": "1",
        "event_time": "t",
        "prediction": "ok",
        "score": 0.5,
        "model": "fraud",
        "segment": {"country": "DE"},
    } == mapper(columns, maps=maps, sets=sets).fields(row)


def test_whole_object_and_single_entries_are_one_field() -> None:
    maps = {"features": "inputs", "features.age": "person.age", "segment": "where"}
    row = {
        **dict.fromkeys(NEEDED, "x"),
        "inputs": {"size": 2},
        "person": {"age": 7},
        "where": {"zip": 10115, "b": None},
    }
    fields = mapper(None, maps=maps, is_text=False).fields(row)
    assert ({"size": 2, "age": 7}, {"zip": "10115"}) == (fields["features"], fields["segment"])


@pytest.mark.parametrize(
    ("text", "answer"),
    [("1", 1), ("1.0", 1.0), ("True", True), ("FALSE", False), ("007", "007"), ("fraud", "fraud"), (" 1", " 1"),
     ("9007199254740993", "9007199254740993"), ("1e3", 1000.0), ("nan", "nan"), ("-0", 0),
     ('["shoes", 17, true]', ["shoes", 17, True]), ("[]", []), ("[shoes", "[shoes")],
)  # fmt: skip
def test_answer_in_text_is_the_number_bool_or_list_that_it_spells(text: str, answer: object) -> None:
    got = mapper(NEEDED).fields(dict(zip(NEEDED, ("1", "m", "t", text), strict=True)))["prediction"]
    assert (type(answer), answer) == (type(got), got)


def test_types_of_a_file_that_has_them_are_kept_but_ids_become_text() -> None:
    row = {"request_id": 4711, "model": "m", "event_time": 1, "prediction": "1", "instance": 3.0}
    expected = {**row, "request_id": "4711", "instance": 3}
    assert expected == mapper(None, is_text=False).fields(row)


@pytest.mark.parametrize(
    ("field", "value"),
    [("score", "high"), ("score", "nan"), ("instance", "1.5"), ("instance", ""), ("signals.norm", "x"),
     ("segment", "DE"), ("features", "1")],
)  # fmt: skip
def test_value_that_cannot_be_the_fields_is_refused_with_the_field(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        mapper((*NEEDED, field)).fields({field: value})


@pytest.mark.parametrize(
    ("maps", "sets", "message"),
    [
        ({"predicton": "y"}, {}, "predictions have no field 'predicton', did you mean 'prediction'"),
        ({"label": "y"}, {}, "predictions have no field 'label'"),
        ({"model.name": "y"}, {}, "model has no entries"),
        ({"segment.": "y"}, {}, "segment has no entries"),
        ({"score": "scor"}, {}, "no column 'scor', did you mean 'scores'.*the columns are request_id, scores"),
        ({"score": "scores.best"}, {}, "no column 'scores.best'"),
        ({"model": "scores"}, {"model": "m"}, "model has a column and a constant"),
        ({}, {"score": "high"}, "--set score: high is no number"),
        ({}, {}, "nothing gives model; add --map model=COLUMN or --set model=VALUE"),
        ({"request_id": ""}, {}, "nothing gives request_id"),
    ],
)
def test_mapping_that_cannot_be_meant_is_refused(maps: dict[str, str], sets: dict[str, str], message: str) -> None:
    with pytest.raises(Misused, match=message):
        mapper(("request_id", "scores", "event_time", "prediction"), maps=maps, sets=sets)


def test_failed_predictions_need_no_answer() -> None:
    assert "prediction" in REQUIRED[Role.PREDICTIONS]
    mapper(("request_id", "model", "event_time", "status"))


# --- files -----------------------------------------------------------------------------------------------------------


def record_file(path: Path, role: Role = Role.PREDICTIONS, *, maps: dict[str, str] | None = None) -> RecordFile:
    table = open_table(path)
    mapping = mapper(table.columns, role=role, maps=maps, is_text=table.is_text)
    return RecordFile(table, role, mapping, Instants(datetime.UTC), now_ms=NOW_MS, max_future_skew_ms=300_000)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_is_read_with_quotes_line_ends_of_windows_and_byte_order_mark(tmp_path: Path) -> None:
    content = '\ufeffrequest_id,label,event_time\r\n"a,""1""\r\nx",ok,2013-01-01\r\n\r\nb,,\r\n'
    file = record_file(written(tmp_path / "a.csv", content), Role.LABELS)
    checked = file.check(lambda _: None)
    assert ([], 1, 1) == (checked.mistakes, checked.records, checked.without_label)
    with file.in_order(checked) as records:
        assert [b'a,"1"\r\nx'] == [record.key for record in records]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "a.csv: empty; the first line has to name the columns"),
        ("a.csv", b"a,b,a\n", "a.csv:1: several columns are called 'a'"),
        ("a.csv", b"id;label\n", "a.csv:1: the only column is id;label; cells have to be separated by commas"),
        ("a.csv", b"\xff\xfea", "a.csv:1: the byte 0xff is not UTF-8"),
        ("a.csv.gz", b"", "the name does not tell the format; .csv, .jsonl, .ndjson and .parquet are read, unpacked"),
    ],
)
def test_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(UnreadableFile, match=message):
        open_table(written(tmp_path / name, content))


HEAD = "request_id,label,event_time\n"


@pytest.mark.parametrize(
    ("name", "content", "mistakes"),
    [
        ("a.csv", HEAD + 'a,ok,2013-01-01\n"b\nb",ok\n', ["a.csv:3: 2 cells, but 3 columns in the first line"]),
        ("a.csv", HEAD + 'a,ok,"2013-01-01', ["a.csv:2: not CSV: unexpected end of data"]),
        ("a.csv", HEAD.encode() + b"a,ok,2013-01-01\n\xe4,ok,2013-01-01\n", ["a.csv:3: the byte 0xe4 is not UTF-8"]),
        ("a.csv", HEAD + "a,ok,\n,ok,2013-01-01\n", ["a.csv:2: event_time is missing", "a.csv:3: missing_field: "]),
        ("a.csv", HEAD + f"a,{'x' * 129},2013-01-01\na,ok,x\n{'a,ok,'}\n" + "a,ok,x\n" * 20, [
            "a.csv:2: out_of_bounds: ", "a.csv:3: event_time: x is", *(f"a.csv:{line}: " for line in range(4, 12)),
        ]),
        ("a.csv", HEAD + "a,ok,1999-12-31\n", ["a.csv:2: implausible_time: event_time 1999-12-31T00:00:00Z is before"]),
        ("a.csv", HEAD + "a,ok,2026-11-24\n", ["a.csv:2: implausible_time: "]),
        ("a.jsonl", '\n{"request_id": "a", "label": {}, "event_time": 1357041600}', ["a.jsonl:2: wrong_type: "]),
        ("a.jsonl", "[1]", ["a.jsonl:1: not a JSON object"]),
        ("a.jsonl", "{}\n{", ["a.jsonl:2: not JSON"]),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_line(
    tmp_path: Path, name: str, content: str | bytes, mistakes: list[str]
) -> None:
    found = record_file(written(tmp_path / name, content), Role.LABELS).check(lambda _: None).mistakes
    assert len(mistakes) == len(found)
    for expected, mistake in zip(mistakes, found, strict=True):
        assert mistake.startswith(f"{tmp_path}/{expected}")


def test_mapped_column_that_no_row_has_is_a_mistake(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"request_id": "a", "label": 1, "event_time": "2013-01-01"}')
    assert [f"{path}: no row has 'team'"] == record_file(path, Role.LABELS, maps={"source": "team"}).check(
        lambda _: None
    ).mistakes


@pytest.mark.parametrize(
    ("rows", "mistake"),
    [("", "there are no rows"), ("a,,2013-01-01\nb,,2013-01-01\n", "none of 2 rows has a label; does --map say")],
)
def test_file_without_a_single_record_is_a_mistake(tmp_path: Path, rows: str, mistake: str) -> None:
    path = written(tmp_path / "a.csv", HEAD + rows)
    (found,) = record_file(path, Role.LABELS).check(lambda _: None).mistakes
    assert found.startswith(f"{path}: {mistake}")


def test_parquet_without_its_library_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", no_library)
    with pytest.raises(UnreadableFile, match=r"needs pyarrow, the extra latelabel\[parquet\]: `pip install pyarrow`"):
        open_table(written(tmp_path / "a.parquet", b""))


def test_parquet_keeps_types_and_times(tmp_path: Path) -> None:
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    noon = NOON_MS * 1_000_000 + 999
    table = arrow.table(
        {
            "request_id": arrow.array([1, 2], arrow.int64()),
            "model": ["m", "m"],
            "event_time": arrow.array([noon, noon], arrow.timestamp("ns", "Europe/Berlin")),
            "prediction": [0.5, 2.0],
            "score": [float("nan"), 0.25],
            "segment": [{"country": "DE"}, None],
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    file = record_file(tmp_path / "a.parquet")
    checked = file.check(lambda _: None)
    assert ([], 2) == (checked.mistakes, checked.records)
    with file.in_order(checked) as records:
        common = {"model": "m", "event_time": "2013-01-01T12:00:00Z"}
        assert [
            {"request_id": "1", **common, "prediction": 0.5, "segment": {"country": "DE"}},
            {"request_id": "2", **common, "prediction": 2.0, "score": 0.25},
        ] == [orjson.loads(record.value) for record in records]


def test_parquet_and_json_lines_keep_lists(tmp_path: Path) -> None:
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    rows: list[dict[str, Any]] = [
        {"request_id": str(number), "model": "shop", "event_time": "2013-01-01T12:00:00Z", "prediction": items}
        for number, items in enumerate([["sku-1", "sku-7"], []])
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    written(tmp_path / "a.jsonl", b"\n".join(map(orjson.dumps, rows)))
    for name in ("a.parquet", "a.jsonl"):
        file = record_file(tmp_path / name)
        checked = file.check(lambda _: None)
        assert ([], 2) == (checked.mistakes, checked.records)
        with file.in_order(checked) as records:
            assert rows == [orjson.loads(record.value) for record in records]


def test_parquet_as_other_programs_write_it_is_read(tmp_path: Path) -> None:
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    table = arrow.table(
        {
            "request_id": arrow.array([decimal.Decimal(9007199254740993)], arrow.decimal128(18, 0)),
            "model": arrow.array([b"m"], arrow.binary()),
            "event_time": arrow.array([NOON_MS * 1_000_000 + 999], arrow.timestamp("ns", "UTC")).dictionary_encode(),
            "prediction": arrow.array(["ok"]).dictionary_encode(),
            "score": arrow.array([decimal.Decimal("0.25")]),
            "latency_ms": arrow.array([float("nan")]),
            "signals": arrow.array([[("margin", 1.5), ("norm", None)]], arrow.map_(arrow.string(), arrow.float64())),
            # Nothing asks for these, of which Python has no value.
            "left_at": arrow.array([2**62], arrow.timestamp("us")),
            "took": arrow.array([1], arrow.duration("ns")),
            "steps": arrow.array([[{"at": 1}]], arrow.list_(arrow.struct([("at", arrow.timestamp("ns"))]))),
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    file = record_file(tmp_path / "a.parquet", maps={"latency_ms": "latency_ms"})
    checked = file.check(lambda _: None)
    assert ([], 1) == (checked.mistakes, checked.records)
    with file.in_order(checked) as records:
        assert [
            {
                "request_id": "9007199254740993",
                "model": "m",
                "event_time": "2013-01-01T12:00:00Z",
                "prediction": "ok",
                "score": 0.25,
                "signals": {"margin": 1.5},
            }
        ] == [orjson.loads(record.value) for record in records]


def test_parquet_column_with_values_that_python_has_not_is_named(tmp_path: Path) -> None:
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    times = arrow.array([2**62], arrow.timestamp("us", "UTC"))
    parquet.write_table(arrow.table({"request_id": ["a"], "label": ["ok"], "known": times}), tmp_path / "a.parquet")
    checked = record_file(tmp_path / "a.parquet", Role.LABELS, maps={"event_time": "known"}).check(lambda _: None)
    assert [f"{tmp_path}/a.parquet, rows 1 to 1: a value of 'known' cannot be read: date value out of range"] == (
        checked.mistakes
    )


def test_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    parquet.write_table(arrow.table([["a"], ["b"]], names=["model", "model"]), tmp_path / "a.parquet")
    with pytest.raises(UnreadableFile, match=r"a\.parquet: several columns are called 'model'; rename them"):
        open_table(tmp_path / "a.parquet")


def test_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"a\.parquet: not Parquet: "):
        open_table(written(tmp_path / "a.parquet", b"PAR1 not at all"))


# --- order -----------------------------------------------------------------------------------------------------------


def test_records_of_all_files_leave_by_event_time_and_at_one_time_the_first_file_comes_first() -> None:
    def records(role: Role, *times: int) -> list[Record]:
        return [Record(time, role, b"", b"") for time in times]

    together = merged([records(Role.PREDICTIONS, 1, 3, 3, 5), records(Role.LABELS, 0, 3, 6)])
    assert [(0, "l"), (1, "p"), (3, "p"), (3, "p"), (3, "l"), (5, "p"), (6, "l")] == [
        (record.time_ms, record.role[0]) for record in together
    ]


def test_merging_holds_one_record_of_each_file() -> None:
    taken = 0

    def endless() -> Iterator[Record]:
        nonlocal taken
        while True:
            taken += 1
            yield Record(taken, Role.LABELS, b"", b"")

    together = merged([endless(), endless()])
    for _ in range(100):
        next(together)
    assert taken <= 102


@pytest.mark.parametrize("run_bytes", [1, 1000, 1 << 20])
def test_sorting_in_runs_on_disk_is_stable(run_bytes: int) -> None:
    times = [time * 7919 % 101 for time in range(300)]
    records = [(time, None, b"%d" % place, b"v" * (place % 5)) for place, time in enumerate(times)]
    expected = sorted(((time, key, value) for time, _, key, value in records), key=lambda record: record[0])
    with sorted_records(records, run_bytes=run_bytes) as ordered:
        assert expected == list(ordered)


# --- sending ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class StridingClock(FakeClock):
    """A clock that moves on by itself, a second with every look."""

    def monotonic_seconds(self) -> float:
        self.wall_ms += 1_000
        return self.wall_ms / 1000


def sender(publisher: FakePublisher, *, speed: float = 0.0) -> Sender:
    topics = {role: f"our-{role}" for role in Role}
    return Sender(publisher=publisher, clock=StridingClock(0), topics=topics, speed=speed, report=lambda: None)


def minutes(*times: int) -> Iterator[Record]:
    return (Record(NOON_MS + time * 60_000, Role.LABELS, b"%d" % time, b"{}") for time in times)


async def test_records_are_sent_when_they_are_due_and_not_long_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LONGEST_WAIT_SECONDS", 0.0)
    publisher = FakePublisher()
    replay = sender(publisher, speed=60.0)
    sent: dict[bytes, float] = {}

    def note() -> None:
        for message in publisher.sent:
            sent.setdefault(message.key or b"", replay.clock.monotonic_seconds())

    replay.report = note
    await replay.run(minutes(0, 1, 1, 5, 60), stop=asyncio.Event())
    # A minute of event time passes in a second, and the clock is looked at a few times in every round.
    assert [b"0", b"1", b"1", b"5", b"60"] == [message.key for message in publisher.sent]
    assert all(int(key) <= seconds <= int(key) + 15 for key, seconds in sent.items())


async def test_what_is_acknowledged_is_known_when_kafka_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "PORTION_RECORDS", 2)
    publisher = FakePublisher()
    replay = sender(publisher)

    def fail_next() -> None:
        publisher.failure = TemporaryFailure("away")

    replay.report = fail_next
    with pytest.raises(TemporaryFailure):
        await replay.run(minutes(0, 1, 2, 3, 4), stop=asyncio.Event())
    assert (2, NOON_MS + 60_000) == (replay.sent, replay.reached_ms)


async def test_portion_on_its_way_is_waited_for_when_asked_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "PORTION_RECORDS", 2)
    publisher = FakePublisher()
    stop = asyncio.Event()
    replay = sender(publisher)
    replay.report = stop.set
    await replay.run(minutes(0, 1, 2, 3, 4), stop=stop)
    assert (2, 2) == (replay.sent, len(publisher.sent))


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "p.csv", "id,model,when,prediction\na,m,2013-01-01,ok\n")
    written(tmp_path / "l.csv", "id,when,answer\na,2013-01-02,ok\n")
    return tmp_path


PREDICTIONS = ("p.csv", "--topic", "predictions", "--map", "request_id=id", "--map", "event_time=when")
LABELS = ("l.csv", "--topic=labels", "--map=request_id=id", "--map=event_time=when", "--map=label=answer")


def test_options_apply_to_the_file_before_them(folder: Path) -> None:
    for arguments in ((*PREDICTIONS, *LABELS), (*LABELS, "--set=source=a=b", *PREDICTIONS, "--set", "score=0.5")):
        done = CliRunner().invoke(main, ["replay", "--timezone", "UTC", *arguments, "--dry-run", "--speed", "2"])
        assert 0 == done.exit_code, done.output
        assert "p.csv: 1 predictions, 2013-01-01T00:00:00Z to 2013-01-01T00:00:00Z\n" in done.output
        assert "l.csv: 1 labels, 2013-01-02T00:00:00Z to 2013-01-02T00:00:00Z\n" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument"),
        (("p.csv",), "p.csv: add --topic predictions or --topic labels after it"),
        (("p.csv", "--topic", "metrics"), "p.csv: add --topic predictions or --topic labels after it"),
        ((*PREDICTIONS, "--topic", "predictions"), "after it, once"),
        (("--topic", "labels", "p.csv"), "'labels' stands before every FILE"),
        (("--map", "model=m", *PREDICTIONS), "'model=m' stands before every FILE"),
        ((*PREDICTIONS, "--map", "model"), "'model' is not of the form FIELD="),
        ((*PREDICTIONS, "--map", "request_id=model"), "--map request_id is given twice"),
        ((*PREDICTIONS, "--set"), "Option '--set' requires an argument"),
        ((*PREDICTIONS, "--set", "label=1"), "p.csv: predictions have no field 'label'"),
        ((*PREDICTIONS, "--timezone", "Mars"), "'Mars' is no time zone"),
        ((*PREDICTIONS, "--speed", "-1"), "Invalid value for '--speed'"),
        (("absent.csv", "--topic", "labels"), "'absent.csv' does not exist"),
    ],
)
def test_wrong_usage_ends_with_exit_code_2(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(main, ["replay", *arguments])
    assert message in " ".join(done.output.split())
    assert 2 == done.exit_code
