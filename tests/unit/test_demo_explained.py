"""The demo shows the miss that the model was surest of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

import schemas
from agents.demo.explained import surest_miss
from schemas.explain_request import WhyAsked
from schemas.explanation import ExplainFailure, Explanation, Failure

EXAMPLE = Path(schemas.__file__).parent / "examples/explanations/valid/tabular.json"


def explanation(answer: float, **fields: Any) -> Explanation:
    example = msgspec.json.decode(EXAMPLE.read_bytes(), type=Explanation)
    return msgspec.structs.replace(example, answer=answer, **{"predicted": "on_time", **fields})


def test_surest_miss_is_shown_and_others_are_counted() -> None:
    surest = explanation(0.8)
    found = surest_miss(
        [
            explanation(0.6),
            surest,
            explanation(0.9, predicted="late"),
            explanation(0.95, reason=WhyAsked.BASE),
            explanation(0.99, failure=Failure(ExplainFailure.TOO_SLOW, "")),
        ]
    )
    assert (4, 3, surest) == (found.count, found.misses, found.surest)


def test_nothing_explained_is_nothing_to_show() -> None:
    assert None is surest_miss([]).surest
