"""What a record that is sent now can still do, by its time and how far its partition has been read.

A record arrives (see the join) at the later of its own time and its partition's watermark. From the same
inequalities as the join's follows what is certain in advance:

    prediction   arrives <= its time                        as if it had come in time
                 arrives <= its time + horizon              counts; labels forgotten before are not applied
                 later                                      `late_prediction`: enters no window
    label        arrives before all that was made up to its time + skew is settled
                                                            counts if its prediction is still there
                 later                                      no prediction that it could serve is remembered
"""

from __future__ import annotations

import enum

__all__ = ["Prospect", "label_prospect", "prediction_prospect"]


class Prospect(enum.Enum):
    """What is certain of a record before it is read."""

    IN_TIME = "in time"
    MAY_MISS_LABELS = "may miss labels"
    TOO_LATE = "too late"


def prediction_prospect(time_ms: int, *, watermark_ms: int, horizon_ms: int) -> Prospect:
    """Judge a prediction.

    Args:
        watermark_ms: its partition's, just before it.
        horizon_ms: its model's label horizon.

    >>> prediction_prospect(1_000, watermark_ms=1_500, horizon_ms=600)
    <Prospect.MAY_MISS_LABELS: 'may miss labels'>
    """
    if watermark_ms <= time_ms:
        return Prospect.IN_TIME
    return Prospect.MAY_MISS_LABELS if watermark_ms <= time_ms + horizon_ms else Prospect.TOO_LATE


def label_prospect(time_ms: int, *, watermark_ms: int, settled_ms: int) -> Prospect:
    """Judge a label.

    Args:
        watermark_ms: its partition's, just before it.
        settled_ms: the watermark from which no label counts any more for any prediction that it may serve, the last of
            which are made `allowed_skew` after it.

    >>> label_prospect(1_000, watermark_ms=1_500, settled_ms=1_451)
    <Prospect.TOO_LATE: 'too late'>
    """
    return Prospect.TOO_LATE if max(time_ms, watermark_ms) >= settled_ms else Prospect.IN_TIME
