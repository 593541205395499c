"""How a ledger begins, row by row."""

from __future__ import annotations

import dataclasses

import pytest

from streams.errors import PermanentFailure, TemporaryFailure
from streams.ledger.agreements import Agreements, Proposal
from streams.ledger.founding import FORMAT, Charter, Start, agreed_by, decide_start
from streams.ledger.parts import ShardState

WHOLE = Charter(ledger_id="one", shards=2, starts={})


def test_without_ledger_and_history_one_is_founded() -> None:
    assert Start.FOUND is decide_start(charter=None, ledger_ids=[None, None], group_has_committed=False)


def test_a_start_that_was_cut_is_finished_whatever_shards_exist() -> None:
    cut = Charter(ledger_id="one", shards=2, starts={}, is_creating=True)
    assert Start.FINISH is decide_start(charter=cut, ledger_ids=["one", None], group_has_committed=False)


def test_a_whole_ledger_is_resumed() -> None:
    assert Start.RESUME is decide_start(charter=WHOLE, ledger_ids=["one", "one"], group_has_committed=True)


@pytest.mark.parametrize(
    ("charter", "ledger_ids", "remedy"),
    [
        (None, [None, None], "Redis was emptied.*latelabel init --rebuild"),
        (None, ["one", None], "charter.*latelabel init --rebuild"),
        (WHOLE, ["one", None], "latelabel init --rebuild --shard 1"),
        (WHOLE, ["two", "one"], "shard 0 belongs to ledger two"),
        (WHOLE, ["one", "one", "one"], "set redis.shards to 2"),
    ],
)
def test_what_was_lost_in_part_is_refused_with_its_remedy(
    charter: Charter | None, ledger_ids: list[str | None], remedy: str
) -> None:
    with pytest.raises(PermanentFailure, match=remedy):
        decide_start(charter=charter, ledger_ids=ledger_ids, group_has_committed=True)


def test_a_ledger_of_a_newer_format_is_left_alone() -> None:
    newer = dataclasses.replace(WHOLE, format=FORMAT + 1)
    with pytest.raises(PermanentFailure, match=rf"format {FORMAT + 1}.*up to {FORMAT}.*Start that version again"):
        decide_start(charter=newer, ledger_ids=["one", "one"], group_has_committed=True)


def test_a_ledger_of_an_older_format_is_resumed() -> None:
    older = dataclasses.replace(WHOLE, format=0)
    assert Start.RESUME is decide_start(charter=older, ledger_ids=["one", "one"], group_has_committed=True)


def states(*editions: int) -> list[ShardState]:
    return [ShardState("one", {}, edition) for edition in editions]


def test_what_the_charter_says_is_agreed_while_no_shard_knows_of_a_later_edition() -> None:
    charter = dataclasses.replace(WHOLE, edition=7, agreements={})
    proposing = dataclasses.replace(charter, proposal=Proposal(edition=8, changes={}))
    assert Agreements(7, {}) == agreed_by(charter, states(0, 7)) == agreed_by(proposing, states(7, 8))
    assert Agreements() == agreed_by(None, states(0, 0))


@pytest.mark.parametrize(
    ("charter", "why"),
    [(None, "charter is lost; start a worker again"), (dataclasses.replace(WHOLE, edition=6), "has lost what")],
)
def test_nothing_is_known_of_agreements_that_the_charter_has_lost(charter: Charter | None, why: str) -> None:
    with pytest.raises(TemporaryFailure, match=why):
        agreed_by(charter, states(0, 7))
