"""Texts of alerts with places to fill in, in Prometheus' manner: substitution, and nothing that could run.

    accuracy {{ $value | humanizePercentage }} of {{ $labels.model }} is below {{ printf "%.2f" $threshold }}

A place names a variable and may pass it through functions. As in Prometheus a label that is not there is empty text,
and a text that cannot be expanded says so in its place: the alert goes out all the same.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping

__all__ = ["FUNCTIONS", "VARIABLES", "TemplateMistake", "expand", "parse_template"]

VARIABLES = (
    "labels", "value", "threshold", "samples", "coverage", "ci_low", "ci_high", "window_start", "window_end",
    "slices", "reason",
)  # fmt: skip
"""What a place may name; `labels` with the name of one."""

Value = float | str | None

_PLACE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_VARIABLE = re.compile(r"\$([a-z_]+)(?:\.([a-zA-Z_][a-zA-Z0-9_]*))?")
_PRINTF = re.compile(r'printf\s+"([^"]*)"(?:\s+(\$\S+))?')
_VERB = re.compile(r"%(?:\.([0-9]{1,2}))?([fgesdv])|%%")
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SMALL_PREFIXES = ((1e-3, "m"), (1e-6, "u"), (1e-9, "n"))
_UNITS_SECONDS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


class TemplateMistake(ValueError):
    """A text that is no template, or cannot be filled in; the message says where and what is known."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    variable: str
    label: str | None
    functions: tuple[tuple[str, str], ...]


Parsed = tuple["str | _Place", ...]


@functools.lru_cache(maxsize=4096)
def parse_template(text: str) -> Parsed:
    """Read a template.

    Raises: TemplateMistake that quotes the place.
    """
    parts: list[str | _Place] = []
    end = 0
    for found in _PLACE.finditer(text):
        parts += (text[end : found.start()], _place(found[1]))
        end = found.end()
    rest = text[end:]
    if "{{" in rest:
        raise TemplateMistake(f"{rest[rest.index('{{') :][:40]!r} is not closed by }}}}")
    return (*parts, rest)


def expand(text: str, labels: Mapping[str, str], values: Mapping[str, Value]) -> str:
    """Fill in a text.

    Args:
        text: a template.
        labels: of the alert.
        values: the other variables.

    >>> expand("{{ $labels.model }}: {{ $value | humanizePercentage }}", {"model": "fraud"}, {"value": 0.7132})
    'fraud: 71.32%'
    >>> expand("{{ $value | humanize }}", {}, {"value": None})
    '<error expanding template: $value is not a number: None>'
    """
    try:
        return "".join(
            part if isinstance(part, str) else _filled(part, labels, values) for part in parse_template(text)
        )
    except TemplateMistake as mistake:
        return f"<error expanding template: {mistake}>"


def _place(content: str) -> _Place:
    first, *functions = (piece.strip() for piece in content.split("|"))
    calls: list[tuple[str, str]] = []
    printf = _PRINTF.fullmatch(first)
    if printf and printf[2]:
        first, calls = printf[2], [("printf", _checked_format(printf[1]))]
    variable = _VARIABLE.fullmatch(first)
    if variable is None or variable[1] not in VARIABLES or (variable[1] == "labels") != (variable[2] is not None):
        known = ", ".join(f"${name}" for name in VARIABLES[1:])
        raise TemplateMistake(f"{{{{{content}}}}}: {first!r} is no variable; known are $labels.NAME, {known}")
    for function in functions:
        printf = _PRINTF.fullmatch(function)
        if printf and not printf[2]:
            calls.append(("printf", _checked_format(printf[1])))
        elif function in FUNCTIONS:
            calls.append((function, ""))
        else:
            known = ", ".join(FUNCTIONS)
            raise TemplateMistake(f'{{{{{content}}}}}: {function!r} is no function; known are {known}, printf "%.2f"')
    return _Place(variable[1], variable[2], tuple(calls))


def _checked_format(text: str) -> str:
    verbs = [found[2] for found in _VERB.finditer(text) if found[2]]
    if len(verbs) != 1 or "%" in _VERB.sub("", text):
        raise TemplateMistake(f"printf {text!r}: expected one of %f, %g, %e, %d, %s and %v, once")
    return text


def _filled(place: _Place, labels: Mapping[str, str], values: Mapping[str, Value]) -> str:
    name = place.variable
    value: Value = labels.get(place.label, "") if place.label is not None else values.get(name)
    for function, argument in place.functions:
        try:
            value = _printf(argument, value) if function == "printf" else FUNCTIONS[function](_number(value))
        except (TypeError, ValueError):
            raise TemplateMistake(f"${name} is not a number: {value}") from None
    return _text(value)


def _text(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def _number(value: Value) -> float:
    if value is None:
        raise ValueError
    return float(value)


def _printf(text: str, value: Value) -> str:
    def one(found: re.Match[str]) -> str:
        precision, verb = found[1], found[2]
        if verb is None:
            return "%"
        if verb in "sv":
            return _text(value)
        if verb == "d":
            return str(int(_number(value)))
        return f"{_number(value):.{precision or 6}{verb}}"

    return _VERB.sub(one, text)


def _humanize(value: float) -> str:
    for factor, prefix in _PREFIXES:
        if abs(value) >= factor:
            return f"{value / factor:.4g}{prefix}"
    if value == 0 or abs(value) >= 1:
        return f"{value:.4g}"
    for factor, prefix in _SMALL_PREFIXES:
        if abs(value) >= factor:
            return f"{value / factor:.4g}{prefix}"
    return f"{value:.4g}"


def _humanize_duration(seconds: float) -> str:
    rest = abs(seconds)
    written: list[str] = []
    if rest < 1:
        return f"{_humanize(seconds)}s"
    for unit, name in _UNITS_SECONDS:
        count, rest = divmod(rest, unit)
        if count or written:
            written.append(f"{count:.0f}{name}")
    return ("-" if seconds < 0 else "") + " ".join(written)


FUNCTIONS: Mapping[str, Callable[[float], str]] = {
    "humanize": _humanize,
    "humanizePercentage": lambda value: f"{100 * value:.4g}%",
    "humanizeDuration": _humanize_duration,
}
"""What a value may be passed through, each as Prometheus has it."""
