"""The Faust application: one agent over both input topics that hands every batch on.

Faust brings the consumer's thread, rebalancing, back-pressure and supervision. Its tables, producer, web
pages, topic declarations, leader topic, folders and environment variables are all off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, cast

import faust
from faust.app.base import BootStrategy
from mode import CrashingSupervisor, get_logger

from agents.batch_transport import BatchSchema, BatchTransport, OutOfRange, Paused, StartOffsets
from agents.kafka_connection import kafka_failure
from agents.record_batch import RecordBatch
from streams.errors import PermanentFailure

__all__ = ["SESSION_TIMEOUT_SECONDS", "FaustApp", "build_faust_app"]

ENVIRONMENT_PREFIX = "_NOT_BY_ENVIRONMENT"
"""Faust lets its environment variables override arguments; none begins like this."""
SESSION_TIMEOUT_SECONDS = 15.0
"""After this long without a heartbeat a worker is taken for dead, and others take over what it read."""
SEEK_PATIENCE_SECONDS = 24 * 60 * 60.0
"""How long Faust waits for `start_offsets`; past it, it goes on without consuming and without saying so."""
BUFFERED_BATCHES = 1
"""Before the agent; beyond it a partition is not fetched."""
MAX_PARTITION_FETCH_BYTES = 1024 * 1024

TakeIn = Callable[[RecordBatch, Callable[[], None]], Awaitable[None]]
"""Takes a batch, and what to call when every shard has it."""


class _Boot(BootStrategy):
    enable_kafka_producer = False
    enable_web = False
    enable_sensors = True


class FaustApp(faust.App):
    """A Faust app that writes no files, and knows where its partitions begin."""

    BootStrategy = _Boot
    logger = get_logger("faust.latelabel")
    connection: Mapping[str, Any]
    start_offsets: StartOffsets
    paused: Paused
    out_of_range: OutOfRange
    has_joined = False
    rebalances_ended = 0

    @property
    def is_reading(self) -> bool:
        """Whether the group has told which partitions to read, if any, and is not about to tell anew."""
        return self.has_joined and not self.rebalancing

    def why_crashed(self) -> BaseException:
        """What ended the reading; a right that somebody took away is told as such."""
        if self.crash_reason is None:
            return RuntimeError("reading stopped without a reason")
        failure = kafka_failure(self.crash_reason, ",".join(self.connection["bootstrap_servers"]))
        return failure if isinstance(failure, PermanentFailure) else self.crash_reason

    def ask_consumer_thread(self) -> int:
        """Have the consumer's thread give a sign of life. Returns how many it has given so far."""
        return 0 if self._consumer is None else cast("Any", self._consumer).ask_thread()

    def on_rebalance_end(self) -> None:
        """Faust's own, counted."""
        super().on_rebalance_end()
        self.rebalances_ended += 1

    def _create_directories(self) -> None:
        """None are needed."""


def build_faust_app(
    *,
    group: str,
    client_id: str,
    connection: Mapping[str, Any],
    topics: Collection[str],
    start_offsets: StartOffsets,
    paused: Paused,
    out_of_range: OutOfRange,
    give_up: Callable[[], Awaitable[None]],
    take_in: TakeIn,
    session_timeout_seconds: float = SESSION_TIMEOUT_SECONDS,
) -> FaustApp:
    """An app that is ready to be started.

    Args:
        client_id: by which the group's members tell what kind of worker this is.
        connection: aiokafka's arguments for brokers and security.
        start_offsets: where partitions begin whenever they are assigned.
        paused: which partitions are not to be fetched at present.
        out_of_range: see `OutOfRange`.
        give_up: called when all partitions are taken away; those that come back are assigned again.
        take_in: called with every batch, in order per partition; what it raises ends the app.
    """
    app = FaustApp(
        group,
        env_prefix=ENVIRONMENT_PREFIX,
        broker="kafka://see-connection",
        broker_client_id=client_id,
        broker_session_timeout=session_timeout_seconds,
        broker_heartbeat_interval=session_timeout_seconds / 5,
        broker_rebalance_timeout=60.0,
        broker_request_timeout=SEEK_PATIENCE_SECONDS,
        broker_commit_interval=5.0,
        consumer_max_fetch_size=MAX_PARTITION_FETCH_BYTES,
        stream_buffer_maxsize=BUFFERED_BATCHES,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        web_enabled=False,
        web_tables_enabled=False,
        web_router_enabled=False,
    )
    app.connection = connection
    app.start_offsets = start_offsets
    app.paused = paused
    app.out_of_range = out_of_range
    app.transport = BatchTransport(app.conf.broker_consumer, app)

    @app.on_partitions_assigned.connect
    async def assigned(*_: Any, **__: Any) -> None:
        app.has_joined = True

    @app.on_partitions_revoked.connect
    async def revoked(*_: Any, **__: Any) -> None:
        await give_up()

    @app.agent(app.topic(*topics, schema=BatchSchema()), name="intake", supervisor_strategy=CrashingSupervisor)
    async def intake(stream: Any) -> None:
        async for event in stream.noack().events():
            await take_in(event.value, event.ack)

    return app
