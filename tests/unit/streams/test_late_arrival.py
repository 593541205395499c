"""The limits behind which a record can no longer count, to the millisecond."""

from __future__ import annotations

import pytest

from streams.late_arrival import Prospect, label_prospect, prediction_prospect


@pytest.mark.parametrize(
    ("watermark_ms", "expected"),
    [
        (0, Prospect.IN_TIME),
        (1_000, Prospect.IN_TIME),
        (1_001, Prospect.MAY_MISS_LABELS),
        (1_600, Prospect.MAY_MISS_LABELS),
        (1_601, Prospect.TOO_LATE),
    ],
)
def test_prediction_counts_until_its_horizon_has_passed(watermark_ms: int, expected: Prospect) -> None:
    assert expected is prediction_prospect(1_000, watermark_ms=watermark_ms, horizon_ms=600)


@pytest.mark.parametrize(
    ("watermark_ms", "expected"), [(0, Prospect.IN_TIME), (1_650, Prospect.IN_TIME), (1_651, Prospect.TOO_LATE)]
)
def test_label_counts_as_long_as_a_prediction_that_it_could_serve_is_remembered(
    watermark_ms: int, expected: Prospect
) -> None:
    assert expected is label_prospect(1_000, watermark_ms=watermark_ms, settled_ms=1_651)


def test_label_that_comes_in_its_own_time_is_too_late_once_all_that_it_could_serve_is_settled() -> None:
    assert Prospect.TOO_LATE is label_prospect(1_000, watermark_ms=0, settled_ms=1_000)
