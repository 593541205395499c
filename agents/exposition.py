"""Prometheus' text format, version 0.0.4."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping

__all__ = ["CONTENT_TYPE", "Kind", "Metric", "expose"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Kind(enum.StrEnum):
    """What a number does."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """A number, or one for each set of labels."""

    name: str
    kind: Kind
    help: str
    values: float | Mapping[tuple[tuple[str, str], ...], float]


def expose(metrics: Iterable[Metric]) -> str:
    r"""All metrics, each with its help and type.

    >>> print(expose([Metric("reads_total", Kind.COUNTER, "Read.", {(("topic", 'a"b'),): 2})]), end="")
    # HELP reads_total Read.
    # TYPE reads_total counter
    reads_total{topic="a\"b"} 2
    """
    lines: list[str] = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        values = metric.values if isinstance(metric.values, Mapping) else {(): metric.values}
        lines += [f"{metric.name}{_labels(labels)} {value}" for labels, value in values.items()]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
