"""What a model version took, under the figures of its quality and for the same windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from rich.text import Text

from agents.durations import duration_text
from agents.show.drawing import GAP, age, byte_size, column_line, share, window_time
from agents.terminal_text import cell_len, fit, printable
from schemas.resource_report import ResourceReport
from schemas.times import parse_time_ms
from streams.errors import PermanentFailure
from streams.ports import ReportStore, Shape, WindowQuery

__all__ = ["ResourceWindows", "resource_lines", "resource_screen", "resource_windows", "watched_alone"]

TARGETS_SHOWN = 5
WINDOWS_SHOWN = 10
INDENT = "  "
MOST_READ = 200
"""Reports: ten windows of twenty targets."""
_HEADS = ("Cores", "max", "Memory", "Limit", "Throttle", "Starts", "Kills", "Memory is")
_STATES = {"warming_up": "warming up", "suspected_leak": "leak?"}


class ResourceWindows(msgspec.Struct, frozen=True):
    """Reports on resources by target, newest window first, and their bytes as they were published."""

    by_target: dict[str, list[ResourceReport]]
    values: list[bytes]

    @property
    def newest_start(self) -> str:
        """The start of the newest window; empty if there is none."""
        return max((reports[0].window.start for reports in self.by_target.values()), default="")


async def resource_windows(
    store: ReportStore, model_version: bytes, *, size_seconds: int | None, starts: Sequence[str] = ()
) -> ResourceWindows:
    """The newest reports on resources of one model version.

    Args:
        size_seconds: of the windows; None for the smallest, which tells the most of what happens now.
        starts: if given, of these windows alone.
    """
    shapes = (await store.shapes([model_version]))[0]
    sizes = sorted(shape.size_seconds for shape in shapes if shape.kind == "resources")
    found = ResourceWindows({}, [])
    if not sizes:
        return found
    size = size_seconds if size_seconds in sizes else sizes[0]
    query = WindowQuery(model_version=model_version, shape=Shape("resources", size), most=MOST_READ, of_segments=True)
    keys = (await store.find([query]))[0]
    last = await store.last({model_version: keys})
    for key in keys:
        if key not in last:
            continue  # forgotten since
        report = _read(key, last[key].value)
        of_target = found.by_target.setdefault(report.segment["target"], [])
        if len(of_target) < WINDOWS_SHOWN and (not starts or report.window.start in starts):
            of_target.append(report)
            found.values.append(last[key].value)
    return ResourceWindows({target: reports for target, reports in found.by_target.items() if reports}, found.values)


def resource_lines(windows: ResourceWindows, width: int) -> Iterator[Text]:
    """A table for each target, newest windows first."""
    by_newest = sorted(windows.by_target.items(), key=lambda item: item[1][0].window.start, reverse=True)
    for target, reports in by_newest[:TARGETS_SHOWN]:
        size = duration_text(reports[0].window.size_seconds * 1000)
        yield Text(fit(f"resources of {printable(target)}, newest windows first, UTC", width).rstrip())
        rows = [_row(report) for report in reports]
        heads = (f"{size} from", *_HEADS)
        widths = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
        yield Text(column_line(heads, widths), style="bold")
        for row, report in zip(rows, reports, strict=True):
            line = Text(column_line(row, widths))
            if _is_bad(report):
                line.stylize("bold red")
            yield line
        yield from _outlook(reports[0])
    if len(by_newest) > TARGETS_SHOWN:
        yield Text(f"{len(by_newest) - TARGETS_SHOWN:,} more targets")


async def watched_alone(store: ReportStore, named: Mapping[bytes, tuple[str, str]]) -> list[Text]:
    """A line for each model version that a probe watches and that has no report on its quality.

    Args:
        named: model and version of everything that has reports, by hash.
    """
    lines = []
    for (model, version), shapes in zip(named.values(), await store.shapes(list(named)), strict=True):
        kinds = {shape.kind for shape in shapes}
        if "resources" in kinds and "quality" not in kinds:
            of_version = f", version {printable(version)}" if version else ""
            lines.append(Text(f"{printable(model)}{of_version}: watched by a probe, no prediction counted yet"))
    return lines


def resource_screen(windows: ResourceWindows, *, now_ms: int, width: int) -> list[Text]:
    """The screen of a model version without predictions."""
    newest = max((reports[0] for reports in windows.by_target.values()), key=lambda report: report.produced_at)
    version = f", version {printable(newest.model_version)}" if newest.model_version else ""
    reported = f"reported {age(now_ms - parse_time_ms(newest.produced_at))}"
    title = Text(fit(printable(newest.model) + version, width - len(GAP) - len(reported)), style="bold")
    told = Text("No report on its quality: no prediction of it has been counted.")
    return [title.append(GAP).append(reported, style="not bold"), told, Text(""), *resource_lines(windows, width)]


def _row(report: ResourceReport) -> tuple[str, ...]:
    values = {name: metric.value for name, metric in report.metrics.items()}

    def cores(name: str) -> str:
        value = values.get(name)
        return "-" if value is None else f"{value:.2f}"

    memory = values.get("working_set_bytes") or values.get("rss_bytes")
    return (
        window_time(report, with_year=False),
        cores("cpu_cores_mean"),
        cores("cpu_cores_max"),
        byte_size(memory),
        share(values.get("memory_limit_ratio")),
        share(values.get("cpu_throttled_ratio")),
        f"{values.get('restarts') or 0:.0f}",
        f"{values.get('oom_kills') or 0:.0f}",
        "-" if report.memory is None else _STATES.get(report.memory.state, report.memory.state),
    )


def _is_bad(report: ResourceReport) -> bool:
    values = {name: metric.value or 0 for name, metric in report.metrics.items()}
    return values.get("suspected_leak", 0) >= 1 or values.get("oom_kills", 0) >= 1


def _outlook(report: ResourceReport) -> Iterator[Text]:
    """How long a suspected leak leaves."""
    left = report.metrics.get("seconds_to_memory_limit")
    growth = report.metrics.get("memory_growth_bytes_per_hour")
    if report.memory is None or report.memory.state != "suspected_leak" or growth is None or growth.value is None:
        return
    text = f"{INDENT}suspected leak: {byte_size(growth.value)} an hour"
    if left is not None and None not in (left.value, left.low, left.high):
        value, low, high = (duration_text(int(each or 0) * 1000) for each in (left.value, left.low, left.high))
        text += f", full in {value} [{low}, {high}]"
    yield Text(text, style="bold red")


def _read(key: bytes, value: bytes) -> ResourceReport:
    try:
        return msgspec.json.decode(value, type=ResourceReport)
    except msgspec.DecodeError as error:
        raise PermanentFailure(
            f"the report {printable(key.decode())} cannot be read ({error}); another version of Latelabel wrote it, so"
            " show it with that one, or wait until it is revised"
        ) from error
