"""Riding out outages, and knowing that one is on."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from agents.outages import LOG_SECONDS, Outages
from streams.errors import TemporaryFailure
from tests.support.intake_world import FakeClock


async def test_an_outage_is_on_until_the_call_succeeds() -> None:
    outages = Outages(FakeClock())
    seen: list[bool] = []

    async def call() -> str:
        seen.append(outages.is_on)
        if len(seen) < 3:
            raise TemporaryFailure("away")
        return "here"

    assert "here" == await outages.ride_out(call)
    assert [False, True, True] == seen
    assert not outages.is_on


async def test_a_call_that_is_given_up_is_no_outage_any_more() -> None:
    outages = Outages(FakeClock())
    failed = asyncio.Event()

    async def call() -> None:
        failed.set()
        raise TemporaryFailure("away")

    riding = asyncio.ensure_future(outages.ride_out(call))
    await failed.wait()
    assert outages.is_on
    riding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await riding
    assert not outages.is_on


async def test_what_comes_and_goes_is_told_once_in_a_while_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    outages = Outages(clock)

    async def outage() -> None:
        answers = iter([TemporaryFailure("away"), None])

        async def call() -> None:
            clock.seconds += 0.5
            if (answer := next(answers)) is not None:
                raise answer

        await outages.ride_out(call)

    for _ in range(4):
        await outage()
    assert ["away; keeping the work and trying again, for 0 s now", "Back after 0.5 s"] == caplog.messages
    clock.seconds += LOG_SECONDS
    await outage()
    assert 4 == len(caplog.messages)


async def test_it_is_over_only_when_the_last_call_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outages = Outages(FakeClock())
    is_away = {"first": True, "last": True}

    async def call(name: str) -> None:
        if is_away[name]:
            raise TemporaryFailure(f"{name} is away")

    riding = {name: asyncio.ensure_future(outages.ride_out(lambda name=name: call(name))) for name in is_away}  # type: ignore[misc]
    await asyncio.sleep(0)
    for name, task in riding.items():
        assert 1 == len(caplog.messages)
        is_away[name] = False
        await task
    assert ["Back after 0.0 s"] == caplog.messages[1:]
