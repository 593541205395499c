"""Where windows start, and when their figures stop moving."""

from __future__ import annotations

import datetime as dt

import pytest

from streams.windows import (
    WindowStatus,
    base_windows,
    is_settled,
    next_status_change_ms,
    window_start_ms,
    window_status,
)

FIVE_MINUTES_MS = 300_000
HOUR_MS = 3_600_000
END_MS = 10 * HOUR_MS


def test_window_holds_its_start_and_not_its_end() -> None:
    assert 600_000 == window_start_ms(600_000, size_ms=FIVE_MINUTES_MS)
    assert 600_000 == window_start_ms(899_999, size_ms=FIVE_MINUTES_MS)
    assert 900_000 == window_start_ms(900_000, size_ms=FIVE_MINUTES_MS)


def test_windows_before_1970_start_before_what_they_hold() -> None:
    assert -FIVE_MINUTES_MS == window_start_ms(-1, size_ms=FIVE_MINUTES_MS)
    assert -FIVE_MINUTES_MS == window_start_ms(-FIVE_MINUTES_MS, size_ms=FIVE_MINUTES_MS)


def test_day_windows_start_at_midnight_utc() -> None:
    noon = dt.datetime(2026, 11, 23, 12, 34, tzinfo=dt.UTC)
    midnight = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)

    start_ms = window_start_ms(int(noon.timestamp() * 1000), size_ms=24 * HOUR_MS)

    assert midnight == dt.datetime.fromtimestamp(start_ms / 1000, tz=dt.UTC)


def test_base_windows_tile_their_window() -> None:
    starts = base_windows(HOUR_MS, size_ms=HOUR_MS, base_ms=FIVE_MINUTES_MS)

    assert 12 == len(starts)
    assert HOUR_MS == starts[0]
    assert 2 * HOUR_MS == starts[-1] + FIVE_MINUTES_MS


def test_window_of_base_size_is_its_own_base_window() -> None:
    assert [HOUR_MS] == list(base_windows(HOUR_MS, size_ms=HOUR_MS, base_ms=HOUR_MS))


def test_base_window_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="does not divide"):
        base_windows(0, size_ms=HOUR_MS, base_ms=7 * 60_000)


def test_start_inside_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="not the start"):
        base_windows(FIVE_MINUTES_MS, size_ms=HOUR_MS, base_ms=FIVE_MINUTES_MS)


@pytest.mark.parametrize(
    ("watermark_ms", "expected"),
    [
        (None, WindowStatus.OPEN),
        (END_MS - 1, WindowStatus.OPEN),
        (END_MS, WindowStatus.PROVISIONAL),
        # A label that arrives at the watermark is in time for a prediction made at END_MS - 1.
        (END_MS - 1 + HOUR_MS, WindowStatus.PROVISIONAL),
        (END_MS + HOUR_MS, WindowStatus.FINAL),
    ],
)
def test_status_follows_the_watermark(watermark_ms: int | None, expected: WindowStatus) -> None:
    assert expected == window_status(end_ms=END_MS, horizon_ms=HOUR_MS, watermark_ms=watermark_ms)


def test_window_without_a_horizon_is_final_at_its_end() -> None:
    assert WindowStatus.OPEN == window_status(end_ms=END_MS, horizon_ms=0, watermark_ms=END_MS - 1)
    assert WindowStatus.FINAL == window_status(end_ms=END_MS, horizon_ms=0, watermark_ms=END_MS)


@pytest.mark.parametrize("watermark_ms", [None, END_MS, END_MS + 2 * HOUR_MS])
def test_lost_input_makes_a_window_incomplete_whatever_the_watermark(watermark_ms: int | None) -> None:
    status = window_status(end_ms=END_MS, horizon_ms=HOUR_MS, watermark_ms=watermark_ms, missing=["predictions/0"])

    assert WindowStatus.INCOMPLETE == status


def test_every_status_change_is_foretold_to_the_millisecond() -> None:
    status = window_status(end_ms=END_MS, horizon_ms=HOUR_MS, watermark_ms=None)
    seen = [status]
    watermark_ms: int | None = None
    while True:
        change_ms = next_status_change_ms(status, end_ms=END_MS, horizon_ms=HOUR_MS, watermark_ms=watermark_ms)
        if change_ms is None:
            break
        just_before = window_status(end_ms=END_MS, horizon_ms=HOUR_MS, watermark_ms=change_ms - 1)
        assert status == just_before
        watermark_ms = change_ms
        status = window_status(end_ms=END_MS, horizon_ms=HOUR_MS, watermark_ms=watermark_ms)
        seen.append(status)

    assert [WindowStatus.OPEN, WindowStatus.PROVISIONAL, WindowStatus.FINAL] == seen


def test_incomplete_window_is_looked_at_once_more_when_it_settles() -> None:
    def change_ms(watermark_ms: int | None) -> int | None:
        return next_status_change_ms(
            WindowStatus.INCOMPLETE, end_ms=END_MS, horizon_ms=HOUR_MS, watermark_ms=watermark_ms
        )

    assert END_MS + HOUR_MS == change_ms(None)
    assert END_MS + HOUR_MS == change_ms(END_MS + HOUR_MS - 1)
    assert change_ms(END_MS + HOUR_MS) is None
    assert is_settled(end_ms=END_MS, horizon_ms=HOUR_MS, watermark_ms=END_MS + HOUR_MS)
