"""What became of a record: each record that was read has exactly one fate at any moment."""

from __future__ import annotations

import enum

__all__ = ["LABEL_RANK", "LabelFate", "PredictionFate"]


class PredictionFate(enum.StrEnum):
    """The fates of the predictions topic."""

    WAITING = "waiting"
    MATCHED = "matched"
    NEVER_LABELLED = "never_labelled"
    FAILED = "failed"
    DUPLICATE = "duplicate_prediction"
    CONFLICTING = "conflicting_prediction"
    LATE = "late_prediction"
    REJECTED = "rejected"


class LabelFate(enum.StrEnum):
    """The fates of the labels topic."""

    HELD = "held"
    MATCHED = "matched"
    CORRECTED = "corrected_label"
    DUPLICATE = "duplicate_label"
    OUT_OF_RANGE = "out_of_range"
    UNMATCHED = "unmatched_label"
    REJECTED = "rejected"


LABEL_RANK = {
    LabelFate.HELD: 0,
    LabelFate.OUT_OF_RANGE: 1,
    LabelFate.DUPLICATE: 2,
    LabelFate.CORRECTED: 3,
    LabelFate.MATCHED: 4,
}
"""A label that serves several predictions has the highest of the fates it got with each."""
