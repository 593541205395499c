"""Riding out outages, and knowing that one is on."""

from __future__ import annotations

import asyncio
import contextlib

from agents.outages import Outages
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
