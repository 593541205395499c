"""The page and the API on a port of their own, over any stores."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable

from agents.clock import SystemClock
from agents.dead_letter_log import Letter
from agents.dead_letter_peek import Peek
from agents.settings import WebSettings
from agents.web.alerts import AlertReader
from agents.web.documents import PartitionPage, SystemMetric, SystemPage, SystemValue
from agents.web.fleet import FleetReader
from agents.web.reading import ReportReader
from agents.web.records import RecordReader
from agents.web.remembered import RememberedReports
from agents.web.server import serve_web
from agents.web.site import mount_site
from streams.errors import LatelabelError
from streams.explanation.kept import KeptExplanations, kept_explanation
from streams.monitored_model import HOUR_MS
from streams.ports import AlertStore, Clock, ReportStore
from tests.support.page_world import SHOWN_AT_MS
from tests.support.publishing import FakeClock

__all__ = ["ANY_PORT", "SYSTEM", "FakeLetters", "kept_ones", "serve_page", "some_records"]

REFERENCES = {"fraud": {"accuracy": 0.94}}
ANY_PORT = WebSettings(port=0)
SYSTEM = SystemPage(
    version="0.1.0",
    config_hash="c0ffee",
    unready=None,
    partitions=(
        PartitionPage(
            topic="predictions", partition=0, counted_to=70, end=90, lag=20, watermark="2026-11-24T11:50:00Z"
        ),
    ),
    fates={"predictions": {"read": 70, "matched": 60, "waiting": 10}},
    metrics=(SystemMetric("latelabel_outage", "1 while away.", (SystemValue({}, 0.0),)),),
)


async def the_system() -> SystemPage:
    """A system that does well."""
    return SYSTEM


@dataclasses.dataclass
class FakeFeed:
    """Explanations that are there already."""

    kept: KeptExplanations
    trouble: str | None = None


@dataclasses.dataclass
class FakeLetters:
    """Dead letters that are there already; `failure` is raised instead."""

    letters: list[Letter] = dataclasses.field(default_factory=list)
    failure: LatelabelError | None = None
    topic: str = "dead-letters"

    async def newest(self) -> Peek:
        if self.failure is not None:
            raise self.failure
        return Peek(self.letters, len(self.letters))

    async def letter(self, partition: int, offset: int) -> Letter | None:
        found = [letter for letter in self.letters if (letter.partition, letter.offset) == (partition, offset)]
        return found[0] if found else None


def kept_ones(values: Iterable[bytes]) -> KeptExplanations:
    """Explanations as they stand on their topic."""
    kept = KeptExplanations(lambda _: HOUR_MS)
    for value in values:
        explanation = kept_explanation(value)
        assert explanation is not None
        kept.add(explanation)
    return kept


def some_records(
    kept: KeptExplanations | None = None,
    *,
    letters: FakeLetters | None = None,
    explained: Collection[str] = (),
    trouble: str | None = None,
    are_shown: bool = True,
) -> RecordReader:
    """Explanations and dead letters; none of what is not given."""
    feed = FakeFeed(kept or kept_ones(()), trouble)
    return RecordReader(feed, letters or FakeLetters(), explained=explained, are_shown=are_shown)


@contextlib.asynccontextmanager
async def serve_page(
    reports: ReportStore,
    alerts: AlertStore,
    *,
    settings: WebSettings = ANY_PORT,
    shown_at: Clock | None = None,
    system: Callable[[], Awaitable[SystemPage]] = the_system,
    records: RecordReader | None = None,
) -> AsyncIterator[int]:
    """Serve until the block is left; returns the port. `shown_at` is the time that ages are told by."""
    clock = SystemClock()
    remembered = RememberedReports(reports, clock)
    alert_reader = AlertReader(alerts)
    fleet = FleetReader(
        remembered,
        alert_reader,
        shown_at or FakeClock(SHOWN_AT_MS),
        confidence_level=0.95,
        references=lambda: REFERENCES,
        topics={"predictions": "predictions", "labels": "labels"},
    )
    reader = ReportReader(remembered, confidence_level=0.95, references=lambda: REFERENCES)
    mount = functools.partial(
        mount_site,
        fleet=fleet,
        reader=reader,
        alerts=alert_reader,
        store=remembered,
        system=system,
        records=records or some_records(),
        clock=clock,
    )
    async with serve_web(settings, clock, unready=lambda: None, metrics=lambda: (), mount=mount) as port:
        yield port
