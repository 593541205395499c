"""Lines of the log: text for people, objects for programs, and no fault a thousand times."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.log_settings import LogSettings
from agents.telemetry import set_up_logging

_log = logging.getLogger("agents.some_module")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root, hooks = logging.getLogger(), (sys.excepthook, threading.excepthook, sys.unraisablehook)
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.captureWarnings(False)
    driver = logging.getLogger("aiokafka")
    driver.handlers.clear()
    driver.propagate = True
    driver.setLevel(logging.CRITICAL)


def objects(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_every_line_is_an_object_with_the_fields_of_the_guide(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(as_json=True)
    _log.warning('Lost "%d" of\n%s', 7, "labels/1", extra={"shard": 3, "offset": 9, "level": "mine", "where": object})
    (line,) = objects(capsys)
    assert {
        "time": line["time"],
        "level": "warning",
        "logger": "agents.some_module",
        "message": 'Lost "7" of\nlabels/1',
        "shard": 3,
        "offset": 9,
        "where": "<class 'object'>",
    } == line
    assert line["time"].endswith("Z")


def test_traceback_is_a_field_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(as_json=True)
    try:
        int("half a surrogate: \udc80\nand more")
    except ValueError:
        _log.exception("It failed")
    (line,) = objects(capsys)
    assert ("It failed", "ValueError") == (line["message"], line["exception"]["type"])
    assert "half a surrogate" in line["exception"]["message"]
    assert line["exception"]["traceback"].startswith("Traceback (most recent call last):\n")


def test_libraries_warnings_and_what_nobody_catches_are_objects_too(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(as_json=True, is_member=True)
    logging.getLogger("some.library").error("wrong %d arguments", "number of")
    logging.getLogger("aiokafka.consumer").error("Failed to join")
    warnings.showwarning("old", DeprecationWarning, "a.py", 1)

    def fail() -> None:
        raise RuntimeError("in a thread")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    sys.excepthook(KeyError, KeyError("at the end"), None)
    lines = objects(capsys)
    assert ["some.library", "aiokafka.consumer", "py.warnings", "agents", "agents"] == [
        each["logger"] for each in lines
    ]
    assert ["RuntimeError", "KeyError"] == [each["exception"]["type"] for each in lines[3:]]


def test_fault_that_repeats_itself_is_told_again_with_how_often_it_came(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("agents.clock.SystemClock.monotonic_seconds", lambda _: now[0])
    set_up_logging(as_json=True)
    for offset in range(1000):
        _log.error("Record %d is bad", offset)
        _log.info("Read %d", offset)
    _log.error("Something else")
    now[0] += 5
    _log.error("Record %d is bad", 1000)
    told = [each for each in objects(capsys) if each["level"] == "error"]
    assert ["Record 0 is bad", "Something else", "Record 1000 is bad"] == [each["message"] for each in told]
    assert [None, None, 999] == [each.get("repeated") for each in told]


def test_broker_that_makes_ready_for_its_first_group_is_no_error_unless_it_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("agents.clock.SystemClock.monotonic_seconds", lambda _: now[0])
    set_up_logging(as_json=True, is_member=True)
    driver = logging.getLogger("aiokafka.consumer.group_coordinator")
    forming = "Group Coordinator Request failed: [Error 15] GroupCoordinatorNotAvailableError"
    for seconds in (0.0, 0.1, 9.0):
        now[0] = 100.0 + seconds
        driver.error(forming)
    driver.error("Heartbeat failed")
    now[0] = 120.0
    driver.error(forming)
    assert ["Heartbeat failed", forming] == [each["message"] for each in objects(capsys)]


def test_request_that_was_under_way_when_a_consumer_left_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(as_json=True, is_member=True)
    driver = logging.getLogger("aiokafka.consumer.group_coordinator")
    said = "Error sending %s to node %s [%s] -- marking coordinator dead"
    driver.error(said, "OffsetFetchRequest", 1, "KafkaConnectionError: Connection at 127.0.0.1:25378 closed")
    assert [] == objects(capsys)
    driver.error(said, "OffsetFetchRequest", 1, "RequestTimedOutError")
    assert 1 == len(objects(capsys))


def test_text_is_one_line_for_people_whatever_it_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(logging.WARNING)
    _log.warning("two\nlines", extra={"shard": 3})
    _log.info("less")
    line = capsys.readouterr().err
    assert line.endswith(" WARNING agents.some_module: two\\nlines\n")


def test_more_kinds_of_faults_than_are_remembered_are_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging()
    for _ in range(2):
        for number in range(300):
            _log.error("Fault %s", chr(0x4E00 + number))
    assert 600 == len(capsys.readouterr().err.splitlines())


@pytest.mark.parametrize(
    ("form", "in_container", "on_terminal", "expected"),
    [
        ("auto", "", False, False),
        ("auto", "1", False, True),
        ("auto", "1", True, False),
        ("json", "", True, True),
        ("text", "1", False, False),
    ],
)
def test_form_follows_the_setting_and_where_nothing_is_said_the_place(
    form: str, in_container: str, on_terminal: bool, expected: bool
) -> None:
    environ = {"LATELABEL_IN_CONTAINER": in_container}
    assert expected is LogSettings(format=form).is_json(environ, on_terminal=on_terminal)


def test_guide_names_every_field_that_some_line_has() -> None:
    root = Path(__file__).resolve().parents[3]
    said: set[str] = set()
    for module in root.glob("agents/**/*.py"):
        for fields in re.findall(r"extra=\{(.*?)\}", module.read_text(), re.DOTALL):
            said.update(re.findall(r'"(\w+)":', fields))
    named = re.findall(r"^\| (`.+?) \| ", (root / "deploy/guides/logging.md").read_text(), re.MULTILINE)
    assert {"source", "shard"} <= said
    assert said <= set(re.findall(r"`(\w+)`", " ".join(named)))
