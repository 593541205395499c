"""The join rules: the outcome depends on what the logs say, not on how they were read."""

from __future__ import annotations

import random

import pytest

from streams.ledger.reference import ReferenceLedger
from tests.support.histories import LABEL_HOLD_MS, UNIT_MS, Packer, draw_history, draw_models
from tests.support.world import EVERY_FAULT, EVERY_TROUBLE, FOREVER_MS, RestorableReference, World

SHARDS = 2
HISTORIES = 120


async def run_history(seed: int, *, disorder_ms: int, faults: frozenset[str]) -> int:
    """Read one drawn history to its end; returns how many ids were compared with the oracle."""
    rng = random.Random(seed)
    models = draw_models(rng)
    log = draw_history(rng, models, ids=3, disorder_ms=disorder_ms, contested="idle" in faults)
    ledger = ReferenceLedger(shards=SHARDS, label_hold_ms=LABEL_HOLD_MS, keep_windows_ms=FOREVER_MS)
    limit = rng.choice([1, 3, 200])
    world = World([RestorableReference(ledger)], Packer(models, log, SHARDS), rng, faults=faults, class_limit=limit)
    return await world.run(60)


@pytest.mark.parametrize(
    "faults", [frozenset(), EVERY_FAULT, EVERY_TROUBLE], ids=["undisturbed", "every-fault", "every-trouble"]
)
@pytest.mark.parametrize("disorder_units", [4, 25, 60])
async def test_any_order_split_crash_and_rollback_gives_the_same_cells(
    disorder_units: int, faults: frozenset[str]
) -> None:
    compared = 0
    for seed in range(HISTORIES):
        try:
            compared += await run_history(seed, disorder_ms=disorder_units * UNIT_MS, faults=faults)
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
    assert compared > HISTORIES * 2
