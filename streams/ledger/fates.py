"""What became of a record: each record that was read has exactly one fate at any moment."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["LABEL_MEANINGS", "LABEL_RANK", "PREDICTION_MEANINGS", "LabelFate", "PredictionFate"]


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


PREDICTION_MEANINGS: Mapping[PredictionFate, str] = MappingProxyType(
    {
        PredictionFate.WAITING: "No label yet; one may come.",
        PredictionFate.MATCHED: "Has a label.",
        PredictionFate.NEVER_LABELLED: "The label horizon passed without a label.",
        PredictionFate.FAILED: "Its `status` is not `ok`; no label is awaited.",
        PredictionFate.DUPLICATE: "Equal to an earlier one in id, model, version, time and class.",
        PredictionFate.CONFLICTING: "As an earlier one in id, model and version, with another time or class. The one"
        " applied first counts.",
        PredictionFate.LATE: "Arrived after its own time and the label horizon; enters no window.",
        PredictionFate.REJECTED: "Could not be read; a dead letter.",
    }
)
LABEL_MEANINGS: Mapping[LabelFate, str] = MappingProxyType(
    {
        LabelFate.HELD: "No prediction yet; one may come.",
        LabelFate.MATCHED: "Applied to at least one prediction.",
        LabelFate.CORRECTED: "A further label of another class for a matched prediction, whether it counts or not.",
        LabelFate.DUPLICATE: "A further label of the same class.",
        LabelFate.OUT_OF_RANGE: "A prediction of this id is there, but the label came too early or too late for it.",
        LabelFate.UNMATCHED: "No prediction came, or it is forgotten.",
        LabelFate.REJECTED: "Could not be read; a dead letter.",
    }
)

LABEL_RANK = {
    LabelFate.HELD: 0,
    LabelFate.OUT_OF_RANGE: 1,
    LabelFate.DUPLICATE: 2,
    LabelFate.CORRECTED: 3,
    LabelFate.MATCHED: 4,
}
"""A label that serves several predictions has the highest of the fates it got with each."""
