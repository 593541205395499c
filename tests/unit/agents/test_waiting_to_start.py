"""What a worker says and does while services are away at its start."""

from __future__ import annotations

import logging

import pytest

from agents.waiting_to_start import wait_for
from streams.errors import TemporaryFailure
from tests.support.publishing import FakeClock


async def test_each_service_that_is_away_is_named_but_not_at_every_try(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.waiting_to_start.ASK_AGAIN_SECONDS", 0.0)
    clock = FakeClock(wall_ms=0)
    away = ["Redis at r:1 does not answer"] * 4 + ["Kafka at k:2 does not answer"] * 4

    async def start() -> None:
        clock.wall_ms += 2_000
        if away:
            raise TemporaryFailure(away.pop(0))

    with caplog.at_level(logging.WARNING):
        await wait_for(start, clock=clock, until_seconds=60)
    redis, kafka = (f"Waiting to start: {service} does not answer" for service in ("Redis at r:1", "Kafka at k:2"))
    assert [redis, redis, kafka] == caplog.messages


async def test_what_stays_away_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.waiting_to_start.ASK_AGAIN_SECONDS", 0.0)
    clock = FakeClock(wall_ms=0)

    async def start() -> None:
        clock.wall_ms += 2_000
        raise TemporaryFailure("Redis does not answer")

    with pytest.raises(TemporaryFailure, match="Redis"):
        await wait_for(start, clock=clock, until_seconds=5)
    assert 6_000 == clock.wall_ms
