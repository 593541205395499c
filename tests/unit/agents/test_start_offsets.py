"""Where partitions begin is asked of the ledger, for as long as it takes, and told to the reader."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from aiokafka import TopicPartition

from agents.batch_transport import _Consumer

FIRST, SECOND = TopicPartition("labels", 0), TopicPartition("labels", 1)


async def test_offsets_are_asked_for_again_when_other_partitions_are_assigned_meanwhile() -> None:
    assignments = [{FIRST}, {FIRST, SECOND}, {FIRST, SECOND}]
    asked: list[frozenset[TopicPartition]] = []
    sought: list[Mapping[TopicPartition, int]] = []

    async def start_offsets(assigned: frozenset[TopicPartition]) -> Mapping[TopicPartition, int]:
        await asyncio.sleep(0)
        asked.append(assigned)
        return dict.fromkeys(assigned, 7)

    async def seek_wait(offsets: Mapping[TopicPartition, int]) -> None:
        sought.append(offsets)

    consumer: Any = SimpleNamespace(
        app=SimpleNamespace(start_offsets=start_offsets),
        assignment=lambda: assignments.pop(0),
        _thread=SimpleNamespace(seek_wait=seek_wait),
    )
    await _Consumer.seek_to_committed(cast("_Consumer", consumer))
    assert [frozenset({FIRST}), frozenset({FIRST, SECOND})] == asked
    assert [{FIRST: 7, SECOND: 7}] == sought
