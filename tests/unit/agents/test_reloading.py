"""A configuration that is read again: all of it or nothing, and whatever goes wrong, the worker goes on."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import pytest

from agents.clock import SystemClock
from agents.reloading import Reloading
from agents.settings import Settings
from agents.settings_file import ConfigurationError, Mistake
from streams.errors import PermanentFailure
from tests.support.waiting import wait_until

FASTER = dataclasses.replace(Settings(), evaluation_interval_ms=1000)


class Part:
    """A part of a worker that takes new settings, or refuses them."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.settings = Settings()
        self.refuses = refuses

    async def prepare(self, newer: Settings) -> Callable[[], None]:
        if self.refuses:
            raise PermanentFailure("rules.yaml: no such file")

        def adopt() -> None:
            self.settings = newer

        return adopt


def wrong() -> Settings:
    raise ConfigurationError([Mistake(3, "web.port", "eighty", "expected a number")], file="latelabel.yaml")


async def test_every_part_gets_what_was_read() -> None:
    parts = [Part(), Part()]
    reloading = Reloading(Settings(), lambda: FASTER, SystemClock())
    reloading.begin([part.prepare for part in parts])
    reloading.ask()
    await asyncio.to_thread(wait_until, lambda: reloading.settings == FASTER, what="the settings to be read again")
    assert [FASTER, FASTER] == [part.settings for part in parts]
    assert reloading.succeeded


async def test_no_part_gets_what_one_refuses(caplog: pytest.LogCaptureFixture) -> None:
    parts = [Part(), Part(refuses=True)]
    reloading = Reloading(Settings(), lambda: FASTER, SystemClock())
    reloading.begin([part.prepare for part in parts])
    reloading.ask()
    await asyncio.to_thread(wait_until, lambda: not reloading.succeeded, what="the settings to be refused")
    assert [Settings(), Settings()] == [part.settings for part in parts]
    assert Settings() == reloading.settings
    assert "all stays as it is: rules.yaml: no such file" in caplog.text


async def test_mistakes_leave_all_as_it_is_until_they_are_corrected(caplog: pytest.LogCaptureFixture) -> None:
    mistaken = [wrong]
    reloading = Reloading(Settings(), lambda: mistaken.pop()() if mistaken else FASTER, SystemClock())
    reloading.begin([])
    reloading.ask()
    await asyncio.to_thread(wait_until, lambda: not reloading.succeeded, what="the mistake to be found")
    assert "latelabel.yaml:3: web.port: found eighty, expected a number" in caplog.text
    reloading.ask()
    await asyncio.to_thread(wait_until, lambda: reloading.succeeded, what="the corrected file to be read")
    assert FASTER == reloading.settings


async def test_what_is_asked_for_while_the_worker_starts_is_done_then() -> None:
    part = Part()
    reloading = Reloading(Settings(), lambda: FASTER, SystemClock())
    reloading.ask()
    assert Settings() == reloading.settings
    reloading.begin([part.prepare])
    await asyncio.to_thread(wait_until, lambda: part.settings == FASTER, what="the settings to be read again")
