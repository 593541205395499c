"""All partitions that this worker owns, and the writers of all shards.

Bounded in decoded bytes: beyond the limit `put` waits, the stream in front of it fills up, and fetching
stops. A task that raises ends the worker: what it held is read again by whoever comes next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence

from agents.intake_tally import IntakeTally
from agents.partition_intake import IntakePorts, PartitionIntake
from agents.record_batch import RecordBatch
from streams.errors import PermanentFailure
from streams.identity import model_hash
from streams.ledger.parts import Role, ShardState, Source

__all__ = ["Intake"]

MAX_HELD_BYTES = 8 * 1024 * 1024
"""Of record values, decompressed, waiting or being committed."""


class Intake:
    """Spreads batches over partitions, and partitions over tasks.

    Args:
        ports: see `IntakePorts`.
        prediction_partitions: how many partitions the predictions topic has; they share the models.
    """

    def __init__(self, ports: IntakePorts, *, prediction_partitions: int) -> None:
        self.partitions: dict[Source, PartitionIntake] = {}
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ports = ports
        self._prediction_partitions = prediction_partitions
        self._assigning = asyncio.Lock()
        self._tasks: dict[Source, asyncio.Task[None]] = {}
        self._held: dict[Source, int] = {}
        self._released = asyncio.Event()
        self._writer_tasks = [self._spawn(writer.run()) for writer in ports.writers]

    def owns_model(self, model: str) -> bool:
        """Whether this worker evaluates the model: it owns the model's partition of the predictions."""
        number = int.from_bytes(model_hash(model), "big") % self._prediction_partitions
        return Source(Role.PREDICTIONS, number) in self.partitions

    @property
    def tally(self) -> IntakeTally:
        """What was taken in since the start."""
        return self._ports.tally

    @property
    def held_bytes(self) -> int:
        """The size of all record values that wait or are being committed."""
        return sum(self._held.values())

    def paused(self) -> frozenset[Source]:
        """The partitions of which nothing more should be fetched at present."""
        return frozenset(source for source, partition in self.partitions.items() if partition.is_paused)

    async def assign(self, sources: Collection[Source]) -> Mapping[Source, int]:
        """Take over exactly these partitions, continuing from the ledger.

        Returns: the offset wanted next of each.

        Raises:
            TemporaryFailure: the ledger or the broker does not answer.
            PermanentFailure: the ledger and a log do not fit together.
        """
        # Faust may ask again before it has its answer, and may not wait for the first one.
        async with self._assigning:
            await self._give_up_all()
            for writer in self._ports.writers:
                # What was lost while another worker had these partitions, only that one has noticed.
                writer.forget_definitions()
            states = await self.states()
            resumed = [PartitionIntake(source, self._ports) for source in sorted(sources)]
            for partition in resumed:
                await partition.resume(states, await self._ports.bounds(partition.source))
            for partition in resumed:
                self.partitions[partition.source] = partition
                self._tasks[partition.source] = self._spawn(partition.run())
            return {partition.source: partition.position for partition in resumed}

    async def give_up(self) -> None:
        """Let all partitions go: somebody else may have them already."""
        async with self._assigning:
            await self._give_up_all()

    async def put(self, source: Source, batch: RecordBatch, acknowledge: Callable[[], None]) -> None:
        """Hand a batch to its partition; waits while too much is held already."""
        size_bytes = batch.size_bytes
        while self._held and self.held_bytes + size_bytes > MAX_HELD_BYTES:
            self._released.clear()
            # Partitions that wait for this one would never let go of what they hold.
            with self._ports.read_ahead.needing_room():
                await self._released.wait()
        partition = self.partitions.get(source)
        if partition is None:
            return  # taken away meanwhile
        self._held[source] = self._held.get(source, 0) + size_bytes

        def done(is_applied: bool) -> None:
            if self.partitions.get(source) is partition:
                self._release(source, size_bytes)
                if is_applied:
                    acknowledge()

        partition.put(batch, done)

    async def states(self) -> Sequence[ShardState]:
        """What every shard has stored.

        Raises:
            PermanentFailure: a shard belongs to no ledger any more.
        """
        states = await asyncio.gather(*map(self._ports.ledger.state, range(self._ports.ledger.shards)))
        lost = [shard for shard, state in enumerate(states) if state is None]
        if lost:
            which = ", ".join(map(str, lost))
            raise PermanentFailure(
                f"Redis has no ledger in shard {which} any more; run `latelabel init --rebuild` to count again what "
                "Kafka still has"
            )
        return [state for state in states if state is not None]

    async def stop(self) -> None:
        """Stop all tasks; what was not acknowledged will be read again."""
        await self.give_up()
        await _end(self._writer_tasks)

    async def _give_up_all(self) -> None:
        self.partitions.clear()
        self._held.clear()
        self._released.set()
        await _end(self._tasks.values())
        self._tasks.clear()

    def _release(self, source: Source, size_bytes: int) -> None:
        held = self._held.pop(source, 0) - size_bytes
        if held > 0:
            self._held[source] = held
        self._released.set()

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._notice)
        return task

    def _notice(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self.failure.done():
            self.failure.set_exception(error)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
