"""What was lost before it could be read, and which windows it may have belonged to.

A gap knows the event times that its records may have had, not the records. A lost prediction belongs to the window
of its own time; a lost label to the window of a prediction made up to the horizon before it, or up to the skew after:

    predictions                      from ======= to
    labels         from - horizon ---from ======= to--- to + skew
                        |<------------ incomplete ----------->|
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection

from schemas.times import format_time
from streams.evaluation import ReportWindow
from streams.ledger.parts import NEVER_MS, Gap, Role, Source
from streams.monitored_model import MonitoredModel

__all__ = ["NO_LOSSES", "Losses", "may_touch"]


def may_touch(gap: Gap, window: ReportWindow, model: MonitoredModel) -> bool:
    """Say whether something that a gap lost could have changed a window of the model."""
    from_ms, to_ms = _span(gap)
    if gap.source.role is Role.LABELS:
        from_ms, to_ms = from_ms - model.label_horizon_ms, to_ms + model.allowed_skew_ms
    return from_ms < window.end_ms and window.start_ms <= to_ms


@dataclasses.dataclass(frozen=True, slots=True)
class Losses:
    """The gaps of every shard.

    Shards step over the same hole each by itself, from where it has come and with the offsets it lacks, so their
    gaps overlap and are told as one.
    """

    by_shard: tuple[tuple[Gap, ...], ...] = ()

    def unlike(self, other: Losses) -> frozenset[Gap]:
        """The gaps that only one of the two has."""
        return self._gaps() ^ other._gaps()

    def missing(
        self, window: ReportWindow, model: MonitoredModel, *, roles: Collection[Role] = tuple(Role)
    ) -> tuple[str, ...]:
        """Tell what may be missing in a window: one phrase for each partition, nothing if it is complete.

        Args:
            roles: the topics that matter.
        """
        lost: collections.Counter[Source] = collections.Counter()
        spans: dict[Source, tuple[int, int]] = {}
        for gaps in self.by_shard:
            here: collections.Counter[Source] = collections.Counter()
            for gap in gaps:
                if gap.source.role in roles and may_touch(gap, window, model):
                    here[gap.source] += gap.lost
                    times_ms = (*_span(gap), *spans.get(gap.source, ()))
                    spans[gap.source] = (min(times_ms), max(times_ms))
            lost |= here
        return tuple(_phrase(source, lost[source], *spans[source]) for source in sorted(spans))

    def _gaps(self) -> frozenset[Gap]:
        return frozenset(gap for gaps in self.by_shard for gap in gaps)


NO_LOSSES = Losses()


def _span(gap: Gap) -> tuple[int, int]:
    # Where an idle partition was raised, the next record may be older than what was trusted before the gap.
    return min(gap.from_ms, gap.to_ms), max(gap.from_ms, gap.to_ms)


def _phrase(source: Source, lost: int, from_ms: int, to_ms: int) -> str:
    records = f"up to {lost} records" if lost else "records"
    if from_ms == NEVER_MS:
        return f"{records} of {source}, up to {format_time(to_ms)}"
    return f"{records} of {source}, from {format_time(from_ms)} to {format_time(to_ms)}"
