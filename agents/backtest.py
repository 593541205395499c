"""What alerts there would have been: files of predictions and labels through the worker's own parts, in memory.

    files ── in the order of event time ──> packer ──> reference ledger ──> evaluator ──> alert evaluator
                                       a clock that is event time itself

Every record is read at its own time, so a label is known when it was given, and not before. Watermarks follow the clock
by `allowed_lateness`, as those of topics that are read to their ends do. Nothing is said twice, and silence, which is
about wall time, is not judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator, Sequence

from agents.alert_evaluator import AlertEvaluator
from agents.evaluator import Evaluator
from agents.file_replay.records import Record
from agents.memory_stores import MemoryAlerts, MemoryReports
from agents.model_table import ModelTable
from agents.name_registry import NameLimits, NameRegistry
from agents.outages import Outages
from agents.packing import Packer, PackingSettings, Stretch
from agents.record_batch import Envelope, RecordBatch
from agents.settings import Settings, config_hash
from agents.shard_writer import MAX_ROWS, ShardWriter
from schemas.alert import Alert, read_alert
from streams.alerting.observation import JudgedReport, read_report
from streams.alerting.publication import AlertSettings
from streams.alerting.rules import AlertRule
from streams.ledger.parts import Definitions, Part, Role, Source
from streams.ledger.reference import ReferenceLedger
from streams.monitored_model import DAY_MS, Task
from streams.ports import OutgoingMessage
from streams.publication import EvaluationSettings

__all__ = ["Backtest", "step_of"]

STEPS_A_WINDOW = 5
"""Looks in the time of the smallest window: how finely the moment is told at which something was known."""
FORGET_LIMIT = 1_000_000
NOTHING_AGAIN_MS = 100 * 365 * DAY_MS
"""Between two records about an alert that did not change."""
_SOURCES = {role: Source(role, 0) for role in Role}


def step_of(settings: Settings) -> int:
    """Milliseconds of event time between two looks."""
    models = settings.models or settings.every_model
    smallest_ms = min(size_ms for model in models for size_ms in model.report_windows_ms)
    return max(settings.evaluation_interval_ms, smallest_ms // STEPS_A_WINDOW)


@dataclasses.dataclass(slots=True)
class _EventClock:
    """Event time in place of the wall's."""

    at_ms: int = 0

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_seconds(self) -> float:
        return self.at_ms / 1000


@dataclasses.dataclass(slots=True)
class _Collector:
    """Keeps what would be published."""

    sent: list[OutgoingMessage] = dataclasses.field(default_factory=list)

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        self.sent += messages

    def taken(self) -> list[OutgoingMessage]:
        """What was sent since this was last asked."""
        taken, self.sent = self.sent, []
        return taken


class Backtest:
    """One run.

    Args:
        settings: models, windows, lateness and confidence.
        rules: to be judged by.
        step_ms: event time between two looks.
    """

    def __init__(self, settings: Settings, rules: Sequence[AlertRule], *, step_ms: int) -> None:
        self._settings = settings
        self._step_ms = step_ms
        self._clock = _EventClock()
        self._ledger = ReferenceLedger(
            shards=1, label_hold_ms=settings.label_hold_ms, keep_windows_ms=settings.keep_windows_ms
        )
        self._reports = MemoryReports()
        self._published, self._said = _Collector(), _Collector()
        evaluation = _evaluation(settings, step_ms)
        self._evaluator = Evaluator(
            self._ledger, self._reports, self._published, evaluation, self._clock, lambda _: True
        )
        self._alerts = AlertEvaluator(
            MemoryAlerts(self._reports),
            self._reports,
            self._said,
            rules,
            AlertSettings(topic="alerts", source="/latelabel/backtest", address="", interval_ms=NOTHING_AGAIN_MS),
            evaluation,
            self._clock,
            lambda model: model != "",
            is_blind=lambda: True,
        )
        self._offsets = dict.fromkeys(_SOURCES.values(), 0)
        self._highs_ms = dict.fromkeys(_SOURCES.values(), 0)

    async def run(self, records: Iterator[Record]) -> AsyncIterator[tuple[int, JudgedReport | Alert]]:
        """Read records in order of their times; yields reports and alerts with the moment at which they were known."""
        await self._ledger.create(0, ledger_id="backtest", sources=dict.fromkeys(_SOURCES.values(), 0))
        async with self._writing() as (packer, writer):
            for at_ms, due in self._looks(records):
                self._clock.at_ms = at_ms
                for role, source in _SOURCES.items():
                    values = [record.value for record in due if record.role is role]
                    await self._commit(packer, writer, source, values)
                await self._raise_watermarks(writer, at_ms - self._settings.allowed_lateness_ms)
                await self._evaluator.evaluate()
                await self._alerts.evaluate()
                for message in self._published.taken():
                    yield at_ms, read_report(message.value or b"")
                for message in self._said.taken():
                    yield at_ms, read_alert(message.value)

    def _looks(self, records: Iterator[Record]) -> Iterator[tuple[int, list[Record]]]:
        """Moments at which something came or is due, with what came until then, until every window is final.

        They lie on the grid of steps, so that whoever reads the same records looks at the same moments.
        """
        pending = next(records, None)
        at_ms = last_ms = 0
        while True:
            due_ms = self._reports.next_due_ms
            wanted_ms = [] if due_ms is None else [due_ms + self._settings.allowed_lateness_ms]
            wanted_ms += [] if pending is None else [pending.time_ms]
            if not wanted_ms or (pending is None and min(wanted_ms) > self._all_final_ms(last_ms)):
                return
            at_ms = max(at_ms + self._step_ms, -(-min(wanted_ms) // self._step_ms) * self._step_ms)
            portion: list[Record] = []
            while pending is not None and pending.time_ms <= at_ms:
                portion.append(pending)
                last_ms = pending.time_ms
                pending = next(records, None)
            yield at_ms, portion

    def _all_final_ms(self, last_ms: int) -> int:
        """When every window is final, if the last record is of that time."""
        settings = self._settings
        largest_ms = max(size_ms for model in settings.every_model for size_ms in model.report_windows_ms)
        return last_ms + largest_ms + settings.largest_horizon_ms + settings.allowed_lateness_ms

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[tuple[Packer, ShardWriter]]:
        settings, outages = self._settings, Outages(self._clock)
        limits = NameLimits(**dataclasses.asdict(settings.limits))
        registry = NameRegistry(self._ledger, outages, limits=limits)
        packing = PackingSettings(
            shards=1,
            lateness_ms=settings.allowed_lateness_ms,
            max_future_skew_ms=settings.max_future_skew_ms,
            dead_letters="",
            predicts_numbers=any(model.task is Task.REGRESSION for model in settings.models),
            takes_lists=settings.takes_lists,
            model=ModelTable(settings),
        )
        writer = ShardWriter(0, self._ledger, registry, outages)
        task = asyncio.create_task(writer.run())
        try:
            yield Packer(registry, packing), writer
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _commit(self, packer: Packer, writer: ShardWriter, source: Source, values: Sequence[bytes]) -> None:
        if not values:
            return
        start = self._offsets[source]
        batch = RecordBatch(
            topic=source.role,
            partition=source.partition,
            base=start,
            next=start + len(values),
            values=values,
            timestamps_ms=[self._clock.at_ms] * len(values),
            offsets=None,
            envelope=lambda _: Envelope(None, ()),
        )
        stretch = Stretch(batch, source, start, self._highs_ms[source])
        (run,) = await packer.pack([stretch], now_ms=self._clock.at_ms)
        for part in run.parts(0, start=start, max_rows=MAX_ROWS):
            await writer.submit(part, run.definitions)
            self._highs_ms[source] = max(self._highs_ms[source], part.high_ms)
        self._offsets[source] = batch.next

    async def _raise_watermarks(self, writer: ShardWriter, watermark_ms: int) -> None:
        for source, offset in self._offsets.items():
            part = Part(source=source, expected=offset, next=offset, raise_to_ms=max(watermark_ms, 0))
            await writer.submit(part, Definitions())
        await self._ledger.forget(0, limit=FORGET_LIMIT)


def _evaluation(settings: Settings, step_ms: int) -> EvaluationSettings:
    return EvaluationSettings(
        models={model.name: model for model in settings.models},
        interval_ms=step_ms,
        lateness_ms=settings.allowed_lateness_ms,
        keep_windows_ms=settings.keep_windows_ms,
        confidence_level=settings.confidence_level,
        config_hash=config_hash(settings),
        topic="metrics",
        source="/latelabel/backtest",
    )
