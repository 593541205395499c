"""What `latelabel show --system` draws, to the character."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.show.system import SystemReports, system_reports, system_screen
from agents.terminal_text import cell_len
from streams.alerting.record import MONITOR
from streams.monitored_model import MINUTE_MS
from streams.stability.resource_reports import ReportSettings
from streams.stability.system_figures import SystemLook
from streams.stability.system_reports import SystemWindows
from tests.support.publishing import FakeReports

NOON_MS = 1_795_435_200_000
NOW_MS = NOON_MS + 7 * MINUTE_MS + 5_000
SETTINGS = ReportSettings(topic="model-metrics", source="/latelabel/test", config_hash="", interval_ms=10_000)
FATES = {
    "predictions": {"read": 1_204_000, "waiting": 310_000, "matched": 893_992, "rejected": 8, "failed": 0},
    "labels": {"read": 0},
}


async def look(
    store: FakeReports,
    worker: str,
    address: str,
    *,
    minutes: Sequence[int],
    violations: tuple[str, ...] = (),
    **numbers: float,
) -> None:
    """Looks of a worker, its reports kept."""
    windows = SystemWindows(worker, address=address, program_version="0.1.0", sizes_ms=(5 * MINUTE_MS,))
    grown = {"records_taken_in": 1_500, "dead_letters": 2, "worker_cpu_seconds": 6.0, "worker_starts": 1}
    for minute in minutes:
        at_ms = NOON_MS + minute * MINUTE_MS
        windows.take(SystemLook(numbers=numbers, counters={}, fates=FATES, violations=violations), grown, now_ms=at_ms)
        for revision in list(windows.due(now_ms=at_ms, settings=SETTINGS)):
            await store.keep(MONITOR, None, [revision.kept])
            windows.tell(revision)


async def screen(store: FakeReports, *, width: int = 80) -> list[str]:
    found = await system_reports(store, size_seconds=None)
    lines = system_screen(found, now_ms=NOW_MS, interval_ms=10_000, width=width)
    assert all(cell_len(line.plain) <= width for line in lines)
    return [line.plain for line in lines]


SCREEN = """\
predictions: 1,204,000 read = 310,000 waiting, 893,992 matched, 8 rejected
labels: 0 read
every record that was read has exactly one fate
Redis uses 212 MB, 5.0% of what it may; times in UTC

worker 1 at pod-a:6066, version 0.1.0                            reported 5s ago
5m from       Read  Bad  Lag  Oldest  Loop  Memory    CPU  Rebal  Starts  State
11-23 12:05  4,500    6   40   950ms  12ms  171 MB  15.0%      -       3  open
11-23 12:00  7,500   10   40   950ms  12ms  171 MB  10.0%      -       5  final

worker 2 at pod-b:6066, version 0.1.0                    silent, reported 6m ago
"""


async def test_books_and_workers_are_one_screen() -> None:
    store = FakeReports()
    figures: dict[str, Any] = {
        "lag_offsets": 40, "oldest_uncounted_seconds": 0.95, "event_loop_lag_seconds": 0.012,
        "worker_memory_bytes": 171e6, "redis_memory_bytes": 212e6, "redis_memory_ratio": 0.05,
    }  # fmt: skip
    await look(store, "2", "pod-b:6066", minutes=[0, 1], oldest_uncounted_seconds=725.4)
    await look(store, "1", "pod-a:6066", minutes=range(8), **figures)
    shown = "\n".join(await screen(store))
    assert shown.startswith(SCREEN.rstrip()), shown
    assert shown.splitlines()[-1].split()[:6] == ["11-23", "12:00", "3,000", "4", "-", "12m5s"]


async def test_books_that_do_not_balance_are_told_instead() -> None:
    store = FakeReports()
    await look(store, "1", "pod-a:6066", minutes=[7], violations=("shard 3: the fates do not add up",))
    shown = await screen(store)
    assert ("shard 3: the fates do not add up", True) == (
        shown[2],
        not any("exactly one fate" in line for line in shown),
    )


async def test_narrow_terminal_cuts_lines_and_many_workers_are_counted() -> None:
    store = FakeReports()
    for number in range(1, 24):
        await look(store, str(number), "x" * 90, minutes=[7])
    shown = await screen(store, width=40)
    assert ("3 more workers", 20) == (shown[-1], sum(line.startswith("worker") for line in shown))
    numbers = [line.split()[1] for line in shown if line.startswith("worker")]
    assert [str(number) for number in range(1, 21)] == numbers


async def test_without_reports_there_is_nothing() -> None:
    assert SystemReports({}, []) == await system_reports(FakeReports(), size_seconds=None)
