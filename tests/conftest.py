"""Fixtures for every test: the real Kafka and Redis, and an environment without settings of the developer.

Both servers are started by the session that needs them, on free ports and in folders of their own. A program
that is missing is an error with the remedy, never a skipped test. Tests that break a server start their own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator

import hypothesis
import pytest
from redis import Redis

from deploy.servers import KafkaServer, RedisServer
from tests.support.order import by_length
from tests.support.turns import turn

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("latelabel", deadline=None)
hypothesis.settings.load_profile("latelabel")

# Started in the background by some shells, this process ignores SIGINT, and all its children would too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A broker that lives for minutes pays more for the best code of the JVM than it wins by it.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

UNMEASURED = ("tests/property/", "tests/system/")
"""They run again and again what tests of single parts have run: to note every line that they pass would take more than
half of their time, and would tell nothing of what no other test has run."""

# Programs for environments of their own.
collect_ignore = ["bench/peers"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes run tests, begin with what takes long; chance orders the rest."""
    for item in items:
        if item.nodeid.startswith(UNMEASURED):
            item.add_marker("no_cover")
    if "PYTEST_XDIST_WORKER" in os.environ:
        items[:] = by_length(items, ordinary_seconds=float(config.getini("timeout")))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test marked `alone` or `calm` wait until others have left, before its time-out begins."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    # Each process has a folder of its own within the one of the run.
    folder = item.config._tmp_path_factory.getbasetemp().parent  # type: ignore[attr-defined]
    alone, calm = (item.get_closest_marker(name) is not None for name in ("alone", "calm"))
    with turn(folder, "none" if alone else "calm" if calm else "any"):
        return (yield)


@pytest.fixture(autouse=True)
def _no_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LATELABEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """One broker for the session. Topics and groups stay, so name them with `unique_name`."""
    with KafkaServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for the session, with whatever the tests before left in it."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def fresh_redis(redis_server: RedisServer) -> RedisServer:
    """The session's Redis without keys and without loaded scripts."""
    with Redis.from_url(redis_server.unix_url) as client:
        client.flushall()
        client.script_flush()
    return redis_server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what passing tests have measured, seeds among it: the lines that they indent by four spaces."""
    said = {
        report.nodeid: [line for line in report.capstdout.splitlines() if line.startswith("    ")]
        for report in terminalreporter.getreports("passed")
    }
    if any(said.values()):
        terminalreporter.section("measured")
    for test, lines in said.items():
        for line in (test, *lines) if lines else ():
            terminalreporter.write_line(line)
