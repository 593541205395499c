"""The class rule: how an answer or a label, whatever its JSON type, becomes the name of a class.

A model that answers `1` and a label that says `1.0`, `true` and `"true"`: each pair is one class. How
numbers are spelled must not depend on the language of the sender, so all are taken as the 64-bit
floats that JSON promises.

    true -> "true"    1.0 -> "1"    -0.0 -> "0"    0.1 -> "0.1"    9007199254740992 -> "9007199254740992.0"
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from schemas.errors import Reason, Rejected, shown
from schemas.limits import MAX_REGRESSION_MAGNITUDE, NAME_BYTES

__all__ = ["class_name", "class_names", "regression_value"]

_NO_ALIASES: Mapping[str, str] = MappingProxyType({})
_EXACT = 2**53
"""From here on, neighbouring integers are one and the same float."""


def class_name(value: object, aliases: Mapping[str, str] = _NO_ALIASES) -> str:
    """The class that a `prediction` or `label` names, aliases of the model applied.

    Args:
        value: a string, bool, int or finite float, as the codec reads it.
        aliases: further spellings of a class, already in the form that this rule gives.

    Raises:
        Rejected: `wrong_type` for a list or null, `out_of_bounds` for a name over 128 bytes and for a
            number that is no finite float.

    >>> class_name(-0.0), class_name(True), class_name(1e21), class_name(1.0, {"1": "fraud"})
    ('0', 'true', '1e+21', 'fraud')
    """
    if isinstance(value, str):
        if len(value) > NAME_BYTES // 4 and len(value.encode()) > NAME_BYTES:
            raise Rejected(
                Reason.OUT_OF_BOUNDS,
                f"the class {shown(value)} is longer than {NAME_BYTES} bytes; shorten it",
            )
        name = value
    elif isinstance(value, bool):
        name = "true" if value else "false"
    elif isinstance(value, int | float):
        name = _number_name(value)
    elif isinstance(value, list):
        raise Rejected(
            Reason.WRONG_TYPE,
            f"{shown(value)} is no single class; send one, or configure the model with task: multilabel or ranking",
        )
    else:
        raise Rejected(Reason.WRONG_TYPE, f"{shown(value)} is not one class; send a string, true, false or a number")
    return aliases.get(name, name) if aliases else name


def class_names(value: object) -> tuple[str, ...]:
    """The classes or items that a list names, in its order; each by the rule of `class_name`.

    Raises: Rejected, `wrong_type` unless it is a list of texts, numbers, true and false.

    >>> class_names(["shoes", 17, 17.0])
    ('shoes', '17', '17')
    """
    if not isinstance(value, list):
        raise Rejected(Reason.WRONG_TYPE, f"{shown(value)} is not a list; a multilabel or ranking model needs one")
    return tuple(map(class_name, value))


def regression_value(value: object) -> float:
    """The number that a `prediction` or `label` of a regression model states.

    Raises: Rejected, `wrong_type` unless it is a number (true and false are none), `out_of_bounds` if it
        is not finite or larger than 1e12 in size.

    >>> regression_value(3)
    3.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Rejected(Reason.WRONG_TYPE, f"{shown(value)} is not a number; a regression model needs one")
    if not abs(value) <= MAX_REGRESSION_MAGNITUDE:
        raise Rejected(
            Reason.OUT_OF_BOUNDS,
            f"{shown(value)} is beyond {MAX_REGRESSION_MAGNITUDE:g}; send a smaller unit",
        )
    return float(value)


def _number_name(value: float) -> str:
    if -_EXACT < value < _EXACT and value == int(value):
        return str(int(value))
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if number - number != 0:
        raise Rejected(Reason.OUT_OF_BOUNDS, f"{shown(value)} is not a finite 64-bit float; send a smaller one")
    return repr(number)
