"""What a worker tells about its own process, under Prometheus' names: those that every exporter uses, and our own."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from agents.exposition import Kind, Metric
from agents.loop_watch import LAG_KEPT_SECONDS, LoopLag

__all__ = ["process_metrics", "resident_bytes", "taken_seconds"]

_PROCESS = psutil.Process()


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    return int(_PROCESS.memory_info().rss)


def taken_seconds() -> float:
    """Processor time that this process has taken."""
    times = _PROCESS.cpu_times()
    return float(times.user + times.system)


def process_metrics(lag: LoopLag, *, rebalances: int, now_seconds: float) -> Iterator[Metric]:
    """All of them, as they stand now.

    Args:
        lag: of the event loop.
        rebalances: that have ended.
        now_seconds: monotonic time.
    """
    yield Metric("process_resident_memory_bytes", Kind.GAUGE, "Memory of the process that is in use.", resident_bytes())
    yield Metric("process_cpu_seconds_total", Kind.COUNTER, "Processor time that the process took.", taken_seconds())
    yield Metric(
        "process_start_time_seconds", Kind.GAUGE, "When the process was started.", float(_PROCESS.create_time())
    )
    yield Metric(
        "latelabel_event_loop_lag_seconds",
        Kind.GAUGE,
        "How late the event loop came to what was due, longest of the last minute.",
        lag.longest(since_seconds=now_seconds - LAG_KEPT_SECONDS),
    )
    yield Metric(
        "latelabel_rebalances_total",
        Kind.COUNTER,
        "Times that the group dealt out its partitions anew, the worker's start included.",
        rebalances,
    )
