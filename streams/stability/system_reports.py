"""The windows of one worker's looks at itself, and the reports that are due of them.

    look ──► open window of each size ──► report when it is due ──► final once the window is over, then forgotten

A window is what its last report says and what came since, so a worker that is started again goes on from there: what it
had seen after its last report is lost with it, and nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from schemas.codec import cloud_event_headers, encode
from schemas.system_report import SystemReport
from schemas.times import format_time, parse_time_ms
from schemas.window_report import Window, event_id, report_key
from streams.ports import NEVER_DUE_MS, LastReport, OutgoingMessage
from streams.stability.resource_reports import AGE_SHARE, ReportSettings
from streams.stability.system_figures import SystemLook, figures_after
from streams.windows import window_start_ms

__all__ = ["SystemRevision", "SystemWindows", "read_system_report"]

read_system_report = msgspec.json.Decoder(SystemReport).decode
"""The report in a record's value."""

Place = tuple[int, int]
"""Size and start of a window, milliseconds."""


class SystemRevision(msgspec.Struct, frozen=True):
    """A report to publish and, once it is acknowledged, to keep."""

    place: Place
    report: SystemReport
    message: OutgoingMessage
    kept: LastReport


class SystemWindows:
    """Those of one worker that are not final yet.

    Args:
        worker: its number.
        address: where it answers.
        program_version: what runs there.
        sizes_ms: of the windows.
        last: its newest reports, to go on from.
    """

    def __init__(
        self,
        worker: str,
        *,
        address: str,
        program_version: str,
        sizes_ms: Sequence[int],
        last: Sequence[SystemReport] = (),
    ) -> None:
        self.worker = worker
        self._address = address
        self._program_version = program_version
        self._sizes_ms = sizes_ms
        self._open = {_place(report): report for report in last if report.status == "open"}
        self._published_ms = {_place(report): parse_time_ms(report.produced_at) for report in last}
        self._closed_ms = {
            size_ms: max(
                (sum(_place(each)) for each in last if _place(each)[0] == size_ms and each.status == "final"), default=0
            )
            for size_ms in sizes_ms
        }

    def take(self, look: SystemLook, grown: Mapping[str, float], *, now_ms: int) -> None:
        """Count one look.

        Args:
            look: as things stand.
            grown: by how much its counters have grown since the look before.
            now_ms: wall clock.
        """
        for size_ms in self._sizes_ms:
            place = (size_ms, window_start_ms(now_ms, size_ms=size_ms))
            # A clock that was set back finds a window that is final already.
            if place[1] < self._closed_ms[size_ms]:
                continue
            before = self._open.get(place) or self._empty(place)
            metrics, undefined = figures_after(before.metrics, look.numbers, grown)
            self._open[place] = msgspec.structs.replace(
                before,
                samples=before.samples + 1,
                address=self._address,
                program_version=self._program_version,
                fates=look.fates,
                violations=look.violations,
                metrics=metrics,
                undefined=undefined,
            )

    def due(self, *, now_ms: int, settings: ReportSettings) -> Iterator[SystemRevision]:
        """The reports that are news, and due; in order of their windows."""
        for place, content in sorted(self._open.items(), key=lambda item: item[0]):
            is_final = now_ms >= sum(place)
            published_ms = self._published_ms.get(place)
            spacing_ms = max(settings.interval_ms, AGE_SHARE * max(0, now_ms - place[1]))
            if is_final or published_ms is None or now_ms - published_ms >= spacing_ms:
                revision = _revision(place, content, is_final=is_final, now_ms=now_ms, settings=settings)
                if revision is not None:
                    yield revision

    def tell(self, revision: SystemRevision) -> None:
        """Note that a report is published and kept."""
        size_ms, start_ms = revision.place
        self._published_ms[revision.place] = revision.kept.published_ms
        if revision.report.status == "open":
            self._open[revision.place] = revision.report
            return
        self._open.pop(revision.place, None)
        self._published_ms.pop(revision.place, None)
        self._closed_ms[size_ms] = max(self._closed_ms.get(size_ms, 0), start_ms + size_ms)

    def _empty(self, place: Place) -> SystemReport:
        size_ms, start_ms = place
        return SystemReport(
            segment={"worker": self.worker},
            window=Window.of(start_ms, size_ms),
            status="open",
            revision=0,
            event_id="",
            samples=0,
            address=self._address,
            program_version=self._program_version,
            fates={},
            violations=(),
            metrics={},
            undefined={},
            config_hash="",
            produced_at="",
        )


def _place(report: SystemReport) -> Place:
    return report.window.size_seconds * 1000, parse_time_ms(report.window.start)


def _revision(
    place: Place, content: SystemReport, *, is_final: bool, now_ms: int, settings: ReportSettings
) -> SystemRevision | None:
    size_ms, start_ms = place
    key = report_key(
        kind="system",
        model="",
        model_version="",
        segment=content.segment,
        window_seconds=size_ms // 1000,
        window_start_ms=start_ms,
    )
    content = msgspec.structs.replace(content, status="final" if is_final else "open", config_hash=settings.config_hash)
    identity = event_id(key, msgspec.to_builtins(content))
    if identity == content.event_id:
        return None
    number = max(content.revision + 1, now_ms)
    report = msgspec.structs.replace(content, revision=number, event_id=identity, produced_at=format_time(now_ms))
    value = encode(report)
    headers = cloud_event_headers("report", event_id=identity, source=settings.source, time_ms=now_ms)
    return SystemRevision(
        place=place,
        report=report,
        message=OutgoingMessage(topic=settings.topic, key=key, value=value, headers=headers),
        kept=LastReport(
            key=key,
            value=value,
            revision=number,
            published_ms=now_ms,
            watermark_ms=start_ms,
            due_ms=NEVER_DUE_MS,
        ),
    )
