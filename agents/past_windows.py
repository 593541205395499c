"""The past of each model that is evaluated, read from the ledger once for each base window that becomes final."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Hashable, Iterable, Mapping

from agents.window_counts import WindowCounts
from streams.evaluation import ReportWindow
from streams.losses import Losses
from streams.past_coverage import NO_PAST, PastCoverage, past_windows
from streams.publication import Subject

__all__ = ["PastWindows"]


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    """What the past windows of one model version had, the newest first, and their total while `losses` are all that was
    lost."""

    windows: Mapping[ReportWindow, PastCoverage]
    losses: Losses
    total: PastCoverage


class PastWindows:
    """Remembers what past windows had: nothing changes them any more, unless a shard goes back."""

    def __init__(self, counts: WindowCounts) -> None:
        self._counts = counts
        self._known: dict[bytes, _Known] = {}

    def forget(self, model_version: bytes) -> None:
        """Read a model version anew."""
        self._known.pop(model_version, None)

    def forget_all(self) -> None:
        """Read everything anew."""
        self._known.clear()

    async def read(
        self,
        subjects: Mapping[bytes, Subject],
        wanted: Iterable[str],
        *,
        watermark_ms: int,
        losses: Losses,
        stamps: Mapping[ReportWindow, Hashable],
    ) -> Mapping[str, PastCoverage]:
        """The past of the models of these names, over their versions among `subjects`. Windows that may lack input
        tell nothing. `stamps` tells base windows that are marked as changed."""
        past = dict.fromkeys(wanted, NO_PAST)
        for model_version, subject in subjects.items():
            if subject.model.name in past:
                windows = past_windows(model_version, subject.model, subject.eras, watermark_ms=watermark_ms)
                newest = list(itertools.islice(windows, 1))
                known = self._known.get(model_version)
                if known is None or known.losses != losses or list(itertools.islice(known.windows, 1)) != newest:
                    known = await self._read([*newest, *windows], subject, known, losses, stamps)
                    self._known[model_version] = known
                past[subject.model.name] += known.total
        return past

    async def _read(
        self,
        windows: Iterable[ReportWindow],
        subject: Subject,
        known: _Known | None,
        losses: Losses,
        stamps: Mapping[ReportWindow, Hashable],
    ) -> _Known:
        found = {window: known.windows.get(window) if known else None for window in windows}
        await self._counts.read({window: subject.model for window, had in found.items() if had is None}, stamps)
        past = {window: self._of(window, subject) if had is None else had for window, had in found.items()}
        self._counts.trim()
        told = (
            had
            for window, had in past.items()
            if had.predictions and not losses.missing(window, subject.model_labelled_in(window))
        )
        return _Known(past, losses, sum(told, start=NO_PAST))

    def _of(self, window: ReportWindow, subject: Subject) -> PastCoverage:
        for segment, counts in self._counts.slices(window, subject.model):
            if not segment:
                return PastCoverage(counts.predictions, counts.delays)
        return NO_PAST
