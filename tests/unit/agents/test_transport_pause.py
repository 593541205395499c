"""What the transport asks the consumer for while partitions are paused, or have no position."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import NoOffsetForPartitionError
from faust.types.tuples import TP

from agents import batch_transport

A, B = TP("predictions", 0), TP("labels", 3)


async def asked_for(*paused: TP, answer: Exception | None = None) -> Collection[TP] | None:
    """The partitions asked for in one look for records; None if nobody was asked."""
    asked: list[Collection[TP]] = []

    async def getmany(active_partitions: Collection[TP], **_: Any) -> dict[TP, Any]:
        asked.append(set(active_partitions))
        if answer is not None:
            raise answer
        return {}

    consumer = SimpleNamespace(
        flow_active=True,
        not_waiting_next_records=asyncio.Event(),
        app=SimpleNamespace(paused=lambda: frozenset(TopicPartition(*tp) for tp in paused)),
        _get_active_partitions=lambda: {A, B},
        _getmany=getmany,
    )
    records, _ = await batch_transport._Consumer._wait_next_records(consumer, timeout=0.1)  # type: ignore[arg-type]
    assert {} == records
    assert consumer.not_waiting_next_records.is_set()
    return asked[0] if asked else None


async def test_all_are_fetched_while_none_is_paused() -> None:
    assert {A, B} == await asked_for()


async def test_one_that_is_paused_is_left_out() -> None:
    assert {B} == await asked_for(A)


async def test_nothing_is_asked_for_while_all_are_paused_because_that_would_mean_all() -> None:
    assert None is await asked_for(A, B)


async def test_partitions_that_nobody_has_sought_in_yet_are_asked_for_again_and_end_nothing() -> None:
    assert {A, B} == await asked_for(answer=NoOffsetForPartitionError(A))
