"""Alerts on the screen and as JSON, and the commands that show them on a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from agents.__main__ import main
from agents.clock import SystemClock
from agents.redis_alerts import RedisAlerts
from agents.redis_connection import connect
from agents.redis_reports import RedisReports
from agents.settings import RedisSettings, load_settings
from agents.show.alerts import HOW, PHASES, WHY, alert_screen, alert_value, alerts_screen, worst_alerts_first
from deploy.servers import RedisServer
from streams.alerting.fingerprint import fingerprint
from streams.alerting.fold import Judged
from streams.alerting.life_cycle import AlertState, Notice, Phase, Reason, Transition
from streams.alerting.outcome import Grounds, Outcome
from streams.alerting.record import MONITOR, AlertRecord
from streams.alerting.rules import Series
from streams.stability.resource_reports import ReportSettings
from streams.stability.system_figures import SystemLook
from streams.stability.system_reports import SystemWindows
from tests.support.services import unique_name

NOW_MS = 1_795_442_591_000
MINUTE_MS = 60_000
SETTINGS = ReportSettings(topic="model-metrics", source="/latelabel/test", config_hash="", interval_ms=10_000)
WINDOW = Judged(
    start_ms=NOW_MS - 5 * MINUTE_MS, end_ms=NOW_MS, outcome=Outcome.BREACH, grounds=Grounds.FINAL, is_final=True,
    value=0.713, n=1432, threshold=0.8, low=0.689, high=0.736, coverage=0.94,
)  # fmt: skip


def record(model: str = "fraud", phase: Phase = Phase.FIRING, *, ago_ms: int = 720_000) -> AlertRecord:
    history = (
        Transition(NOW_MS - 2 * ago_ms, Phase.PENDING, Reason.BREACH, WINDOW),
        Transition(NOW_MS - ago_ms, phase, Reason.BREACH, WINDOW),
    )
    labels = {
        "alertname": "AccuracyLow",
        "model": model,
        "model_version": "3",
        "severity": "critical",
        "rule": "accuracy-5m",
        "country": "DE",
    }
    return AlertRecord(
        rule="r",
        group="quality",
        alert="AccuracyLow",
        labels=labels,
        series=Series(model, "3", (("country", "DE"),), 300_000),
        state=AlertState(
            phase=phase, reason=Reason.BREACH, phase_ms=NOW_MS - ago_ms, newest=WINDOW, history=history
        ),
    )  # fmt: skip


def shown(records: list[AlertRecord], *, every: list[AlertRecord] | None = None, width: int = 80) -> list[str]:
    return [line.plain for line in alerts_screen(records, every=every or records, now_ms=NOW_MS, width=width)]


def test_every_phase_reason_and_ground_has_words() -> None:
    assert set(Phase) == PHASES.keys()
    assert set(Reason) == WHY.keys()
    assert set(Grounds) == HOW.keys()


def test_list_has_two_lines_for_an_alert() -> None:
    one = record()
    assert [
        "1 firing, 2 inactive; --all lists all",
        "",
        "firing  AccuracyLow  fraud 3  country=DE".ljust(73) + "12m ago",
        "  accuracy-5m: 0.713 [0.689, 0.736] against 0.800, n 1,432; breach".ljust(72) + fingerprint(one.labels)[:8],
    ] == shown([one], every=[one, record("a", Phase.INACTIVE), record("b", Phase.INACTIVE)])


def test_what_fires_comes_first_and_the_latest_before_the_others() -> None:
    records = [
        record("old"), record("quiet", Phase.INACTIVE), record("new", ago_ms=1), record("soon", Phase.PENDING),
    ]  # fmt: skip
    assert ["new", "old", "soon", "quiet"] == [each.labels["model"] for each in worst_alerts_first(records)]


@pytest.mark.parametrize("width", [80, 100, 60])
def test_no_line_is_wider_than_the_screen_whatever_the_names(width: int) -> None:
    wide = record("模型" * 40 + "\n\x1b[31m")
    lines = [*alerts_screen([wide], every=[wide], now_ms=NOW_MS, width=width)]
    lines += alert_screen(wide, now_ms=NOW_MS, width=width)
    assert max(line.cell_len for line in lines) <= width
    assert all(line.plain.isprintable() for line in lines)


def test_one_alert_shows_its_reason_figures_labels_and_history() -> None:
    lines = [line.plain for line in alert_screen(record(), now_ms=NOW_MS, width=80)]
    assert "reason         a window breaks the rule" in lines
    assert "coverage       94.0%" in lines
    assert "judged         breach: tested with all labels that will come" in lines
    assert "country        DE" in lines
    at = lines.index("history, newest first, UTC")
    figure = "0.713 [0.689, 0.736] against 0.800, n 1,432"
    assert [
        f"11-23 13:51:11  firing   breach: {figure}",
        f"11-23 13:39:11  pending  breach: {figure}",
    ] == lines[at + 1 :]


def test_alert_without_a_window_yet_and_one_about_the_monitor_can_be_shown() -> None:
    empty = dataclasses.replace(record(), state=AlertState(), series=None)
    assert "accuracy-5m: nothing yet" in " ".join(shown([empty]))
    assert [] != alert_screen(empty, now_ms=NOW_MS, width=80)
    value = alert_value(empty)
    assert (None, "no_data", "nothing_yet", None) == tuple(
        value[name] for name in ("model", "state", "reason", "newest")
    )


def test_undefined_figure_says_why() -> None:
    window = dataclasses.replace(WINDOW, value=None, low=None, high=None, undefined="no_labelled", n=0)
    one = record()
    one = dataclasses.replace(one, state=dataclasses.replace(one.state, newest=window))
    assert "accuracy-5m: undefined (no_labelled)" in shown([one])[3]


def test_alert_that_fires_is_listed_with_the_window_that_breaks_the_rule() -> None:
    one = record()
    notice = Notice(starts_ms=NOW_MS, reason=Reason.BREACH, window=WINDOW)
    few = dataclasses.replace(WINDOW, outcome=Outcome.INSUFFICIENT, grounds=Grounds.SAMPLES, value=0.95, n=7)
    one = dataclasses.replace(one, state=dataclasses.replace(one.state, newest=few, notice=notice))
    assert "accuracy-5m: 0.713 [0.689, 0.736] against 0.800, n 1,432; breach" in shown([one])[3]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["alerts", *arguments], standalone_mode=True)
    return result.exit_code, result.output


@pytest.fixture
def stored(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> list[AlertRecord]:
    """Two alerts in Redis, one of them firing."""
    prefix = unique_name("alerts")
    records = [record(), record("calm", Phase.INACTIVE)]

    async def save() -> None:
        async with RedisAlerts.opened(RedisSettings(url=redis_server.url, prefix=prefix)) as store:
            assert await store.save(MONITOR, {"a": records[0], "b": records[1]}, expected=0, judged={})

    asyncio.run(save())
    monkeypatch.setenv("LATELABEL_REDIS__URL", redis_server.url)
    monkeypatch.setenv("LATELABEL_REDIS__PREFIX", prefix)
    return records


def test_list_leaves_out_what_is_quiet_unless_it_is_asked_for(stored: list[AlertRecord]) -> None:
    code, output = run("list")
    assert 0 == code, output
    assert output.startswith("1 firing, 1 inactive; --all lists all\n")
    assert "calm" not in output
    assert "calm" in run("list", "--all")[1]
    values = [json.loads(line) for line in run("list", "--all", "--json")[1].splitlines()]
    assert [alert_value(each) for each in stored] == values


def test_list_says_since_when_no_worker_has_looked(stored: list[AlertRecord]) -> None:
    assert "No worker has reported" not in run("list")[1]
    settings = load_settings(None, os.environ)
    now_ms = SystemClock().now_ms()

    async def report(at_ms: int) -> None:
        windows = SystemWindows("1", address="pod-a:6066", program_version="0.1.0", sizes_ms=(5 * MINUTE_MS,))
        windows.take(SystemLook(numbers={}, counters={}, fates={}, violations=()), {}, now_ms=at_ms)
        redis = settings.redis
        async with contextlib.aclosing(connect(redis.url)) as client:
            store = RedisReports(client, address=redis.address, prefix=redis.prefix)
            await store.keep(MONITOR, None, [each.kept for each in windows.due(now_ms=at_ms, settings=SETTINGS)])

    asyncio.run(report(now_ms - 17 * MINUTE_MS))
    assert "\n\nNo worker has reported for 17m: this is how alerts stood then.\n" in run("list")[1]
    asyncio.run(report(now_ms))
    assert "No worker has reported" not in run("list")[1]


def test_list_of_one_model_says_if_there_is_none(stored: list[AlertRecord]) -> None:
    assert "calm" in run("list", "--all", "--model", "calm")[1]
    assert 'No rule has looked at model "nobody" yet' in run("list", "--model", "nobody")[1]


def test_alert_is_found_by_name_and_by_the_beginning_of_its_fingerprint(stored: list[AlertRecord]) -> None:
    handle = fingerprint(stored[0].labels)
    code, output = run("show", handle[:8])
    assert 0 == code, output
    assert handle in output
    assert 2 == run("show", "AccuracyLow")[1].count("history, newest first")
    assert [handle] == [json.loads(line)["fingerprint"] for line in run("show", handle, "--json")[1].splitlines()]
    code, output = run("show", "nothing")
    assert 1 == code
    assert 'there is no alert "nothing"; `latelabel alerts list --all` lists all' in output


def test_without_rules_the_list_says_what_to_do(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # away from the example of a configuration
    monkeypatch.setenv("LATELABEL_REDIS__URL", redis_server.url)
    monkeypatch.setenv("LATELABEL_REDIS__PREFIX", unique_name("empty"))
    assert "There are no rules: name files with alert rules under `rule_files`" in run("list")[1]
