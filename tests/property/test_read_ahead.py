"""Whatever the shards have stored, somebody may go on, and nobody waits without need."""

from __future__ import annotations

import dataclasses

from hypothesis import assume, given
from hypothesis import strategies as st

from streams.ledger.parts import Role, ShardState, Source, SourceState
from streams.ledger.read_ahead import decide_read_ahead, empty_sources

SOURCES = [Source(role, partition) for role in Role for partition in range(3)]
LATENESS_MS = 10

source_states = st.builds(
    lambda high_ms, behind_ms: SourceState(1, high_ms, max(high_ms - behind_ms, 0)),
    st.integers(0, 200),
    # Raised ones are ahead of their event times; another lateness may have held when the watermark was stored.
    st.integers(-50, 100),
)
shard_states = st.builds(
    lambda sources: ShardState("one", sources), st.dictionaries(st.sampled_from(SOURCES), source_states)
)
states_of_shards = st.lists(shard_states, min_size=1, max_size=3)
some_sources = st.frozensets(st.sampled_from(SOURCES))
limits_ms = st.integers(LATENESS_MS + 1, 100)


@given(states=states_of_shards, excused=some_sources, limit_ms=limits_ms)
def test_the_lowest_never_waits_and_so_never_all(
    states: list[ShardState], excused: frozenset[Source], limit_ms: int
) -> None:
    decided = decide_read_ahead(states, excused=excused, lateness_ms=LATENESS_MS, max_ahead_ms=limit_ms)
    known = {source for state in states for source in state.sources}
    assert (decided.lowest is None) == (not known - excused)
    if decided.lowest is None:
        assert not decided.ahead
    else:
        assert decided.lowest not in decided.ahead


@given(states=states_of_shards, excused=some_sources, limit_ms=limits_ms)
def test_who_waits_is_further_ahead_than_allowed_in_every_shard(
    states: list[ShardState], excused: frozenset[Source], limit_ms: int
) -> None:
    decided = decide_read_ahead(states, excused=excused, lateness_ms=LATENESS_MS, max_ahead_ms=limit_ms)
    if decided.lowest is None:
        return
    lowest_ms = min(state.sources[decided.lowest].high_ms for state in states if decided.lowest in state.sources)
    for source in decided.ahead:
        assert all(state.sources[source].high_ms > lowest_ms + limit_ms for state in states if source in state.sources)


@given(states=states_of_shards, excused=some_sources, limit_ms=limits_ms)
def test_who_goes_on_is_within_the_limit_somewhere(
    states: list[ShardState], excused: frozenset[Source], limit_ms: int
) -> None:
    decided = decide_read_ahead(states, excused=excused, lateness_ms=LATENESS_MS, max_ahead_ms=limit_ms)
    assume(decided.ceiling_ms is not None)
    assert decided.ceiling_ms is not None
    for state in states:
        for source, at in state.sources.items():
            if at.high_ms <= decided.ceiling_ms:
                assert source not in decided.ahead


@given(states=states_of_shards, limit_ms=limits_ms, extra_ms=st.integers(0, 100))
def test_a_larger_limit_holds_up_fewer(states: list[ShardState], limit_ms: int, extra_ms: int) -> None:
    strict, lax = (
        decide_read_ahead(states, excused=(), lateness_ms=LATENESS_MS, max_ahead_ms=limit)
        for limit in (limit_ms, limit_ms + extra_ms)
    )
    assert lax.ahead <= strict.ahead


@given(high_ms=st.integers(0, 200), raised_ms=st.integers(200, 300), limit_ms=limits_ms)
def test_a_partition_that_was_raised_holds_nobody_up_below_its_watermark(
    high_ms: int, raised_ms: int, limit_ms: int
) -> None:
    raised, other = SOURCES[:2]
    state = ShardState("one", {raised: SourceState(1, high_ms, raised_ms), other: SourceState(1, raised_ms, raised_ms)})
    decided = decide_read_ahead([state], excused=(), lateness_ms=LATENESS_MS, max_ahead_ms=limit_ms)
    assert frozenset() == decided.ahead


@given(states=states_of_shards, ends=st.dictionaries(st.sampled_from(SOURCES), st.integers(0, 2)))
def test_only_what_was_read_to_its_end_and_held_no_time_is_empty(
    states: list[ShardState], ends: dict[Source, int]
) -> None:
    without_time = [
        dataclasses.replace(
            state, sources={source: dataclasses.replace(at, high_ms=0) for source, at in state.sources.items()}
        )
        for state in states
    ]
    everywhere = frozenset.intersection(*(frozenset(state.sources) for state in states))
    assert {source for source in everywhere if ends.get(source, 2) <= 1} == empty_sources(without_time, ends)
    assert all(state.sources[source].high_ms == 0 for source in empty_sources(states, ends) for state in states)
