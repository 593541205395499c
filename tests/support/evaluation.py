"""A small world around an evaluator: a ledger in memory that is fed record by record, and fakes for the rest."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from agents.evaluator import Evaluator
from schemas.signals_report import SignalsReport
from schemas.stability_report import StabilityReport
from schemas.window_report import WindowReport
from streams.identity import (
    class_hash,
    model_version_hash,
    model_version_name,
    registry_group,
    request_key,
    segment_hash,
    segment_name,
    shard_of,
    signal_hash,
)
from streams.ledger.parts import (
    Definitions,
    LabelRow,
    NameList,
    Part,
    PredictionRow,
    Role,
    Source,
    pack_labels,
    pack_predictions,
)
from streams.ledger.reference import ReferenceLedger
from streams.ledger.terms import Terms
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel, Task
from streams.ports import Ledger, OutgoingMessage, Publisher, ReportStore
from streams.publication import EvaluationSettings
from tests.support.ledger_writer import packed_signals
from tests.support.publishing import FakeClock, FakePublisher, FakeReports

__all__ = ["CLASSES", "FRAUD", "NOON_MS", "EvaluatedWorld", "quality_reports"]

NOON_MS = 1_795_435_200_000
"""2026-11-23T12:00:00Z"""
CLASSES = ("fraud", "ok")
FRAUD = MonitoredModel(
    name="fraud",
    task=Task.BINARY,
    positive_class="fraud",
    report_windows_ms=(5 * MINUTE_MS, HOUR_MS, DAY_MS),
    base_window_ms=5 * MINUTE_MS,
    label_horizon_ms=2 * HOUR_MS,
    segments=("country",),
)
Struct = TypeVar("Struct")
_SOURCES = (Source(Role.PREDICTIONS, 0), Source(Role.LABELS, 0))


def quality_reports(messages: Iterable[OutgoingMessage]) -> list[WindowReport]:
    """Those among published reports that are about quality."""
    return _reports(messages, "quality", WindowReport)


def _reports(messages: Iterable[OutgoingMessage], kind: str, struct: type[Struct]) -> list[Struct]:
    of_kind = f'["{kind}",'.encode()
    return [
        msgspec.json.decode(message.value or b"", type=struct)
        for message in messages
        if (message.key or b"").startswith(of_kind)
    ]


@dataclasses.dataclass
class EvaluatedWorld:
    """Models of version "3", a ledger of `shards` shards, and what the evaluators published.

    `other` stands in for the ledger in memory.
    """

    models: tuple[MonitoredModel, ...] = (FRAUD,)
    shards: int = 2
    keep_windows_ms: int = 30 * DAY_MS
    publisher: FakePublisher = dataclasses.field(default_factory=FakePublisher)
    store: FakeReports = dataclasses.field(default_factory=FakeReports)
    clock: FakeClock = dataclasses.field(default_factory=lambda: FakeClock(NOON_MS))
    other: Ledger | None = None

    def __post_init__(self) -> None:
        self.ledger = ReferenceLedger(shards=self.shards, label_hold_ms=HOUR_MS, keep_windows_ms=self.keep_windows_ms)
        self._port: Ledger = self.other or self.ledger
        self._offsets = {(shard, source): 0 for shard in range(self.shards) for source in _SOURCES}
        self._ids = map(str, itertools.count())
        self._signal_names: set[str] = set()

    async def start(self) -> EvaluatedWorld:
        """Create the ledger."""
        for shard in range(self.shards):
            await self._port.create(shard, ledger_id="ledger", sources=dict.fromkeys(_SOURCES, 0))
        return self

    def settings(self) -> EvaluationSettings:
        """As the evaluators get them; revisions are ten seconds apart."""
        return EvaluationSettings(
            models={model.name: model for model in self.models},
            interval_ms=10_000,
            lateness_ms=0,
            keep_windows_ms=self.keep_windows_ms,
            confidence_level=0.95,
            config_hash="config",
            topic="model-metrics",
            source="/latelabel/test",
        )

    def evaluator(
        self,
        *,
        owns: Callable[[str], bool] = lambda _: True,
        publisher: Publisher | None = None,
        store: ReportStore | None = None,
        ledger: Ledger | None = None,
    ) -> Evaluator:
        """One more worker's evaluator on the same ledger and store."""
        return Evaluator(
            ledger or self._port,
            store or self.store,
            publisher or self.publisher,
            self.settings(),
            self.clock,
            owns,
        )

    async def predict(
        self,
        predicted: str,
        *,
        at_ms: int,
        country: str | None = None,
        model: MonitoredModel = FRAUD,
        failed: bool = False,
        request_id: str | None = None,
        latency: bytes = b"",
        signals: Mapping[str, float] | None = None,
    ) -> str:
        """One prediction, with a word of `streams.stability.latency_words`; returns its request id."""
        request_id = request_id or next(self._ids)
        slices = (segment_hash({"country": country}),) if country else ()
        terms = Terms.of(model, "3").hash
        row = PredictionRow(request_key(request_id), terms, at_ms, at_ms, class_hash(predicted), failed, slices)
        rows = pack_predictions([row], words=1)
        told = packed_signals(signals or {})
        self._signal_names.update(signals or {})
        part = Part(source=_SOURCES[0], expected=0, next=1, words=1, rows=rows, latencies=latency, signals=told)
        await self._commit(request_id, part, country=country)
        return request_id

    async def label(self, request_id: str, label: str, *, at_ms: int) -> None:
        """One label for every model."""
        row = LabelRow(request_key(request_id), at_ms, at_ms, class_hash(label))
        await self._commit(request_id, Part(source=_SOURCES[1], expected=0, next=1, rows=pack_labels([row])))

    async def advance(self, watermark_ms: int) -> None:
        """Raise the watermark of every source in every shard."""
        for (shard, source), offset in self._offsets.items():
            part = Part(source=source, expected=offset, next=offset, raise_to_ms=watermark_ms)
            await self._port.commit(shard, [part], Definitions(), forget_limit=1000)

    async def lose(self, role: Role, *, lost: int, to_ms: int, shard: int | None = None) -> None:
        """The log of a topic now begins `lost` records further, with one of that time; told to one shard or to all."""
        source = Source(role, 0)
        for each in range(self.shards) if shard is None else (shard,):
            expected = self._offsets[each, source]
            part = Part(source=source, expected=expected, next=expected + lost, gap_to_ms=to_ms)
            await self._port.commit(each, [part], Definitions(), forget_limit=1000)
            self._offsets[each, source] = expected + lost

    def reports(self) -> list[WindowReport]:
        """All that was published about quality, in order."""
        return quality_reports(self.publisher.sent)

    def stability_reports(self) -> list[StabilityReport]:
        """All that was published about stability, in order."""
        return _reports(self.publisher.sent, "stability", StabilityReport)

    def signals_reports(self) -> list[SignalsReport]:
        """All that was published about signals, in order."""
        return _reports(self.publisher.sent, "signals", SignalsReport)

    def newest(self, *, size_ms: int = 5 * MINUTE_MS, segment: Mapping[str, str] | None = None) -> WindowReport:
        """What a reader of the topic ends at, who keeps the highest revision: of the first window of a size."""
        found = [
            report
            for report in self.reports()
            if report.window.size_seconds * 1000 == size_ms and report.segment == (segment or {})
        ]
        first = min(report.window.start for report in found)
        # Of equal revisions the later one counts, as on the topic.
        return max((each for each in reversed(found) if each.window.start == first), key=lambda each: each.revision)

    async def _commit(self, request_id: str, record: Part, *, country: str | None = None) -> None:
        """One record of a source, wherever that stands."""
        home = shard_of(request_key(request_id), shards=self.shards)
        for shard in range(self.shards):
            expected = self._offsets[shard, record.source]
            content = record if shard == home else Part(source=record.source, expected=0, next=0)
            part = dataclasses.replace(content, expected=expected, next=expected + 1)
            reply = await self._port.commit(shard, [part], self._definitions(country), forget_limit=1000)
            assert reply.parts[0].stored == expected + 1
            self._offsets[shard, record.source] = expected + 1

    def _definitions(self, country: str | None) -> Definitions:
        names = {class_hash(name): name for name in CLASSES}
        names |= {signal_hash(name): name for name in self._signal_names}
        if country is not None:
            names[segment_hash({"country": country})] = segment_name({"country": country})
        names |= {model_version_hash(m.name, "3"): model_version_name(m.name, "3") for m in self.models}
        terms = [Terms.of(model, "3") for model in self.models]
        classes = NameList(tuple(map(class_hash, CLASSES)))
        return Definitions(
            names=names,
            terms={each.hash: each.pack() for each in terms},
            name_lists={registry_group("classes", model.name): classes for model in self.models},
        )
