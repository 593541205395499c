"""What is agreed about explaining one model: where it answers, how its neighbours are drawn, what may be told."""

from __future__ import annotations

import dataclasses
import enum

from streams.explanation.features import Discretizer

__all__ = ["ExplainTerms", "InputKind", "Method", "MissingValues"]


class InputKind(enum.StrEnum):
    """What the model takes."""

    TABULAR = "tabular"
    TEXT = "text"
    IMAGE = "image"


class Method(enum.StrEnum):
    """How shares are worked out."""

    LIME = "lime"
    SHAP = "shap"


class MissingValues(enum.StrEnum):
    """What to do when a feature has no value."""

    REFUSE = "refuse"
    IMPUTE = "impute"
    KEEP = "keep"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExplainTerms:
    """The settings of one model under `explain`.

    `features` empty: all that predictions carry, sorted. `classes`: the order of the model's outputs. `statistics` is
    the path of a file. `shown` None: all features may be told. `rate_per_minute` bounds what workers ask for.
    """

    predictor: str
    input: InputKind = InputKind.TABULAR
    method: Method = Method.LIME
    features: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    output: str | None = None
    discretizer: Discretizer = Discretizer.QUARTILE
    samples: int = 5000
    most_features: int = 10
    missing: MissingValues = MissingValues.REFUSE
    statistics: str | None = None
    rate_per_minute: float = 30.0
    shown: tuple[str, ...] | None = None
    hashed: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    allow_pickle: bool = False
