"""What waits to be explained: bounded, people first, model versions by turns."""

from __future__ import annotations

from schemas.explain_request import ExplainRequest, WhyAsked
from streams.explanation.backlog import Backlog


def request(name: str, model: str = "m", reason: WhyAsked = WhyAsked.WRONG) -> ExplainRequest:
    return ExplainRequest(request_id=name, model=model, topic="predictions", partition=0, offset=1, reason=reason)


def names(taken: list[ExplainRequest]) -> list[str]:
    return [each.request_id for each in taken]


def test_sample_beyond_the_limit_is_dropped_and_what_somebody_asks_is_not() -> None:
    backlog = Backlog(most=2)
    assert [True, True, False] == [backlog.add(request(name)) for name in "abc"]
    assert backlog.add(request("asked", reason=WhyAsked.ASKED))
    assert 3 == backlog.count
    assert ["asked"] == names(backlog.take(10))
    assert ["a", "b"] == names(backlog.take(10))
    assert ([], 0) == (backlog.take(10), backlog.count)


def test_model_versions_take_turns_and_each_is_answered_in_order() -> None:
    backlog = Backlog()
    for name, model in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")):
        backlog.add(request(name, model))
    assert [["a1", "a2"], ["b1"], ["a3"]] == [names(backlog.take(2)) for _ in range(3)]
