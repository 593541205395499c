"""What a record that is sent now can still do, by its time and how far its partition has been read.

A record arrives (see the join) at the later of its own time and its partition's watermark. From the same
inequalities as the join's follows what is certain in advance:

    prediction   arrives <= its time                        as if it had come in time
                 arrives <= its time + horizon              counts; labels forgotten before are not applied
                 later                                      `late_prediction`: enters no window
    label        arrives <= its time + skew + horizon       counts if its prediction is still there
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


def label_prospect(time_ms: int, *, watermark_ms: int, horizon_ms: int, skew_ms: int) -> Prospect:
    """Judge a label.

    Args:
        watermark_ms: its partition's, just before it.
        horizon_ms: the longest label horizon of the models it may serve.
        skew_ms: their largest allowed skew.

    >>> label_prospect(1_000, watermark_ms=1_500, horizon_ms=400, skew_ms=50)
    <Prospect.TOO_LATE: 'too late'>
    """
    return Prospect.IN_TIME if watermark_ms <= time_ms + skew_ms + horizon_ms else Prospect.TOO_LATE
