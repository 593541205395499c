"""Commits to the group, which are advice: none may hold the consumer up, or end it."""

from __future__ import annotations

import asyncio
import gc
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupLoadInProgressError
from faust.types.tuples import TP

from agents import batch_transport

A = TP("predictions", 0)


def thread(commit: Any) -> SimpleNamespace:
    """As much of the consumer's thread as a commit needs."""
    consumer = SimpleNamespace(commit=commit)
    return SimpleNamespace(assignment=lambda: {A}, _ensure_consumer=lambda: consumer, _committing=None)


async def has_committed(thread: SimpleNamespace) -> bool:
    return await batch_transport._Thread._commit(thread, {A: 7})  # type: ignore[arg-type]


async def test_one_that_takes_too_long_is_let_go_and_its_failure_heard(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batch_transport, "COMMIT_SECONDS", 0.01)
    asked: list[Any] = []
    is_loading = asyncio.Event()

    async def request() -> None:
        await is_loading.wait()
        raise GroupLoadInProgressError

    async def commit(offsets: Any) -> None:
        asked.append(offsets)
        await asyncio.shield(asyncio.ensure_future(request()))  # as aiokafka does

    slow = thread(commit)
    assert not await has_committed(slow)
    assert not await has_committed(slow), "the first is still on its way"
    assert 1 == len(asked)
    is_loading.set()
    await asyncio.wait({slow._committing})
    assert not await has_committed(slow)
    assert 2 == len(asked)
    gc.collect()
    assert [] == [each for each in caplog.records if each.levelno >= logging.WARNING]


async def test_one_that_succeeds_names_the_offsets_wanted_next() -> None:
    asked: list[Any] = []

    async def commit(offsets: Any) -> None:
        asked.append({tuple(tp): each.offset for tp, each in offsets.items()})

    assert await has_committed(thread(commit))
    assert [{("predictions", 0): 7}] == asked
