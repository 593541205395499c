"""The join rules: the outcome depends on what the logs say, not on how they were read."""

from __future__ import annotations

import random

import pytest

from streams.ledger.reference import ReferenceLedger
from tests.support.histories import LABEL_HOLD_MS, UNIT_MS, Packer, draw_history, draw_models, expected_cells
from tests.support.world import EVERY_FAULT, RestorableReference, World, exempt_because_of_cap, readable_cells

SHARDS = 2
KEEP_MS = 10**13
HISTORIES = 250


async def run_history(seed: int, *, disorder_ms: int, faults: frozenset[str], steps: int = 60) -> bool:
    """Read one drawn history to its end and compare every cell with the oracle; False if order may matter."""
    rng = random.Random(seed)
    models = draw_models(rng)
    packer = Packer(models, draw_history(rng, models, ids=3, disorder_ms=disorder_ms), SHARDS)
    if exempt_because_of_cap(packer):
        return False
    ledger = ReferenceLedger(shards=SHARDS, label_hold_ms=LABEL_HOLD_MS, keep_windows_ms=KEEP_MS)
    world = World([RestorableReference(ledger)], packer, rng, faults=faults)
    await world.start()
    for _ in range(steps):
        await world.step()
    await world.drain()
    await world.close()
    expected = expected_cells(models, packer.log)
    assert expected == await readable_cells(ledger, list(models)), f"seed {seed}"
    for part in ledger.parts:
        assert part.entries == {}
        assert part.overdue == {}
        assert part.fates["predictions:waiting"] == part.fates["labels:held"] == 0
    return True


@pytest.mark.parametrize("faults", [frozenset(), EVERY_FAULT], ids=["undisturbed", "every-fault"])
@pytest.mark.parametrize("disorder_units", [4, 25, 60])
async def test_any_order_split_crash_and_rollback_gives_the_same_cells(
    disorder_units: int, faults: frozenset[str]
) -> None:
    compared = 0
    for seed in range(HISTORIES):
        compared += await run_history(seed, disorder_ms=disorder_units * UNIT_MS, faults=faults)
    assert compared > HISTORIES * 0.9
