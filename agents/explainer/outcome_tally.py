"""What became of explanations: counted for each model, and failures told in the log now and then."""

from __future__ import annotations

import collections
import dataclasses
import logging
import math
from collections.abc import Collection, Iterator

from agents.exposition import Kind, Metric
from schemas.explanation import ExplainFailure, Explanation
from streams.ports import Clock

__all__ = ["OutcomeTally"]

_log = logging.getLogger(__name__)

EXPLAINED = "explained"
OTHER_MODELS = "__other__"
TOLD_SECONDS = 60.0
"""Between two lines about one model and reason: a model that is down fails for every request."""


@dataclasses.dataclass(slots=True)
class _Telling:
    """Of one model and reason: when a line was written, and how many failures there were since."""

    told_seconds: float = -math.inf
    left_out: int = 0


class OutcomeTally:
    """Outcomes of explanations that were published.

    Args:
        models: those that the configuration explains. All others count as one, since anybody may ask about any name.
    """

    def __init__(self, models: Collection[str], clock: Clock) -> None:
        self._models = (*models, OTHER_MODELS)
        self._clock = clock
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self._tellings: collections.defaultdict[tuple[str, str], _Telling] = collections.defaultdict(_Telling)

    def add(self, explanation: Explanation) -> None:
        """Count an explanation; a failure is logged at once, then once in a minute with how many were left out."""
        model = explanation.model if explanation.model in self._models else OTHER_MODELS
        failure = explanation.failure
        if failure is None:
            self._counts[model, EXPLAINED] += 1
            return
        self._counts[model, failure.reason] += 1
        telling = self._tellings[model, failure.reason]
        now_seconds = self._clock.monotonic_seconds()
        if now_seconds - telling.told_seconds < TOLD_SECONDS:
            telling.left_out += 1
            return
        about = {"model": explanation.model, "model_version": explanation.model_version}
        _log.warning(
            "A prediction of %s was not explained, %s: %s", explanation.model, failure.reason, failure.message,
            extra=about | ({"repeated": telling.left_out} if telling.left_out else {}),
        )  # fmt: skip
        self._tellings[model, failure.reason] = _Telling(now_seconds)

    def metrics(self) -> Iterator[Metric]:
        """The counts under Prometheus' name, each there from the first time on."""
        yield Metric(
            "latelabel_explanations_total",
            Kind.COUNTER,
            "Explanations published for each model, by what became of them: explained, or the reason why not."
            " Models without `explain.predictor` are `__other__`.",
            {
                (("model", model), ("outcome", outcome)): self._counts[model, outcome]
                for model in self._models
                for outcome in (EXPLAINED, *ExplainFailure)
            },
        )
