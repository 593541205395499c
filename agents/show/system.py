"""The monitor itself on one screen: whether the books balance, and how each worker does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from rich.text import Text

from agents.durations import duration_text
from agents.show.drawing import GAP, age, byte_size, column_line, share, window_time
from agents.terminal_text import cell_len, fit, printable
from schemas.system_report import SystemReport
from schemas.times import parse_time_ms
from streams.alerting.record import MONITOR
from streams.ports import ReportStore, Shape, WindowQuery
from streams.stability.system_reports import read_system_report

__all__ = ["SystemReports", "no_workers_screen", "silent_for_ms", "system_reports", "system_screen"]

WORKERS_SHOWN = 20
WINDOWS_SHOWN = 6
MOST_READ = WORKERS_SHOWN * WINDOWS_SHOWN
SILENT_MS = 60_000
"""Since the last look, if that was not due later: a worker looks every ten seconds."""
INDENT = "  "
_HEADS = ("Read", "Bad", "Lag", "Oldest", "Loop", "Memory", "CPU", "Rebal", "Starts", "State")


class SystemReports(msgspec.Struct, frozen=True):
    """Reports of each worker, newest window first, and their bytes as they were published."""

    by_worker: dict[str, list[SystemReport]]
    values: list[bytes]


async def system_reports(store: ReportStore, *, size_seconds: int | None) -> SystemReports:
    """The newest reports of all workers.

    Args:
        size_seconds: of the windows; None for the smallest there are.
    """
    (shapes,) = await store.shapes([MONITOR])
    sizes = sorted(shape.size_seconds for shape in shapes if shape.kind == "system")
    if not sizes:
        return SystemReports({}, [])
    shape = Shape("system", size_seconds or sizes[0])
    (keys,) = await store.find([WindowQuery(model_version=MONITOR, shape=shape, most=MOST_READ, of_segments=True)])
    last = await store.last({MONITOR: keys})
    found = SystemReports({}, [])
    for key in keys:
        if key in last:  # not forgotten since
            report = read_system_report(last[key].value)
            of_worker = found.by_worker.setdefault(report.segment["worker"], [])
            if len(of_worker) < WINDOWS_SHOWN:
                of_worker.append(report)
                found.values.append(last[key].value)
    return found


def silent_for_ms(reports: SystemReports, *, now_ms: int, interval_ms: int) -> int | None:
    """How long no worker has reported on itself; None if one may be alive, or if none ever has.

    Args:
        reports: of all workers.
        now_ms: Unix milliseconds.
        interval_ms: that reports are spaced by.
    """
    produced = [parse_time_ms(each[0].produced_at) for each in reports.by_worker.values()]
    age_ms = now_ms - max(produced, default=now_ms)
    return age_ms if age_ms > _silent_after_ms(interval_ms) else None


def _silent_after_ms(interval_ms: int) -> int:
    return max(SILENT_MS, 3 * interval_ms)


def no_workers_screen() -> list[Text]:
    """What to do when no worker has reported on itself."""
    return [
        Text("No worker has reported on itself yet. Run `latelabel worker`; it does so within seconds."),
        Text("`latelabel doctor` checks what a worker needs."),
    ]


def system_screen(reports: SystemReports, *, now_ms: int, interval_ms: int, width: int) -> list[Text]:
    """The screen, line by line.

    Args:
        reports: of one worker at least.
        now_ms: to tell how old reports are.
        interval_ms: that reports are spaced by.
        width: cells of a line.
    """
    newest = max((each[0] for each in reports.by_worker.values()), key=lambda report: report.produced_at)
    lines = [*_books(newest, width), Text("")]
    by_number = sorted(reports.by_worker.items(), key=lambda item: (len(item[0]), item[0]))
    for worker, of_worker in by_number[:WORKERS_SHOWN]:
        lines += [*_worker(worker, of_worker, now_ms, _silent_after_ms(interval_ms), width), Text("")]
    if len(by_number) > WORKERS_SHOWN:
        lines.append(Text(f"{len(by_number) - WORKERS_SHOWN:,} more workers"))
    return lines if lines[-1].plain else lines[:-1]


def _books(newest: SystemReport, width: int) -> Iterator[Text]:
    """What became of all records, and how full Redis is."""
    for topic, counts in newest.fates.items():
        fates = {name: count for name, count in counts.items() if name != "read"}
        told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in fates.items() if count)
        head = f"{printable(topic)}: {counts.get('read', 0):,} read"
        yield Text(fit(f"{head} = {told}" if told else head, width).rstrip())
    if newest.violations:
        for violation in newest.violations:
            yield Text(fit(printable(violation), width).rstrip(), style="bold red")
    else:
        yield Text(fit("every record that was read has exactly one fate", width).rstrip(), style="green")
    used, ratio = (newest.metrics[name].value for name in ("redis_memory_bytes", "redis_memory_ratio"))
    if used is not None:
        yield Text(fit(f"Redis uses {byte_size(used)}, {share(ratio)} of what it may; times in UTC", width).rstrip())


def _worker(worker: str, reports: Sequence[SystemReport], now_ms: int, silent_ms: int, width: int) -> Iterator[Text]:
    newest = reports[0]
    ago_ms = now_ms - parse_time_ms(newest.produced_at)
    told = f"reported {age(ago_ms)}" if ago_ms <= silent_ms else f"silent, reported {age(ago_ms)}"
    name = f"worker {printable(worker)} at {printable(newest.address)}, version {printable(newest.program_version)}"
    title = Text(fit(name, max(0, width - len(GAP) - len(told))), style="bold")
    yield title.append(GAP).append(told, style="not bold" if ago_ms <= silent_ms else "bold magenta")
    rows = [_row(report) for report in reports]
    heads = (f"{duration_text(newest.window.size_seconds * 1000)} from", *_HEADS)
    widths = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    yield Text(fit(column_line(heads, widths), width).rstrip(), style="bold")
    for row in rows:
        yield Text(fit(column_line(row, widths), width).rstrip())


def _row(report: SystemReport) -> tuple[str, ...]:
    values = {name: metric.value for name, metric in report.metrics.items()}

    def count(name: str) -> str:
        value = values.get(name)
        return "-" if value is None else f"{value:,.0f}"

    def seconds(name: str) -> str:
        value = values.get(name)
        if value is None:
            return "-"
        return duration_text(round(value) * 1000 if value >= 1 else round(value * 1000))

    took = values.get("worker_cpu_seconds")
    cores = None if took is None else took / _seconds_seen(report)
    return (
        window_time(report, with_year=False),
        count("records_taken_in"),
        count("dead_letters"),
        count("lag_offsets"),
        seconds("oldest_uncounted_seconds"),
        seconds("event_loop_lag_seconds"),
        byte_size(values.get("worker_memory_bytes")),
        share(cores),
        count("rebalances"),
        count("worker_starts"),
        report.status,
    )


def _seconds_seen(report: SystemReport) -> float:
    """Of the window, as much as had passed when the report was made."""
    passed_ms = parse_time_ms(report.produced_at) - parse_time_ms(report.window.start)
    return min(max(passed_ms / 1000, 1.0), report.window.size_seconds)
