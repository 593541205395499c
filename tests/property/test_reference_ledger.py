"""The join rules: the outcome depends on what the logs say, not on how they were read."""

from __future__ import annotations

import random

import pytest

from streams.ledger.reference import ReferenceLedger
from tests.support.histories import (
    LABEL_HOLD_MS,
    UNIT_MS,
    Packer,
    draw_history,
    draw_list_models,
    draw_models,
    kept_labels,
)
from tests.support.world import EVERY_FAULT, EVERY_TROUBLE, FOREVER_MS, RestorableReference, World

SHARDS = 2
HISTORIES = 120


async def run_history(seed: int, *, disorder_ms: int, faults: frozenset[str], of_lists: bool) -> int:
    """Read one drawn history to its end; returns how many ids were compared with the oracle."""
    rng = random.Random(seed)
    models = draw_list_models(rng) if of_lists else draw_models(rng)
    log = draw_history(rng, models, ids=3, disorder_ms=disorder_ms, contested="idle" in faults)
    ledger = ReferenceLedger(
        shards=SHARDS, label_hold_ms=LABEL_HOLD_MS, keep_windows_ms=FOREVER_MS, max_labels=kept_labels(models)
    )
    limit = rng.choice([1, 3, 200])
    world = World([RestorableReference(ledger)], Packer(models, log, SHARDS), rng, faults=faults, class_limit=limit)
    return await world.run(60)


@pytest.mark.parametrize(
    "faults", [frozenset(), EVERY_FAULT, EVERY_TROUBLE], ids=["undisturbed", "every-fault", "every-trouble"]
)
@pytest.mark.parametrize("disorder_units", [4, 25, 60])
@pytest.mark.parametrize("of_lists", [False, True], ids=["classes", "lists"])
async def test_any_order_split_crash_and_rollback_gives_the_same_cells(
    disorder_units: int, faults: frozenset[str], *, of_lists: bool
) -> None:
    compared, histories = 0, HISTORIES // 2 if of_lists else HISTORIES
    for seed in range(histories):
        try:
            compared += await run_history(seed, disorder_ms=disorder_units * UNIT_MS, faults=faults, of_lists=of_lists)
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
    assert compared > histories * 2
