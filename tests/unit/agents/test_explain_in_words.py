"""What `latelabel explain` says."""

from __future__ import annotations

import msgspec

from agents.explainer.in_words import in_words
from schemas.explanation import ExplainFailure, Failure, Note
from tests.support.page_world import NOW_MS, explained

UNKNOWN = Failure(ExplainFailure.NOT_CONFIGURED, "say how it is asked")


def test_prediction_that_could_not_be_read_is_not_called_a_number() -> None:
    failed = msgspec.structs.replace(explained("r1", time_ms=NOW_MS, failure=UNKNOWN), predicted=None)
    unlabelled = msgspec.structs.replace(failed, label=None)

    assert ["The label is fraud.", "", "Not explained, not_configured: say how it is asked"] == in_words(
        failed
    ).splitlines()[3:]
    assert "There is no label yet." == in_words(unlabelled).splitlines()[3]


def test_answer_that_differs_comes_with_what_may_be_behind_it() -> None:
    differing = msgspec.structs.replace(explained("r1", time_ms=NOW_MS), notes=(Note.ANSWER_DIFFERS,))

    assert in_words(differing).endswith("or with `explain.classes` in another order.")
