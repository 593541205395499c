"""What each metric of a report is: for which tasks, in words, with which interval, and which way is better.

Definitions are scikit-learn's, but for denominators of zero: such a figure is undefined. The modules that compute them
say how; this one is what tables and screens are made from.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from types import MappingProxyType

from streams.monitored_model import Task

__all__ = ["DEFINITIONS", "Better", "Definition"]


class Better(enum.StrEnum):
    """Which values are good ones."""

    MORE = "more"
    LESS = "less"
    NEAR_ZERO = "near 0"


@dataclasses.dataclass(frozen=True, slots=True)
class Definition:
    """One metric; `interval` names the method."""

    meaning: str
    tasks: tuple[Task, ...]
    interval: str
    better: Better = Better.MORE


_ANY_CLASSES = (Task.BINARY, Task.MULTICLASS)
_BINARY = (Task.BINARY,)
_MULTICLASS = (Task.MULTICLASS,)
_REGRESSION = (Task.REGRESSION,)
_MULTILABEL = (Task.MULTILABEL,)
_RANKING = (Task.RANKING,)
_AVERAGED = (Task.MULTICLASS, Task.MULTILABEL)

WILSON = "Wilson"
EFFECTIVE = "Wilson at the effective sample size"
MOVER = "MOVER of Wilson's per class"
MEANED = {"precision": EFFECTIVE, "recall": EFFECTIVE, "f1": MOVER}
"""Of averages over classes."""
GAMMA = "gamma"
OF_SETS = "multilabel: as predictions vary"

_AVERAGES = {
    "precision": "Precision: of those predicted as a class, the share that is of it",
    "recall": "Recall: of those of a class, the share predicted as it",
    "f1": "F1: harmonic mean of precision and recall",
}

DEFINITIONS: Mapping[str, Definition] = MappingProxyType(
    {
        "accuracy": Definition("Share of predictions that equal their label.", _ANY_CLASSES, WILSON),
        "balanced_accuracy": Definition("Mean recall of the classes that have labels.", _ANY_CLASSES, EFFECTIVE),
        "mcc": Definition("Matthews' correlation of prediction and label, -1 to 1.", _ANY_CLASSES, EFFECTIVE),
        "cohen_kappa": Definition("Agreement beyond that of chance, -1 to 1.", _ANY_CLASSES, EFFECTIVE),
        "precision": Definition("Of those predicted positive, the share that is.", _BINARY, WILSON),
        "recall": Definition("Of the positive, the share predicted so.", _BINARY, WILSON),
        "specificity": Definition("Of the negative, the share predicted so.", _BINARY, WILSON),
        "f1": Definition("Harmonic mean of precision and recall.", _BINARY, "Wilson, mapped"),
        "fbeta": Definition(
            "As F1, recall weighing `beta` times as much, twice unless the model says otherwise.", _BINARY, EFFECTIVE
        ),
        **{
            f"{name}_macro": Definition(
                f"{meaning}; plain mean of the classes.", _AVERAGED, f"{MEANED[name]}; {OF_SETS}"
            )
            for name, meaning in _AVERAGES.items()
        },
        **{
            f"{name}_micro": Definition(
                f"{meaning}; all classes in one. Of multiclass models equal to accuracy.",
                _AVERAGED,
                f"{WILSON}; {OF_SETS}",
            )
            for name, meaning in _AVERAGES.items()
        },
        **{
            f"{name}_weighted": Definition(
                f"{meaning}; mean of the classes by their labels.",
                _MULTICLASS,
                WILSON if name == "recall" else EFFECTIVE,
            )
            for name, meaning in _AVERAGES.items()
        },
        "roc_auc": Definition(
            "Chance that a positive has a higher score than a negative.", _BINARY, "DeLong's variance, Wilson"
        ),
        "average_precision": Definition(
            "Mean precision over the recall that scores reach.", _BINARY, "delta method on its log odds"
        ),
        "log_loss": Definition("Mean negative logarithm of the probability of the label.", _BINARY, GAMMA, Better.LESS),
        "brier": Definition("Mean squared distance of score and outcome.", _BINARY, EFFECTIVE, Better.LESS),
        "expected_calibration_error": Definition(
            "Mean distance of score and frequency over ten equal tenths of the scores.",
            _ANY_CLASSES,
            "what noise leaves possible, inverted",
            Better.LESS,
        ),
        "mae": Definition("Mean absolute error.", _REGRESSION, GAMMA, Better.LESS),
        "rmse": Definition("Root of the mean squared error.", _REGRESSION, "root of gamma", Better.LESS),
        "mape": Definition("Mean absolute error, each as a share of its label.", _REGRESSION, GAMMA, Better.LESS),
        "rmsle": Definition(
            "Root of the mean squared difference of log(1 + x).", _REGRESSION, "root of gamma", Better.LESS
        ),
        "r2": Definition("Share of the labels' variance that is explained, at most 1.", _REGRESSION, "delta method"),
        "subset_accuracy": Definition("Share of predicted sets that equal their label.", _MULTILABEL, WILSON),
        "hamming_loss": Definition(
            "Share of all classes of all predictions that are invented or missed.", _MULTILABEL, EFFECTIVE, Better.LESS
        ),
        "ndcg_at_k": Definition(
            "Discounted gain of the relevant items among the first k, over that of the best ranking.",
            _RANKING,
            EFFECTIVE,
        ),
        "hit_rate_at_k": Definition("Share of rankings with a relevant item among the first k.", _RANKING, WILSON),
        "mrr": Definition("Mean of 1 / rank of the first relevant item, 0 if none is ranked.", _RANKING, EFFECTIVE),
        "precision_at_k": Definition("Relevant items among the first k, over k.", _RANKING, EFFECTIVE),
        "recall_at_k": Definition("Relevant items among the first k, over all relevant.", _RANKING, EFFECTIVE),
        "bias": Definition("Mean of prediction minus label.", _REGRESSION, "Student", Better.NEAR_ZERO),
    }
)
"""By name."""
