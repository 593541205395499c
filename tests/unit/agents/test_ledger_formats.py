"""A ledger of an older format is brought up to ours, one of a newer format is not touched."""

from __future__ import annotations

import dataclasses

import pytest

from agents.ledger_start import MIGRATIONS, open_ledger, rebuild_ledger, rebuild_shard
from agents.partition_intake import LogBounds
from streams.errors import PermanentFailure
from streams.ledger.founding import FORMAT
from streams.ledger.parts import Role, Source
from streams.ledger.reference import ReferenceLedger
from streams.ports import Ledger
from tests.support.group_logs import StillLog

PARTITION = Source(Role.PREDICTIONS, 0)


LOG = StillLog({PARTITION: LogBounds(0, 0)}, is_committed=True)


@pytest.fixture
async def ledger() -> Ledger:
    ledger = ReferenceLedger(shards=2, label_hold_ms=0, keep_windows_ms=0)
    await rebuild_ledger(ledger, LOG)
    return ledger


async def written_format(ledger: Ledger) -> int:
    charter = await ledger.charter()
    assert charter is not None
    return charter.format


async def write_format(ledger: Ledger, format_: int) -> None:
    charter = await ledger.charter()
    assert charter is not None
    assert await ledger.amend_charter(charter, dataclasses.replace(charter, format=format_))


async def test_a_new_ledger_has_our_format(ledger: Ledger) -> None:
    assert await written_format(ledger) == FORMAT


async def test_every_step_from_an_older_format_is_taken_in_order_and_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    async def first(ledger: Ledger) -> None:
        steps.append(await written_format(ledger))

    async def second(_: Ledger) -> None:
        steps.append(1)

    monkeypatch.setattr("agents.ledger_start.FORMAT", 2)
    monkeypatch.setattr("streams.ledger.founding.FORMAT", 2)
    monkeypatch.setitem(MIGRATIONS, 0, first)
    monkeypatch.setitem(MIGRATIONS, 1, second)
    await write_format(ledger, 0)
    for _ in range(2):
        await open_ledger(ledger, LOG)
    assert [0, 1] == steps
    assert 2 == await written_format(ledger)


async def test_a_migration_that_was_cut_is_done_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut(_: Ledger) -> None:
        raise ConnectionError

    await write_format(ledger, 0)
    with monkeypatch.context() as patched:
        patched.setitem(MIGRATIONS, 0, cut)
        with pytest.raises(ConnectionError):
            await open_ledger(ledger, LOG)
    assert 0 == await written_format(ledger)
    await open_ledger(ledger, LOG)
    assert await written_format(ledger) == FORMAT


async def test_a_newer_format_is_neither_opened_nor_rebuilt(ledger: Ledger) -> None:
    await write_format(ledger, FORMAT + 1)
    for touch in (open_ledger(ledger, LOG), rebuild_ledger(ledger, LOG), rebuild_shard(ledger, 0)):
        with pytest.raises(PermanentFailure, match=f"format {FORMAT + 1}"):
            await touch
    assert await ledger.state(0) is not None
