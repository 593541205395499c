"""What one evaluation has found, and how far it has come: its steps hand this on to one another."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping

from streams.evaluation import ReportWindow, touched_windows
from streams.losses import NO_LOSSES, Losses
from streams.monitored_model import MonitoredModel
from streams.past_coverage import PastCoverage
from streams.ports import ChangedWindow
from streams.publication import Subject
from streams.signals.reference import SignalReference

__all__ = ["EvaluationRound"]


@dataclasses.dataclass(slots=True)
class EvaluationRound:
    """Of the model versions that are ours.

    `began_ms` is wall time: revisions are spaced from round to round, wherever in them they are published.
    `marks` are the base windows that changed, with the shards that say so; `due` the reports whose status changes, by
    window; `outdated` the reports to forget; `chosen` the windows to publish; `postponed` those whose next revision
    has to wait; `disputed` the model versions that somebody else evaluates or whose counts went back; `elsewhere` those
    of other workers.
    """

    began_ms: int
    watermark_ms: int = 0
    losses: Losses = NO_LOSSES
    subjects: dict[bytes, Subject] = dataclasses.field(default_factory=dict)
    marks: dict[ReportWindow, tuple[tuple[int, ChangedWindow], ...]] = dataclasses.field(default_factory=dict)
    due: dict[ReportWindow, set[bytes]] = dataclasses.field(default_factory=dict)
    outdated: dict[bytes, list[bytes]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    chosen: list[ReportWindow] = dataclasses.field(default_factory=list)
    past: Mapping[str, PastCoverage] = dataclasses.field(default_factory=dict)
    references: Mapping[bytes, SignalReference] = dataclasses.field(default_factory=dict)
    postponed: set[ReportWindow] = dataclasses.field(default_factory=set)
    disputed: set[bytes] = dataclasses.field(default_factory=set)
    elsewhere: list[bytes] = dataclasses.field(default_factory=list)
    published: int = 0

    def model(self, window: ReportWindow) -> MonitoredModel:
        """Whose window it is, with the label horizon that holds in it."""
        return self.subjects[window.model_version].model_in(window)

    def reported_ms(self, *, keep_windows_ms: int) -> Mapping[bytes, int]:
        """Up to when counts of each model version may be taken for reported, once everything that is due is."""
        return {
            each: subject.reported_ms(self.watermark_ms, keep_windows_ms=keep_windows_ms)
            for each, subject in self.subjects.items()
            if each not in self.disputed
        }

    def touched(self, base: ReportWindow) -> Iterator[ReportWindow]:
        return touched_windows(base.model_version, base.start_ms, self.subjects[base.model_version].model)
