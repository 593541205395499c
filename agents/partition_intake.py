"""One partition's way into the ledger: batches in order, each into every shard, continued from what is stored.

    position   the offset wanted next: the lowest that any shard has stored
    stored     per shard; above `position` where a shard is further, whose rows are then skipped

        batch   base .......... position ................ next
        shard 0                 stored ─────────────────> next
        shard 1                          stored ────────> next     further: another worker, or a lost reply
        shard 2      stored                                        below: Redis lost its tail, so rewind

The gate says how far a batch may be taken in; the rest is read again when it opens. Dead letters are acknowledged
before any shard is told to step over them. A batch is done when every shard has stored its end. Nothing here
survives a restart, and nothing needs to: `resume` asks the shards.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from agents.agreed_models import AgreedModels
from agents.dead_letter_gate import DeadLetterGate, GatePorts
from agents.intake_tally import IntakeTally
from agents.joint_packing import JointPacker
from agents.outages import Outages
from agents.packing import PackedRun, Stretch
from agents.read_ahead import ASK_AGAIN_SECONDS, ReadAheadWatch
from agents.record_batch import RecordBatch
from agents.shard_writer import MAX_ROWS, ShardWriter
from streams.errors import PermanentFailure
from streams.ledger.parts import NEVER_MS, Definitions, Outcome, Part, PartReply, ShardState, Source
from streams.ports import Clock, Ledger, Publisher

__all__ = ["IntakePorts", "LogBounds", "PartitionIntake"]

_log = logging.getLogger(__name__)

SEEK_AGAIN_SECONDS = 1.0
"""Batches that were fetched before a seek still come; one more seek is due when the wanted one does not."""


@dataclasses.dataclass(frozen=True, slots=True)
class LogBounds:
    """The first offset that a partition still has, and the one that the next record will get."""

    start: int
    end: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IntakePorts:
    """What every partition's intake works with. `seek` moves the reader of a partition to an offset; by what `agreed`
    has now the packer packs."""

    ledger: Ledger
    writers: Sequence[ShardWriter]
    packer: JointPacker
    publisher: Publisher
    gate: GatePorts
    read_ahead: ReadAheadWatch
    outages: Outages
    clock: Clock
    bounds: Callable[[Source], Awaitable[LogBounds]]
    seek: Callable[[Source, int], Awaitable[None]]
    agreed: AgreedModels
    tally: IntakeTally = dataclasses.field(default_factory=IntakeTally)


@dataclasses.dataclass(frozen=True, slots=True)
class _Arrived:
    batch: RecordBatch
    done: Callable[[bool], None]


@dataclasses.dataclass(frozen=True, slots=True)
class _Raise:
    watermarks_ms: Mapping[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class _Check:
    pass


class PartitionIntake:
    """The intake of one partition while this worker owns it. `run` is its task."""

    def __init__(self, source: Source, ports: IntakePorts) -> None:
        self.source = source
        self.position = 0
        self.stored: list[int] = []
        self.is_working = False
        self.gate = DeadLetterGate(source, ports.gate)
        self._high_ms = NEVER_MS
        self._ports = ports
        self._shards = range(ports.ledger.shards)
        self._unregistered: set[int] = set()
        self._lost_until: dict[int, int] = {}
        self._is_beyond_log = False
        self._queue: asyncio.Queue[_Arrived | _Raise | _Check] = asyncio.Queue()
        self._sought_seconds = float("-inf")

    @property
    def is_stopped(self) -> bool:
        """Whether an operator has to decide before anything more is counted."""
        return self.gate.is_shut or self._is_beyond_log

    @property
    def is_paused(self) -> bool:
        """Whether it makes no sense to fetch more at present: it would wait, or be thrown away."""
        return self.is_stopped or self.source in self._ports.read_ahead.ahead

    @property
    def is_quiet(self) -> bool:
        """Whether everything that was handed in is done."""
        return not self.is_working and self._queue.empty()

    def put(self, batch: RecordBatch, done: Callable[[bool], None]) -> None:
        """Hand in a batch; `done` is told whether every shard has it, or whether it will be read again."""
        self._queue.put_nowait(_Arrived(batch, done))

    def raise_watermarks(self, watermarks_ms: Mapping[int, int]) -> None:
        """Lift what shards trust, because the partition is idle."""
        self._queue.put_nowait(_Raise(watermarks_ms))

    def check(self) -> None:
        """Compare with what the shards have stored, and continue from there."""
        self._queue.put_nowait(_Check())

    async def run(self) -> None:
        """Work for ever."""
        while True:
            work = await self._queue.get()
            self.is_working = True
            try:
                if isinstance(work, _Arrived):
                    await self._take_in(work.batch)
                    work.done(self.position >= work.batch.next)
                elif isinstance(work, _Raise):
                    await self._raise(work.watermarks_ms)
                else:
                    await self._rewind()
            finally:
                self.is_working = False

    async def resume(self, states: Sequence[ShardState], bounds: LogBounds) -> None:
        """Continue from what the shards have stored, once the log holds it."""
        known = [state.sources.get(self.source) for state in states]
        # A partition that was added later is counted from the start of its log.
        self.stored = [bounds.start if at is None else at.next for at in known]
        self._unregistered = {shard for shard in self._shards if known[shard] is None}
        self._notice_replaced_log(bounds)
        self._lost_until = {shard: bounds.start for shard in self._shards if self.stored[shard] < bounds.start}
        if self._lost_until:
            _log.warning(
                "Kafka no longer has %d offsets of %s that were not counted; their windows will be incomplete",
                bounds.start - min(self.stored),
                self.source,
                extra={"source": self.source, "offset": min(self.stored)},
            )
        for shard in self._shards:
            if shard in self._unregistered:
                await self._submit_bare(shard, end=bounds.start)
            elif shard in self._lost_until and bounds.start == bounds.end:
                await self._step_over_lost(shard, next_ms=self._ports.clock.now_ms())
        self.position = min(max(min(self.stored), bounds.start), bounds.end)
        behind = [at for at in known if at is not None and at.next <= self.position]
        self._high_ms = max((at.high_ms for at in behind), default=NEVER_MS)

    @property
    def is_beyond_log(self) -> bool:
        """Whether more is counted than the log holds; nothing is read then until an operator accepts it."""
        return self._is_beyond_log

    def _notice_replaced_log(self, bounds: LogBounds) -> None:
        is_beyond = max(self.stored) > bounds.end
        if is_beyond and not self._is_beyond_log:
            _log.error(
                "Stopped %s: it ends at offset %d, but %d are counted already. Its topic was created anew or lost "
                "records; `latelabel init --accept %s` continues from its start",
                self.source,
                bounds.end,
                max(self.stored),
                self.source,
                extra={"source": self.source, "offset": bounds.end},
            )
        self._is_beyond_log = is_beyond

    async def _take_in(self, batch: RecordBatch) -> None:
        if batch.next <= self.position or self.is_stopped:
            return
        if batch.base > self.position:
            await self._seek()
            return
        if not await self._wait_for_others():
            await self._seek(at_once=True)
            return
        packed = await self._ports.packer.pack(
            Stretch(batch, self.source, self.position, self._high_ms), now_ms=self._ports.clock.now_ms()
        )
        end = await self.gate.admit(packed.run)
        if end < packed.run.next:
            packed = packed.until(end)
        await self._publish_dead_letters(packed)
        self._ports.tally.records[self.source.role] += len(packed.run.offsets) + len(packed.run.rejected)
        if await self._apply_everywhere(packed):
            self.position = end
            self._high_ms = packed.run.high_at(end)
        else:
            await self._rewind()

    async def _wait_for_others(self) -> bool:
        """Wait while this partition is ahead of the lowest one. False if what it holds has to make room meanwhile."""
        while await self._ports.read_ahead.is_ahead(self.source, self._high_ms):
            if self._ports.read_ahead.needs_room:
                return False
            await asyncio.sleep(ASK_AGAIN_SECONDS)
        return True

    async def _publish_dead_letters(self, packed: PackedRun) -> None:
        letters = [
            message for offset, message in packed.dead_letters if self.stored[offset % len(self._shards)] <= offset
        ]
        if letters:
            await self._ports.outages.ride_out(lambda: self._ports.publisher.send(letters))
            self._ports.tally.dead_letters[self.source.role] += len(letters)

    async def _apply_everywhere(self, packed: PackedRun) -> bool:
        """Bring every shard to the end of a run, as `_apply` does one."""
        # Where batches are small a task for each shard costs more than its part. What is not done without, for whatever
        # reason, is left to tasks.
        parts = {shard: part for shard in self._shards if (part := self._only_part(shard, packed)) is not None}
        handed_in = (self._ports.writers[shard].submit(part, packed.definitions) for shard, part in parts.items())
        for (shard, part), reply in zip(parts.items(), await asyncio.gather(*handed_in), strict=True):
            await self._note(shard, part, reply)
        left = [shard for shard in self._shards if self.stored[shard] < packed.run.next or shard in self._lost_until]
        return all(await asyncio.gather(*(self._apply(shard, packed) for shard in left)))

    def _only_part(self, shard: int, packed: PackedRun) -> Part | None:
        """What brings a shard to the end of a run, if nothing else has to be done or asked before and one part does."""
        start = self.stored[shard]
        if not packed.run.base <= start < packed.run.next or packed.edition != self._ports.agreed.now.edition:
            return None
        if shard in self._lost_until or shard in self._unregistered:
            return None
        first, *others = packed.parts(shard, start=start, max_rows=MAX_ROWS)
        return None if others else first

    async def _apply(self, shard: int, packed: PackedRun) -> bool:
        """Bring a shard to the end of a run. False if it wants something from before the run, or packed anew."""
        if shard in self._lost_until and not await self._step_over_lost(shard, next_ms=packed.next_ms):
            return False
        while (start := self.stored[shard]) < packed.run.next:
            if start < packed.run.base or packed.edition != self._ports.agreed.now.edition:
                return False
            register = shard in self._unregistered
            for part in packed.parts(shard, start=start, max_rows=MAX_ROWS, register=register):
                if not await self._submit(shard, part, packed.definitions):
                    break
        return True

    async def _submit(self, shard: int, part: Part, definitions: Definitions) -> bool:
        """Commit a part; whatever the outcome, `stored` is right afterwards."""
        return await self._note(shard, part, await self._ports.writers[shard].submit(part, definitions))

    async def _note(self, shard: int, part: Part, reply: PartReply) -> bool:
        """Know what the shard has stored, now that it has answered. False if it is not the part."""
        if reply.outcome is Outcome.APPLIED:
            self.stored[shard] = part.next
            self._unregistered.discard(shard)
            return True
        if reply.outcome is Outcome.OUTDATED:
            await self._ports.outages.ride_out(self._ports.agreed.renew)
            return False
        self._ports.writers[shard].forget_definitions()
        if reply.stored is None:
            bounds = await self._ports.outages.ride_out(lambda: self._ports.bounds(self.source))
            self._unregistered.add(shard)
            self.stored[shard] = bounds.start
        else:
            self._unregistered.discard(shard)
            if reply.stored < part.expected:
                lost = part.expected - reply.stored
                _log.warning(
                    "Shard %d lost the last %d offsets of %s; reading them again",
                    shard,
                    lost,
                    self.source,
                    extra={"shard": shard, "source": self.source, "offset": reply.stored},
                )
            self.stored[shard] = reply.stored
        return False

    async def _submit_bare(self, shard: int, *, end: int, raise_to_ms: int = NEVER_MS) -> bool:
        part = Part(
            source=self.source,
            expected=self.stored[shard],
            next=end,
            raise_to_ms=raise_to_ms,
            register=shard in self._unregistered,
        )
        return await self._submit(shard, part, Definitions())

    async def _step_over_lost(self, shard: int, *, next_ms: int) -> bool:
        """Have the shard go on at the start of the log, and remember what it may have missed before `next_ms`."""
        start = self._lost_until.pop(shard)
        gap = Part(source=self.source, expected=self.stored[shard], next=start, gap_to_ms=next_ms)
        is_noted = await self._submit(shard, gap, Definitions())
        self._ports.tally.gaps[self.source.role] += is_noted
        return is_noted

    async def _raise(self, watermarks_ms: Mapping[int, int]) -> None:
        raised = await asyncio.gather(
            *(
                self._submit_bare(shard, end=self.stored[shard], raise_to_ms=watermark_ms)
                for shard, watermark_ms in watermarks_ms.items()
            )
        )
        if not all(raised):
            await self._rewind()

    async def _rewind(self) -> None:
        states = [await self._ports.outages.ride_out(lambda shard=shard: self._state(shard)) for shard in self._shards]  # type: ignore[misc]
        await self.resume(states, await self._ports.outages.ride_out(lambda: self._ports.bounds(self.source)))
        await self._seek(at_once=True)

    async def _state(self, shard: int) -> ShardState:
        state = await self._ports.ledger.state(shard)
        if state is None:
            raise PermanentFailure(f"shard {shard} has lost its ledger; run `latelabel init --rebuild --shard {shard}`")
        return state

    async def _seek(self, *, at_once: bool = False) -> None:
        now = self._ports.clock.monotonic_seconds()
        if not at_once and now - self._sought_seconds < SEEK_AGAIN_SECONDS:
            return
        self._sought_seconds = now
        with contextlib.suppress(asyncio.TimeoutError):
            await self._ports.seek(self.source, self.position)
