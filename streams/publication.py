"""What is published about one window: two or three reports for each slice, a message if one is news, and what to keep.

A function of counts, watermark and what was published last; whoever computes it gets the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import msgspec

from schemas.codec import cloud_event_headers, encode
from streams.evaluation import ReportWindow
from streams.ledger.eras import Eras, first_settled_ms, last_label_ms, settled_ms, whole_slices
from streams.ledger.parts import Role
from streams.losses import NO_LOSSES, Losses
from streams.monitored_model import MonitoredModel
from streams.past_coverage import NO_PAST, PastCoverage
from streams.ports import LastReport, OutgoingMessage
from streams.reports import Report, ReportKey, SliceCounts, revise, window_report
from streams.signals.reference import SignalReference
from streams.signals.report import signals_report
from streams.stability.service_report import stability_report
from streams.windows import window_start_ms

__all__ = ["EvaluationSettings", "Revision", "Subject", "reports_of", "revision_of"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """What the evaluator needs of the configuration.

    `models` holds the listed ones by name; others have the defaults. `interval_ms` spaces the revisions of one
    window. `lateness_ms` is how far a watermark stands behind what was read. `topic` is where reports go, `source` the
    URI reference that names this sender, `config_hash` the settings that figures depend on. `scored_from_ms` says by
    model from which windows on sums of scores are about its positive class.
    """

    models: Mapping[str, MonitoredModel]
    interval_ms: int
    lateness_ms: int
    keep_windows_ms: int
    confidence_level: float
    config_hash: str
    topic: str
    source: str
    scored_from_ms: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def model(self, name: str) -> MonitoredModel:
        """The settings of a model, listed or not."""
        return self.models.get(name) or MonitoredModel(name=name)

    def meant(self, window: ReportWindow, model: str, counts: SliceCounts) -> SliceCounts:
        """Counts without the sums of scores that were taken about another positive class."""
        if window.start_ms < self.scored_from_ms.get(model, 0):
            return dataclasses.replace(counts, sums={})
        return counts


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """A model version that is evaluated.

    `text` is its name as the ledger keeps it, `eras` say how it is and was counted, and `model` has the newest horizon.
    """

    text: str
    model: MonitoredModel
    version: str
    eras: Eras

    def model_in(self, window: ReportWindow) -> MonitoredModel:
        """The model as a window has it: it is final `label_horizon_ms` after its end."""
        return self._with_horizon(settled_ms(self.eras, window.end_ms) - window.end_ms)

    def model_labelled_in(self, window: ReportWindow) -> MonitoredModel:
        """The model as the labels of a window see it: they count until `label_horizon_ms` after its end."""
        return self._with_horizon(last_label_ms(self.eras, window.start_ms, window.end_ms) - window.end_ms)

    def reported_ms(self, watermark_ms: int, *, keep_windows_ms: int) -> int:
        """Up to when counts may be taken for reported, once everything that is due at a watermark was published.

        Counts leave by their own horizon. Where horizons change, some are needed for longer: by windows that hold the
        change, and by those that are final later than their own horizon says.
        """
        sizes_ms, base_ms = self.model.report_windows_ms, self.model.base_window_ms
        reported_ms = watermark_ms
        for era in self.eras[1:]:
            start_ms = min(window_start_ms(era.from_ms, size_ms=size_ms) for size_ms in sizes_ms)
            end_ms = max(window_start_ms(era.from_ms - 1, size_ms=size_ms) + size_ms for size_ms in sizes_ms)
            if watermark_ms < settled_ms(self.eras, end_ms):
                first_ms = first_settled_ms(self.eras, start_ms, max(end_ms, start_ms + base_ms), base_ms=base_ms)
                reported_ms = min(reported_ms, first_ms + keep_windows_ms)
        return reported_ms

    def _with_horizon(self, horizon_ms: int) -> MonitoredModel:
        if horizon_ms == self.model.label_horizon_ms:
            return self.model
        return dataclasses.replace(self.model, label_horizon_ms=horizon_ms)

    def key(
        self,
        window: ReportWindow,
        segment: Mapping[str, str],
        kind: Literal["quality", "stability", "signals"] = "quality",
    ) -> ReportKey:
        """The key of the report on one slice of a window."""
        return ReportKey(
            kind=kind,
            model=self.model.name,
            model_version=self.version,
            segment=segment,
            window_start_ms=window.start_ms,
            window_size_ms=window.size_ms,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Revision:
    """What becomes of a report: what to keep as the last one, and the message if its content is news."""

    kept: LastReport
    message: OutgoingMessage | None


class _Identity(msgspec.Struct):
    """The part of a published report that tells whether its content is news."""

    event_id: str


_read_identity = msgspec.json.Decoder(_Identity).decode


def reports_of(
    window: ReportWindow,
    slices: Iterable[tuple[Mapping[str, str], SliceCounts]],
    subject: Subject,
    *,
    watermark_ms: int,
    settings: EvaluationSettings,
    past: PastCoverage = NO_PAST,
    losses: Losses = NO_LOSSES,
    told: Collection[bytes] = (),
    reference: SignalReference | None = None,
) -> dict[bytes, Report]:
    """The content of the reports on each slice that the window has as a whole, on its quality, its stability and the
    signals that it told or has to tell, by Kafka key.

    Args:
        window: the one that all slices are of.
        slices: segment and counts; of two with the same segment the later one is taken.
        subject: whose counts they are.
        watermark_ms: the one the counts were read at.
        settings: of intervals.
        past: of the model.
        losses: what input was lost.
        told: keys of reports that have to be revised though their counts may be gone.
        reference: what signals are compared with, once it is known.
    """
    model, labelled = subject.model_in(window), subject.model_labelled_in(window)
    expected = past.expected(
        window,
        horizon_ms=labelled.label_horizon_ms,
        read_up_to_ms=watermark_ms + settings.lateness_ms,
    )
    missing = losses.missing(window, labelled)
    missing_predictions = losses.missing(window, labelled, roles=[Role.PREDICTIONS])
    whole = whole_slices(subject.eras, window.start_ms, window.end_ms)
    reports: dict[bytes, Report] = {}
    for segment, counts in slices:
        if frozenset(segment) in whole:
            key = subject.key(window, segment)
            reports[key.encode()] = window_report(
                key,
                settings.meant(window, model.name, counts),
                model,
                watermark_ms=watermark_ms,
                confidence_level=settings.confidence_level,
                config_hash=settings.config_hash,
                coverage_expected=expected,
                missing=missing,
            )
            key = subject.key(window, segment, "stability")
            reports[key.encode()] = stability_report(
                key,
                counts,
                model,
                watermark_ms=watermark_ms,
                confidence_level=settings.confidence_level,
                config_hash=settings.config_hash,
                missing=missing_predictions,
            )
            key = subject.key(window, segment, "signals")
            if counts.signals or model.signals.names or (told and key.encode() in told):
                reports[key.encode()] = signals_report(
                    key,
                    counts,
                    model,
                    watermark_ms=watermark_ms,
                    confidence_level=settings.confidence_level,
                    config_hash=settings.config_hash,
                    missing=missing_predictions,
                    reference=reference,
                )
    return reports


def revision_of(
    report: Report,
    *,
    key: bytes,
    last: LastReport | None,
    due_ms: int,
    watermark_ms: int,
    now_ms: int,
    settings: EvaluationSettings,
) -> Revision:
    """Compare a report with what was published last under its key.

    Args:
        report: content, from `reports_of`.
        key: its Kafka key.
        last: None if nothing was published yet.
        due_ms: the watermark from which the window has to be looked at again.
        watermark_ms: the one the report was made at.
        now_ms: wall clock.
        settings: topic and sender.
    """
    revised = revise(
        report,
        key=key,
        previous_revision=last.revision if last else None,
        # Of a contested report it is not known which content stands on the topic.
        previous_event_id=_read_identity(last.value).event_id if last and not last.contested else None,
        now_ms=now_ms,
    )
    if revised is None:
        assert last is not None, "only what was published before can be no news"
        return Revision(dataclasses.replace(last, due_ms=due_ms), None)
    value = encode(revised)
    headers = cloud_event_headers("report", event_id=revised["event_id"], source=settings.source, time_ms=now_ms)
    kept = LastReport(
        key=key,
        value=value,
        revision=revised["revision"],
        published_ms=now_ms,
        watermark_ms=watermark_ms,
        due_ms=due_ms,
    )
    return Revision(kept, OutgoingMessage(topic=settings.topic, key=key, value=value, headers=headers))
