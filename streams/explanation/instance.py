"""One prediction's features as the values that are explained, and what may be told of them."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from schemas.explanation import ExplainFailure
from streams.explanation.features import Feature, Numbers, Value
from streams.explanation.refusal import Refused
from streams.explanation.terms import MissingValues

__all__ = ["Instance", "instance_of", "told", "values_by_name"]

TOLD_CHARACTERS = 200
"""Of one text; the rest is in the record that the explanation points at."""
TOLD_FEATURES = 200


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Values in the order of the features, and those among them that stand in for missing ones."""

    values: tuple[Value, ...]
    imputed: Mapping[str, Value]


def values_by_name(features: Mapping[str, Any]) -> dict[str, Value]:
    """Features as a record has them, as values: true and false become categories.

    Raises: Refused with `wrong_features` for a list, an object or a number that is not finite.
    """
    return {name: _value(name, value) for name, value in features.items()}


def _value(name: str, value: Any) -> Value:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    if value is None or isinstance(value, str):
        return value
    raise Refused(
        ExplainFailure.WRONG_FEATURES,
        f"feature {name!r} is a {type(value).__name__}; tabular explanations take finite numbers, text, true, false and"
        " null",
    )


def instance_of(values: Mapping[str, Value], features: Sequence[Feature], missing: MissingValues) -> Instance:
    """The instance to explain.

    Raises: Refused with `missing_values`, naming them, where they are refused or cannot be kept.
    """
    absent = [feature for feature in features if values.get(feature.name) is None]
    imputed: dict[str, Value] = {}
    if missing is MissingValues.KEEP:
        absent = [feature for feature in absent if isinstance(feature, Numbers) and not feature.edges]
    if missing is MissingValues.IMPUTE:
        imputed = {feature.name: feature.usual for feature in absent}
    elif absent:
        names = ", ".join(feature.name for feature in absent[:5]) + (", …" if len(absent) > 5 else "")
        remedy = "set explain.missing to impute, or to keep for a model that takes missing values"
        if missing is MissingValues.KEEP:
            remedy = "without bins a missing number has no place: set explain.discretizer to quartile"
        raise Refused(ExplainFailure.MISSING_VALUES, f"no value for {names}; {remedy}")
    return Instance(
        values=tuple(imputed.get(feature.name, values.get(feature.name)) for feature in features), imputed=imputed
    )


def told(inputs: Mapping[str, Any], *, shown: Collection[str] | None, hashed: Collection[str]) -> dict[str, Any]:
    """What may be published of the inputs: those allowed, some only as a hash, long texts cut.

    Args:
        shown: names of those that may be told; None for all.
        hashed: names of those of which only equality may be told.

    >>> told({"iban": "DE02", "age": 3, "name": "Ann"}, shown=["iban", "age"], hashed=["iban"])
    {'iban': 'blake2b:ca73b7babafd', 'age': 3}
    """
    names = [name for name in inputs if shown is None or name in shown][:TOLD_FEATURES]
    return {name: _hash(inputs[name]) if name in hashed else _short(inputs[name]) for name in names}


def _hash(value: Any) -> str:
    return "blake2b:" + hashlib.blake2b(repr(value).encode(), digest_size=6).hexdigest()


def _short(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= TOLD_CHARACTERS else text[: TOLD_CHARACTERS - 1] + "…"
