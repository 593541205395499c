"""A charter as older versions have left it in Redis."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents.redis_charter import read_charter
from streams.ledger.agreements import Change
from streams.ledger.eras import Era
from streams.ledger.founding import Charter
from streams.monitored_model import DAY_MS, HOUR_MS

FRAUD = {"base_window_ms": 300_000, "label_horizon_ms": HOUR_MS, "segments": ["a"], "cross": [], "answers": "classes"}


def charter(*, models: dict[str, Any], changes: dict[str, Any]) -> Charter:
    """Of format 3."""
    proposal = {"edition": 9, "changes": changes}
    fields = {"ledger": "one", "shards": "1", "starts": "{}", "format": "3", "edition": "7"}
    fields |= {"models": json.dumps(models), "proposal": json.dumps(proposal)}
    return read_charter({name.encode(): value.encode() for name, value in fields.items()})


@pytest.mark.parametrize(
    ("changed", "eras"),
    [
        ({}, [Era(("a",), label_horizon_ms=HOUR_MS)]),
        (
            {"segmented_from_ms": 7, "segmented_before": [{"segments": [], "cross": [], "from_ms": 0}]},
            [Era(label_horizon_ms=HOUR_MS), Era(("a",), label_horizon_ms=HOUR_MS, from_ms=7)],
        ),
    ],
)
def test_segments_that_changed_under_one_horizon_become_eras(changed: dict[str, Any], eras: list[Era]) -> None:
    found = charter(models={"fraud": FRAUD | changed}, changes={})
    assert found.agreements is not None
    assert tuple(eras) == found.agreements["fraud"].eras


def test_change_that_an_older_version_has_not_concluded_keeps_the_horizon() -> None:
    change = {"segments": ["b"], "cross": [], "step_ms": 60}
    found = charter(models={"fraud": FRAUD}, changes={"fraud": change, "unlisted": change})
    assert found.proposal is not None
    assert {
        name: Change(segments=("b",), cross=(), label_horizon_ms=horizon_ms, step_ms=60)
        for name, horizon_ms in (("fraud", HOUR_MS), ("unlisted", DAY_MS))
    } == found.proposal.changes
