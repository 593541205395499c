"""The models under chaos: what the configuration says of them, and what the recount needs to know.

Windows and horizons are minutes, and traffic passes a minute of event time in a second, so that windows
become final, and ids are forgotten, while faults still go on. One model is not listed: it has the defaults.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

__all__ = ["ALLOWED_LATENESS_MS", "LISTED", "MINUTE_MS", "UNLISTED", "Monitored", "monitored_as", "write_configuration"]

MINUTE_MS = 60_000
ALLOWED_LATENESS_MS = MINUTE_MS


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Monitored:
    """How a model is counted. Durations in milliseconds; the smallest report window is the base window."""

    name: str
    report_windows_ms: tuple[int, ...]
    horizon_ms: int
    skew_ms: int
    first_label_wins: bool = False
    segments: tuple[str, ...] = ()
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()
    positive_class: str | None = None

    @property
    def base_ms(self) -> int:
        """The window that counts are kept in."""
        return min(self.report_windows_ms)

    def section(self) -> dict[str, Any]:
        """The model's entry in the configuration."""
        return {
            "name": self.name,
            "task": "multiclass" if self.positive_class is None else "binary",
            **({} if self.positive_class is None else {"positive_class": self.positive_class}),
            "classes": {"names": list(self.classes), "aliases": dict(self.aliases)},
            "report_windows": [f"{size_ms}ms" for size_ms in self.report_windows_ms],
            "label_horizon": f"{self.horizon_ms}ms",
            "allowed_skew": f"{self.skew_ms}ms",
            "label_policy": "first" if self.first_label_wins else "last",
            "segments": list(self.segments),
        }


FRAUD = Monitored(
    name="fraud",
    report_windows_ms=(MINUTE_MS, 5 * MINUTE_MS),
    horizon_ms=4 * MINUTE_MS,
    skew_ms=MINUTE_MS,
    segments=("country",),
    aliases={"1": "fraud", "0": "ok"},
    classes=("fraud", "ok"),
    positive_class="fraud",
)
STARS = Monitored(
    name="stars", report_windows_ms=(2 * MINUTE_MS,), horizon_ms=6 * MINUTE_MS, skew_ms=30_000, first_label_wins=True
)
LISTED = (FRAUD, STARS)
UNLISTED = Monitored(
    name="churn",
    report_windows_ms=(5 * MINUTE_MS, 60 * MINUTE_MS),
    horizon_ms=24 * 60 * MINUTE_MS,
    skew_ms=5 * MINUTE_MS,
)


def monitored_as(model: str) -> Monitored:
    """How a model is counted; one that is not listed has the defaults."""
    return next((each for each in LISTED if each.name == model), UNLISTED)


def write_configuration(
    path: Path,
    *,
    brokers: str,
    redis_url: str,
    name: str,
    topics: Mapping[str, str],
    partitions: int,
    shards: int,
    web_port: int,
    models: Sequence[Monitored] = LISTED,
) -> Path:
    """Write a worker's configuration; `name` is its group and its prefix in Redis."""
    content = {
        "kafka": {"brokers": [brokers], "group": name, "topics": dict(topics), "partitions": partitions},
        "redis": {"url": redis_url, "prefix": name, "shards": shards},
        "evaluation_interval": "500ms",
        "allowed_lateness": f"{ALLOWED_LATENESS_MS}ms",
        "web": {"host": "127.0.0.1", "port": web_port},
        "models": [model.section() for model in models],
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
