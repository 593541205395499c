"""An intake on the in-memory ledger, with logs in memory and a publisher that keeps what it is given."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from agents.agreed_models import AgreedModels
from agents.dead_letter_gate import GatePorts
from agents.intake import Intake
from agents.joint_packing import JointPacker
from agents.name_registry import NameLimits, NameRegistry
from agents.outages import Outages
from agents.packing import Packer, PackingSettings
from agents.partition_intake import IntakePorts, LogBounds
from agents.read_ahead import ReadAheadWatch
from agents.record_batch import Envelope, RecordBatch
from agents.shard_writer import ShardWriter
from schemas.times import format_time
from streams.dead_letter_limits import DeadLetterLimits, Stop
from streams.identity import SUM
from streams.ledger.founding import Charter
from streams.ledger.parts import Source
from streams.ledger.reference import ReferenceLedger
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel, Task
from streams.pair_sums.delay import DELAY_PREFIX
from streams.ports import Ledger, OutgoingMessage

__all__ = [
    "NOW_MS",
    "FakeClock",
    "FakePublisher",
    "FakeStops",
    "IntakeWorld",
    "Records",
    "batch_of",
    "label",
    "prediction",
]

NOW_MS = 1_795_500_000_000
SHARDS = 4
LATENESS_MS = 10 * MINUTE_MS

Records = Sequence[bytes | None]


@dataclasses.dataclass(slots=True)
class FakeClock:
    """Wall time stands still; monotonic time passes a millisecond at each look."""

    seconds: float = 0.0

    def now_ms(self) -> int:
        return NOW_MS

    def monotonic_seconds(self) -> float:
        self.seconds += 0.001
        return self.seconds


@dataclasses.dataclass(slots=True)
class FakePublisher:
    """Acknowledges everything."""

    sent: list[OutgoingMessage] = dataclasses.field(default_factory=list)

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        self.sent += messages


@dataclasses.dataclass(slots=True)
class FakeStops:
    """Stopped partitions in memory."""

    stopped: dict[Source, Stop] = dataclasses.field(default_factory=dict)
    accepted: dict[Source, int] = dataclasses.field(default_factory=dict)

    async def stops(self) -> Mapping[Source, Stop]:
        return dict(self.stopped)

    async def stop(self, source: Source, stop: Stop) -> None:
        self.stopped[source] = stop

    async def release(self, source: Source) -> None:
        self.stopped.pop(source, None)

    async def forget(self, source: Source) -> None:
        self.stopped.pop(source, None)
        self.accepted.pop(source, None)

    async def accept(self, source: Source, *, until: int) -> None:
        self.accepted[source] = until

    async def accepted_until(self, source: Source) -> int:
        return self.accepted.get(source, 0)


def prediction(request_id: str, answer: object, *, at_ms: int = NOW_MS - HOUR_MS, **fields: object) -> bytes:
    """A prediction as a producer would send it, of model `fraud` unless another is given."""
    event = {"model": "fraud", "request_id": request_id, "prediction": answer, "event_time": format_time(at_ms)}
    return json.dumps({**event, **fields}).encode()


def label(request_id: str, answer: object, *, at_ms: int = NOW_MS - HOUR_MS, **fields: object) -> bytes:
    """A label as a producer would send it."""
    event = {"request_id": request_id, "label": answer, "event_time": format_time(at_ms)}
    return json.dumps({**event, **fields}).encode()


def batch_of(
    source: Source,
    values: Iterable[bytes | None],
    *,
    base: int,
    offsets: Sequence[int] | None = None,
    end: int | None = None,
) -> RecordBatch:
    """A fetched batch that begins at `base`; dense unless `offsets` are given."""
    records = list(values)
    return RecordBatch(
        topic=str(source.role),
        partition=source.partition,
        base=base,
        next=base + len(records) if end is None else end,
        values=records,
        timestamps_ms=[NOW_MS] * len(records),
        offsets=offsets,
        envelope=lambda _: Envelope(b"key", [("trace", b"1")]),
    )


class IntakeWorld:
    """A worker's intake without Kafka: `deliver` plays the transport, seeks included.

    Args:
        logs: what each partition holds.
        dead_letters: unlimited unless given.
        wrap: puts something between the intake and the ledger, to break it.
        charter: as the worker has read it; nothing is agreed on unless it is given.
    """

    def __init__(
        self,
        logs: dict[Source, Records],
        *,
        models: Sequence[MonitoredModel] = (),
        limits: NameLimits | None = None,
        ledger: ReferenceLedger | None = None,
        dead_letters: DeadLetterLimits | None = None,
        stops: FakeStops | None = None,
        wrap: Callable[[Ledger], Ledger] = lambda ledger: ledger,
        max_read_ahead_ms: int = HOUR_MS,
        charter: Charter | None = None,
    ) -> None:
        self.logs = logs
        self.first_offsets: dict[Source, int] = {}
        self.ledger = ledger or ReferenceLedger(shards=SHARDS, label_hold_ms=5 * MINUTE_MS, keep_windows_ms=30 * DAY_MS)
        self.publisher = FakePublisher()
        self.stops = stops or FakeStops()
        self.clock = FakeClock()
        self.acknowledged: list[tuple[Source, int]] = []
        self.positions: dict[Source, int] = {}
        known = {model.name: model for model in models}
        ledger_port = wrap(self.ledger)
        outages = Outages(FakeClock())
        self.charter = charter or Charter(ledger_id="one", shards=SHARDS, starts={})
        self.agreed = AgreedModels(ledger_port, self.clock, self.charter)
        registry = NameRegistry(ledger_port, outages, limits=limits or NameLimits())
        settings = PackingSettings(
            shards=SHARDS,
            lateness_ms=LATENESS_MS,
            max_future_skew_ms=5 * MINUTE_MS,
            dead_letters="dead-letters",
            predicts_numbers=any(model.task is Task.REGRESSION for model in models),
            takes_lists=any(model.task.takes_lists for model in models),
            model=lambda name: known.get(name) or MonitoredModel(name=name),
            agreed=lambda: self.agreed.now,
        )
        self.read_ahead = ReadAheadWatch(
            ledger_port, outages, self.clock, lateness_ms=LATENESS_MS, max_ahead_ms=max_read_ahead_ms
        )
        self.ports = IntakePorts(
            ledger=ledger_port,
            writers=[ShardWriter(shard, ledger_port, registry, outages) for shard in range(SHARDS)],
            packer=JointPacker(Packer(registry, settings), gather_seconds=0.0),
            publisher=self.publisher,
            gate=GatePorts(
                limits=dead_letters or DeadLetterLimits(max_invalid_ratio=1, max_consecutive=1_000_000),
                store=self.stops,
                outages=outages,
                clock=self.clock,
            ),
            read_ahead=self.read_ahead,
            outages=outages,
            clock=self.clock,
            bounds=self.bounds,
            seek=self.seek,
            agreed=self.agreed,
        )

    async def bounds(self, source: Source) -> LogBounds:
        return LogBounds(self.first_offsets.get(source, 0), len(self.logs[source]))

    async def seek(self, source: Source, offset: int) -> None:
        self.positions[source] = offset

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Intake]:
        """An intake that owns every partition, on a ledger that exists."""
        await self.ledger.found(self.charter)
        for shard in range(SHARDS):
            await self.ledger.create(shard, ledger_id="one", sources=dict.fromkeys(self.logs, 0))
        intake = Intake(self.ports, prediction_partitions=1)
        self.positions = dict(await intake.assign(self.logs.keys()))
        try:
            yield intake
        finally:
            await intake.stop()

    async def read_all(self, intake: Intake, *, batch_records: int = 1000) -> None:
        """Deliver every log to its end in batches of that size, however often the intake seeks back."""
        for _ in range(10_000):
            for source, log in self.logs.items():
                base = self.positions[source]
                if base < len(log):
                    batch = batch_of(source, log[base : base + batch_records], base=base)
                    self.positions[source] = batch.next
                    await intake.put(source, batch, functools.partial(self.acknowledged.append, (source, batch.next)))
            await self.settle(intake)
            if all(self.positions[source] >= len(log) for source, log in self.logs.items()):
                return
        raise AssertionError("the intake keeps seeking back")

    async def settle(self, intake: Intake, *, pause_seconds: float = 0.0) -> None:
        """Return when everything that was handed in is done, or the intake has failed; looks as often as told."""
        while not all(partition.is_quiet for partition in intake.partitions.values()):
            if intake.failure.done():
                intake.failure.result()
            await asyncio.sleep(pause_seconds)

    async def cells(self) -> dict[tuple[str, ...], int]:
        """All counts by name: model version, slice, label, prediction; windows added up. Without label delays."""
        counts: dict[tuple[str, ...], int] = {}
        for shard in range(SHARDS):
            names = await self.ledger.names(shard)
            windows = await self.ledger.windows(shard)
            for (version, _), cells in zip(windows, await self.ledger.cells(shard, windows), strict=True):
                for cell, count in cells.items():
                    if cell[1] == SUM and cell[2].decode().startswith(DELAY_PREFIX):
                        continue
                    key = (names[version], *(names.get(part, part.hex()[:4]) for part in cell))
                    counts[key] = counts.get(key, 0) + count
        return counts

    async def fates(self) -> dict[str, int]:
        """All fates, over all shards, without zeros."""
        totals: dict[str, int] = {}
        for fate, count in itertools.chain.from_iterable(
            [(await self.ledger.fates(shard)).items() for shard in range(SHARDS)]
        ):
            totals[fate] = totals.get(fate, 0) + count
        return {fate: count for fate, count in totals.items() if count}
