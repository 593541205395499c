"""The life of an alert over windows that are revised. A window is a letter: B breach, F fine, small while not final."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from streams.alerting.fold import Judged
from streams.alerting.life_cycle import (
    LATE_HOLD_MS,
    RESOLVED_RETENTION_MS,
    AlertState,
    Phase,
    Reason,
    observe_window,
    pass_time,
    retire,
)
from streams.alerting.outcome import Grounds, Outcome
from streams.alerting.rules import AlertRule, Condition, Op
from streams.monitored_model import MINUTE_MS

WINDOW_MS = 5 * MINUTE_MS
RULE = AlertRule(group="quality", alert="AccuracyLow", when=Condition(metric="accuracy", op=Op.LESS, value=0.9))
OUTCOMES = {
    "b": Outcome.BREACH,
    "f": Outcome.FINE,
    "?": Outcome.INSUFFICIENT,
    "u": Outcome.UNDECIDED,
}


def rule(*, lasting: int = 0, keep: int = 0) -> AlertRule:
    return dataclasses.replace(RULE, for_ms=lasting * WINDOW_MS, keep_firing_for_ms=keep * WINDOW_MS)


def window(index: int, letter: str, *, coverage: float | None = None) -> Judged:
    """The window of that number. A capital is final, and so is `!`: not enough for good."""
    outcome = OUTCOMES["?" if letter == "!" else letter.lower()]
    return Judged(
        start_ms=index * WINDOW_MS,
        end_ms=(index + 1) * WINDOW_MS,
        outcome=outcome,
        grounds=Grounds.FINAL,
        is_final=letter.isupper() or letter == "!",
        value=0.5,
        n=100,
        coverage=coverage,
    )


def live(letters: str, of: AlertRule = RULE, *, state: AlertState | None = None) -> list[tuple[Phase, Reason]]:
    """Phase and reason after each window of a row."""
    seen = []
    state = state or AlertState()
    for index, letter in enumerate(letters):
        state, reason = observe_window(state, window(index, letter), of, index)
        assert reason is state.reason
        seen.append((state.phase, reason))
    return seen


def phases(letters: str, of: AlertRule = RULE) -> list[Phase]:
    return [phase for phase, _ in live(letters, of)]


def fold(steps: Sequence[tuple[int, str]], of: AlertRule = RULE) -> AlertState:
    """The state after windows in the order in which they are told, a minute apart."""
    state = AlertState()
    for step, (index, letter) in enumerate(steps):
        state, _ = observe_window(state, window(index, letter), of, step * MINUTE_MS)
    return state


def test_first_breach_fires_at_once_without_for() -> None:
    assert [Phase.INACTIVE, Phase.FIRING, Phase.RESOLVED] == phases("FBF")


def test_alert_is_pending_until_consecutive_breaches_span_for() -> None:
    assert [Phase.PENDING, Phase.PENDING, Phase.FIRING, Phase.FIRING] == phases("BBBB", rule(lasting=3))


def test_window_that_is_fine_ends_a_pending_alert_and_nothing_was_said() -> None:
    state = fold([(0, "B"), (1, "F"), (2, "B"), (3, "F")], rule(lasting=2))
    assert (Phase.INACTIVE, ()) == (state.phase, state.untold)


def test_windows_that_are_not_enough_neither_break_nor_end_a_run() -> None:
    assert Phase.FIRING == phases("B!B", rule(lasting=2))[-1]
    assert Phase.FIRING == phases("B!!")[-1]


def test_alert_keeps_firing_until_windows_have_been_fine_for_so_long() -> None:
    assert [Phase.FIRING, Phase.FIRING, Phase.FIRING, Phase.RESOLVED] == phases("BFFF", rule(keep=3))
    assert [Phase.FIRING, Phase.FIRING, Phase.FIRING, Phase.FIRING] == phases("BFBF", rule(keep=2))


def test_what_is_not_enough_is_a_state_of_its_own_and_not_well() -> None:
    assert [(Phase.INSUFFICIENT_DATA, Reason.TOO_LITTLE)] == live("!")
    assert [(Phase.INACTIVE, Reason.FINE), (Phase.INSUFFICIENT_DATA, Reason.TOO_LITTLE)] == live("F!")
    assert Phase.NO_DATA == AlertState().phase


def test_window_that_is_not_decided_yet_is_not_called_fine_where_none_was_before() -> None:
    too_little = (Phase.INSUFFICIENT_DATA, Reason.TOO_LITTLE)
    assert [too_little, too_little, (Phase.INACTIVE, Reason.FINE)] == live("u?F")
    assert Phase.FIRING == phases("uB")[-1]


def test_window_that_waits_for_its_labels_leaves_a_model_well_whose_final_windows_are() -> None:
    assert Phase.INACTIVE == fold([(0, "F"), (1, "?"), (2, "u")]).phase


def test_breach_that_is_beyond_doubt_fires_before_its_window_is_final() -> None:
    assert (Phase.FIRING, Reason.BREACH) == live("Fb")[-1]


def test_undecided_revision_does_not_take_back_what_was_beyond_doubt() -> None:
    assert Phase.FIRING == fold([(0, "b"), (0, "u"), (1, "?")]).phase


def test_final_revision_that_takes_a_breach_back_resolves_it_and_says_so() -> None:
    state = fold([(0, "F"), (1, "b"), (1, "F")])
    assert (Phase.RESOLVED, Reason.REVISED) == (state.phase, state.reason)
    firing, resolved = state.untold
    assert (firing.starts_ms, None) == (resolved.starts_ms, firing.ends_ms)
    assert 2 * MINUTE_MS == resolved.ends_ms


def test_newer_windows_that_are_fine_resolve_an_alert_as_recovered() -> None:
    state = fold([(0, "B"), (1, "F")])
    assert (Phase.RESOLVED, Reason.RECOVERED) == (state.phase, state.reason)


def test_revision_that_breaks_an_older_window_fires_late_and_resolves_after_it_was_seen() -> None:
    state = fold([(0, "f"), (1, "f"), (2, "f"), (0, "B")])
    assert (Phase.FIRING, Reason.LATE_BREACH, 1) == (state.phase, state.reason, len(state.untold))
    started_ms = state.untold[0].starts_ms
    assert state == pass_time(state, started_ms + LATE_HOLD_MS - 1)[0]
    state, reason = pass_time(state, started_ms + LATE_HOLD_MS)
    assert (Phase.RESOLVED, Reason.RECOVERED) == (state.phase, reason)


def test_late_alert_fires_once() -> None:
    state = fold([(0, "f"), (1, "f"), (0, "B")])
    state, _ = pass_time(state, 10 * LATE_HOLD_MS)
    for index, letter in ((1, "F"), (2, "F"), (3, "F")):
        state, _ = observe_window(state, window(index, letter), RULE, 11 * LATE_HOLD_MS)
    assert 2 == len(state.untold)


def test_revision_that_joins_two_breaches_into_one_that_lasts_fires() -> None:
    state = fold([(0, "b"), (1, "f"), (2, "b"), (1, "b")], rule(lasting=3))
    assert (Phase.FIRING, 0, 3 * WINDOW_MS) == (state.phase, state.untold[0].since_ms, state.untold[0].until_ms)


def test_resolved_alert_is_inactive_after_a_quarter_of_an_hour() -> None:
    state = fold([(0, "B"), (1, "F")])
    assert Phase.RESOLVED == pass_time(state, state.phase_ms + RESOLVED_RETENTION_MS - 1)[0].phase
    assert Phase.INACTIVE == pass_time(state, state.phase_ms + RESOLVED_RETENTION_MS)[0].phase


def test_silent_model_is_stale_and_its_alert_resolves_with_that_reason() -> None:
    state, reason = pass_time(fold([(0, "B")]), MINUTE_MS, is_silent=True)
    assert (Phase.STALE, Reason.SILENCE, MINUTE_MS) == (state.phase, reason, state.untold[-1].ends_ms)
    assert Phase.STALE == pass_time(fold([(0, "F")]), MINUTE_MS, is_silent=True)[0].phase
    assert Phase.NO_DATA == pass_time(AlertState(), MINUTE_MS, is_silent=True)[0].phase


def test_stale_alert_lives_again_with_the_next_window() -> None:
    state, _ = pass_time(fold([(0, "F")]), MINUTE_MS, is_silent=True)
    state, _ = observe_window(state, window(9, "B"), RULE, 2 * MINUTE_MS)
    assert Phase.FIRING == state.phase


def test_rule_that_is_gone_resolves_what_it_fired() -> None:
    state = retire(fold([(0, "B")]), 5)
    assert (Phase.RESOLVED, Reason.RULE_GONE, 5) == (state.phase, state.reason, state.untold[-1].ends_ms)
    assert fold([(0, "F")]) == retire(fold([(0, "F")]), 5)


def test_usual_coverage_is_the_median_of_final_windows_once_there_are_three() -> None:
    state = AlertState()
    for index, coverage in enumerate((0.9, 0.2, 0.8)):
        assert state.usual_coverage is None
        state, _ = observe_window(state, window(index, "F", coverage=coverage), RULE, 0)
    assert 0.8 == state.usual_coverage


@given(st.lists(st.sampled_from("BF!"), min_size=1, max_size=12), st.integers(1, 3), st.integers(0, 2), st.data())
def test_final_windows_end_in_the_same_state_whatever_was_decided_before_they_were_final(
    finals: list[str], lasting: int, keep: int, data: st.DataObject
) -> None:
    of = rule(lasting=lasting, keep=keep)
    straight = fold(list(enumerate(finals)), of)
    steps = []
    for index, letter in enumerate(finals):
        early = data.draw(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("bfu?")), max_size=2))
        steps += [*((index + ahead, guess) for ahead, guess in early), (index, letter)]
    drawn = fold([step for step in steps if step[0] < len(finals)], of)
    assert (straight.settled, straight.settled_ms, ()) == (drawn.settled, drawn.settled_ms, drawn.tail)
    assert (straight.phase is Phase.FIRING) <= (drawn.phase is Phase.FIRING)


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from("bfu?BF!")), max_size=25), st.integers(0, 2))
def test_what_is_said_is_firing_and_resolved_in_turns(steps: list[tuple[int, str]], lasting: int) -> None:
    state = fold(steps, rule(lasting=lasting))
    assert [number % 2 == 1 for number in range(len(state.untold))] == [
        notice.ends_ms is not None for notice in state.untold
    ]
    assert (state.phase is Phase.FIRING) == (len(state.untold) % 2 == 1)
