"""However a log is cut into runs and slices, each row arrives the same and every offset is covered once."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.ledger.parts import NEVER_MS
from streams.ledger.slicing import Run, arrivals_of, running_highs, watermark_of

SHARDS = 3
LATENESS_MS = 50

Record = tuple[int, int] | str
"""Event time and shard of a good record; "rejected", or "hole" where the log has no record."""

logs = st.lists(
    st.one_of(st.tuples(st.integers(100, 400), st.integers(0, SHARDS - 1)), st.sampled_from(["rejected", "hole"])),
    max_size=40,
)


def run_of(log: list[Record], base: int, end: int, *, high_ms: int) -> tuple[Run, list[int]]:
    """The run `[base, end)` of a log, and the arrivals of its rows."""
    good = [(offset, log[offset]) for offset in range(base, end) if isinstance(log[offset], tuple)]
    times_ms = np.array([record[0] for _, record in good], dtype=np.int64)
    highs_ms = running_highs(times_ms, start_ms=high_ms)
    run = Run(
        base=base,
        next=end,
        offsets=np.array([offset for offset, _ in good], dtype=np.int64),
        shards=np.array([record[1] for _, record in good], dtype=np.int64),
        highs_ms=highs_ms,
        rejected=np.array([offset for offset in range(base, end) if log[offset] == "rejected"], dtype=np.int64),
    )
    return run, arrivals_of(times_ms, highs_ms, lateness_ms=LATENESS_MS).tolist()


def cuts_of(draw: st.DataObject, length: int) -> list[tuple[int, int]]:
    """A way to cut `[0, length)` into runs."""
    inner = draw.draw(st.sets(st.integers(1, max(length - 1, 1)), max_size=5)) if length > 1 else set()
    borders = [0, *sorted(inner), length]
    return list(itertools.pairwise(borders))


def high_before(log: list[Record], offset: int) -> int:
    return max((record[0] for record in log[:offset] if isinstance(record, tuple)), default=NEVER_MS)


@given(log=logs, draw=st.data())
def test_arrivals_do_not_depend_on_where_runs_end(log: list[Record], draw: st.DataObject) -> None:
    expected = [
        max(record[0], high_before(log, offset) - LATENESS_MS, NEVER_MS)
        for offset, record in enumerate(log)
        if isinstance(record, tuple)
    ]
    arrivals: list[int] = []
    high_ms = NEVER_MS
    for base, end in cuts_of(draw, len(log)):
        run, arrived = run_of(log, base, end, high_ms=high_ms)
        arrivals += arrived
        high_ms = run.high_at(end)
    assert expected == arrivals


@given(log=logs.filter(bool), draw=st.data(), max_rows=st.integers(1, 4), shard=st.integers(0, SHARDS - 1))
def test_slices_adjoin_and_carry_each_row_and_rejection_of_their_shard_once(
    log: list[Record], draw: st.DataObject, max_rows: int, shard: int
) -> None:
    start = draw.draw(st.integers(0, len(log) - 1))
    run, _ = run_of(log, 0, len(log), high_ms=NEVER_MS)
    slices = list(run.slices(shard, shards=SHARDS, start=start, max_rows=max_rows))
    assert [start, *(each.next for each in slices)] == [*(each.expected for each in slices), len(log)]
    for each in slices:
        inside = range(each.expected, each.next)
        rows = [offset for offset in inside if isinstance(log[offset], tuple) and log[offset][1] == shard]
        assert rows == run.offsets[each.rows].tolist()
        assert len(rows) <= max_rows
        assert each.rejected == sum(log[offset] == "rejected" and offset % SHARDS == shard for offset in inside)
        assert each.high_ms == high_before(log, each.next)


@given(high_ms=st.integers(0, 200))
def test_a_watermark_is_never_before_the_beginning(high_ms: int) -> None:
    assert max(high_ms - LATENESS_MS, 0) == watermark_of(high_ms, lateness_ms=LATENESS_MS)
