"""Explanations as an explainer publishes them, drawn with a seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from schemas.explain_request import WhyAsked
from schemas.explanation import Attribution, ExplainFailure, Explanation, Failure, Fit, Source
from schemas.times import format_time

__all__ = ["NOON_MS", "explanation", "explanations"]

NOON_MS = 1_795_435_200_000


def explanation(
    request_id: str = "r",
    shares: Mapping[str, float] | None = None,
    *,
    at_ms: int | None = NOON_MS,
    reason: WhyAsked = WhyAsked.BASE,
    rate: float = 1.0,
    **fields: Any,
) -> Explanation:
    """One of model fraud, version 3; without shares it failed."""
    made = Explanation(
        request_id=request_id,
        instance=0,
        model="fraud",
        model_version="3",
        event_time=None if at_ms is None else format_time(at_ms),
        source=Source("predictions", 0, 0),
        reason=reason,
        rate=rate,
        predicted="ok",
        label=None,
        failure=Failure(ExplainFailure.TOO_SLOW, "") if shares is None else None,
        event_id="",
        produced_at=format_time(NOON_MS),
    )
    if shares is not None:
        made = msgspec.structs.replace(
            made,
            attributions=tuple(
                Attribution(feature=name, value=None, rule=name, weight=weight, standard_error=None)
                for name, weight in shares.items()
            ),
            fit=Fit(
                intercept=0.0, local_prediction=0.5, r2=0.9, stability=0.8, samples=5000, seed=1, pool_id="a"
            ),
        )  # fmt: skip
    return msgspec.structs.replace(made, **fields)


def explanations(
    count: int, *, means: Mapping[str, float], seed: int, prefix: str = "r", **fields: Any
) -> list[Explanation]:
    """So many, each share normal around its feature's mean with a deviation of 0.1."""
    generator = np.random.default_rng(seed)
    return [
        explanation(
            f"{prefix}{at}", {name: mean + float(generator.normal(0, 0.1)) for name, mean in means.items()}, **fields
        )
        for at in range(count)
    ]
