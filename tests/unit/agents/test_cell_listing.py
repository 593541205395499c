"""Listings of counts: what is refused rather than listed in part."""

from __future__ import annotations

import asyncio

import pytest

from agents.cell_listing import list_cells, list_totals
from agents.ledger_start import rebuild_shard
from streams.errors import PermanentFailure
from streams.ledger.founding import Charter
from streams.ledger.parts import Role
from streams.ledger.reference import ReferenceLedger


def test_ledger_of_another_number_of_shards_is_not_listed_in_part() -> None:
    async def ask() -> None:
        ledger = ReferenceLedger(shards=2, label_hold_ms=0, keep_windows_ms=0)
        await ledger.found(Charter(ledger_id="theirs", shards=4, starts={}))
        for shard in range(2):
            await ledger.create(shard, ledger_id="theirs", sources={})
        for question in (
            anext(list_cells(ledger)),
            list_totals(ledger, {role: role for role in Role}),
            rebuild_shard(ledger, 0),
        ):
            with pytest.raises(PermanentFailure, match="the ledger has 4 shards, the configuration says 2"):
                await question

    asyncio.run(ask())
