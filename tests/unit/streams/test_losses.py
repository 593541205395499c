from __future__ import annotations

import pytest

from streams.evaluation import ReportWindow
from streams.ledger.parts import NEVER_MS, Gap, Role, Source
from streams.losses import NO_LOSSES, Losses, may_touch
from streams.monitored_model import HOUR_MS, MINUTE_MS, MonitoredModel

NOON_MS = 1_795_435_200_000
MODEL = MonitoredModel(name="fraud", label_horizon_ms=2 * HOUR_MS, allowed_skew_ms=5 * MINUTE_MS)
WINDOW = ReportWindow(b"version", HOUR_MS, NOON_MS)
LAST_MS = NOON_MS + HOUR_MS - 1
PREDICTIONS, LABELS = Source(Role.PREDICTIONS, 0), Source(Role.LABELS, 3)


def gap(source: Source, from_ms: int, to_ms: int, *, lost: int = 7) -> Gap:
    return Gap(source=source, lost=lost, from_ms=from_ms, to_ms=to_ms)


@pytest.mark.parametrize(
    ("source", "from_ms", "to_ms", "expected"),
    [
        (PREDICTIONS, NEVER_MS, NOON_MS - 1, False),
        (PREDICTIONS, NEVER_MS, NOON_MS, True),
        (PREDICTIONS, LAST_MS, LAST_MS + HOUR_MS, True),
        (PREDICTIONS, LAST_MS + 1, LAST_MS + HOUR_MS, False),
        (PREDICTIONS, LAST_MS + HOUR_MS, LAST_MS, True),
        (PREDICTIONS, LAST_MS + HOUR_MS, LAST_MS + 1, False),
        (LABELS, NEVER_MS, NOON_MS - 5 * MINUTE_MS - 1, False),
        (LABELS, NEVER_MS, NOON_MS - 5 * MINUTE_MS, True),
        (LABELS, LAST_MS + 2 * HOUR_MS, LAST_MS + 3 * HOUR_MS, True),
        (LABELS, LAST_MS + 2 * HOUR_MS + 1, LAST_MS + 3 * HOUR_MS, False),
    ],
)
def test_gap_touches_the_windows_that_its_records_could_have_changed_to_the_millisecond(
    source: Source, from_ms: int, to_ms: int, expected: bool
) -> None:
    assert expected == may_touch(gap(source, from_ms, to_ms), WINDOW, MODEL)


def test_window_that_no_gap_touches_misses_nothing() -> None:
    later = gap(PREDICTIONS, NOON_MS + HOUR_MS, NOON_MS + 2 * HOUR_MS)
    assert ((), ()) == (NO_LOSSES.missing(WINDOW, MODEL), Losses(((later,),)).missing(WINDOW, MODEL))


def test_hole_that_every_shard_steps_over_is_told_once_as_wide_as_any_saw_it() -> None:
    losses = Losses(
        (
            (gap(PREDICTIONS, NOON_MS, NOON_MS + MINUTE_MS, lost=5), gap(LABELS, NEVER_MS, NOON_MS, lost=0)),
            (gap(PREDICTIONS, NOON_MS + 1000, NOON_MS + 2 * MINUTE_MS, lost=9),),
        )
    )
    assert (
        "up to 9 records of predictions/0, from 2026-11-23T12:00:00Z to 2026-11-23T12:02:00Z",
        "records of labels/3, up to 2026-11-23T12:00:00Z",
    ) == tuple(reversed(losses.missing(WINDOW, MODEL)))


def test_holes_of_one_shard_add_up() -> None:
    holes = (gap(PREDICTIONS, NOON_MS, NOON_MS, lost=5), gap(PREDICTIONS, NOON_MS, NOON_MS + 1000, lost=6))
    (phrase,) = Losses((holes,)).missing(WINDOW, MODEL)
    assert phrase.startswith("up to 11 records of predictions/0")


def test_losses_differ_by_the_gaps_that_only_one_has() -> None:
    first, second = gap(PREDICTIONS, 1, 2), gap(LABELS, 1, 2)
    before, after = Losses(((first,), (first,))), Losses(((first,), (first, second)))
    assert (frozenset(), frozenset({second})) == (before.unlike(before), after.unlike(before))
