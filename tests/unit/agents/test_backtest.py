"""Backtests: which alerts there would have been, and the moment at which each would have been known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agents.backtest import Backtest, step_of
from agents.file_replay.records import Record
from agents.settings import Settings
from schemas.alert import Alert
from schemas.times import format_time, parse_time_ms
from streams.alerting.observation import JudgedReport
from streams.alerting.rules import AlertRule, Condition, Op
from streams.ledger.parts import Role
from streams.monitored_model import HOUR_MS, MINUTE_MS, MonitoredModel, Task
from streams.windows import WindowStatus

ROOT = Path(__file__).resolve().parents[3]
START_MS = parse_time_ms("2026-11-23T12:00:00Z")
WINDOW_MS = 5 * MINUTE_MS
SETTINGS = Settings(
    allowed_lateness_ms=MINUTE_MS,
    models=(
        MonitoredModel(
            name="fraud",
            task=Task.BINARY,
            positive_class="fraud",
            report_windows_ms=(WINDOW_MS,),
            base_window_ms=WINDOW_MS,
            label_horizon_ms=HOUR_MS,
        ),
    ),
)
RULE = AlertRule(group="g", alert="AccuracyLow", when=Condition(metric="accuracy", op=Op.LESS, value=0.9))


def record(role: Role, time_ms: int, **fields: object) -> Record:
    value = json.dumps({"event_time": format_time(time_ms), **fields}).encode()
    return Record(time_ms, role, b"", value)


def history(wrong_by_window: list[int], *, n: int = 40, delay_ms: int = 20 * MINUTE_MS) -> list[Record]:
    """So many of each window's predictions are wrong; every label comes so much later."""
    records = []
    for index, wrong in enumerate(wrong_by_window):
        for number in range(n):
            at_ms = START_MS + index * WINDOW_MS + number * 1000
            request = f"{index}-{number}"
            label = "fraud" if number < wrong else "ok"
            records.append(record(Role.PREDICTIONS, at_ms, request_id=request, model="fraud", prediction="ok"))
            records.append(record(Role.LABELS, at_ms + delay_ms, request_id=request, label=label))
    return sorted(records, key=lambda each: each.time_ms)


async def told(records: list[Record], rule: AlertRule = RULE) -> tuple[list[tuple[int, Alert]], list[JudgedReport]]:
    alerts, reports = [], []
    async for at_ms, each in Backtest(SETTINGS, [rule], step_ms=step_of(SETTINGS)).run(iter(records)):
        if isinstance(each, Alert):
            alerts.append((at_ms, each))
        else:
            reports.append(each)
    return alerts, reports


async def test_alert_is_told_when_the_labels_that_settle_it_were_known() -> None:
    alerts, _ = await told(history([0, 0, 35, 0, 0]))
    (fired_ms, firing), (_, resolved) = alerts
    # The last label of the third window comes 20 minutes and 39 seconds after its start; looks are a minute apart.
    third_ms = START_MS + 2 * WINDOW_MS
    assert third_ms + WINDOW_MS < fired_ms <= third_ms + 20 * MINUTE_MS + 105_000
    assert ("firing", format_time(fired_ms), format_time(third_ms)) == (
        firing.status,
        firing.starts_at,
        firing.annotations["window_start"],
    )
    assert ("resolved", firing.fingerprint) == (resolved.status, resolved.fingerprint)


async def test_rule_on_final_windows_is_told_when_they_are_final() -> None:
    final_only = AlertRule(
        group="g",
        alert="AccuracyLow",
        when=Condition(metric="accuracy", op=Op.LESS, value=0.9, status=(WindowStatus.FINAL,)),
    )
    alerts, reports = await told(history([0, 35, 0]), final_only)
    final_ms = START_MS + 2 * WINDOW_MS + HOUR_MS + SETTINGS.allowed_lateness_ms
    assert [final_ms, final_ms + WINDOW_MS] == [at_ms for at_ms, _ in alerts]
    assert 3 == sum((report.kind, report.status) == ("quality", "final") for report in reports)


async def test_model_that_is_well_raises_nothing_and_every_window_becomes_final() -> None:
    alerts, reports = await told(history([1, 2, 0, 1]))
    assert [] == alerts
    assert 4 == sum((report.kind, report.status) == ("quality", "final") for report in reports)


async def test_backtest_of_the_same_records_says_the_same() -> None:
    records = history([0, 30, 5, 38, 0])
    first, second = await told(records), await told(records)
    assert first[0] == second[0]


# --- the command -----------------------------------------------------------------------------------------------------


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agents", "backtest", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "latelabel.yaml").write_text(
        "allowed_lateness: 1m\n"
        "models:\n"
        "  - {name: fraud, task: binary, positive_class: fraud, report_windows: [5m], label_horizon: 1h}\n"
    )
    (tmp_path / "rules.yaml").write_text(
        "groups:\n  - name: g\n    rules:\n"
        '      - {alert: AccuracyLow, when: {metric: accuracy, op: "<", value: 0.9, status: [final]}}\n'
    )
    records = history([0, 35, 0])
    scored = [json.loads(each.value) for each in records if each.role is Role.PREDICTIONS]
    lines = [f"{each['request_id']},{each['event_time']},{each['prediction']}" for each in scored]
    (tmp_path / "scored.csv").write_text("\n".join(["request_id,scored_at,prediction", *lines]) + "\n")
    outcomes = [each.value.decode() for each in records if each.role is Role.LABELS]
    (tmp_path / "outcomes.jsonl").write_text("\n".join(outcomes) + "\n")
    return tmp_path


WINDOW = "2026-11-23T12:05:00Z"
FILES = (
    "--predictions",
    "scored.csv",
    "--map",
    "event_time=scored_at",
    "--set",
    "model=fraud",
    "--labels=outcomes.jsonl",
)


def test_command_prints_each_alert_with_its_moment_from_files_of_any_format(folder: Path) -> None:
    done = run(folder, *FILES, "--rules", "rules.yaml")
    assert 0 == done.returncode, done.stderr
    head, firing, resolved, total = done.stdout.splitlines()
    assert head.split()[:4] == ["known_at", "status", "alert", "model"]
    assert firing.split()[:6] == ["2026-11-23T13:11:00Z", "firing", "AccuracyLow", "fraud", "everything", WINDOW]
    assert firing.split()[6:] == ["0.125", "0.9", "40", "breach"]
    assert resolved.split()[:2] == ["2026-11-23T13:16:00Z", "resolved"]
    assert "3 windows became final; alerts that fired: 1" == total


def test_command_prints_objects_for_programs(folder: Path) -> None:
    done = run(folder, *FILES, "--rules", "rules.yaml", "--windows", "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert ["window", "window", "alert", "window", "alert"] == [list(each)[1] for each in told]
    assert "AccuracyLow" == told[2]["alert"]["labels"]["alertname"]


def test_command_without_rules_or_files_says_what_is_missing(folder: Path) -> None:
    for arguments, told in ((FILES, "there are no rules"), (("--rules", "rules.yaml"), "name files by --predictions")):
        done = run(folder, *arguments)
        assert (2, True) == (done.returncode, told in done.stderr), done.stderr


def test_mistakes_in_the_files_are_told_before_anything_is_tested(folder: Path) -> None:
    (folder / "outcomes.jsonl").write_text('{"request_id": "x"}\n{"request_id": 7, "label": "ok"}\n')
    done = run(folder, *FILES, "--rules", "rules.yaml")
    assert 1 == done.returncode
    assert "nothing was tested" in done.stderr
