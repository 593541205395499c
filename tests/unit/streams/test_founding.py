"""How a ledger begins, row by row."""

from __future__ import annotations

import dataclasses

import pytest

from streams.errors import PermanentFailure
from streams.ledger.founding import FORMAT, Charter, Start, decide_start

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
