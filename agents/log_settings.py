"""The `log` section of the configuration, and which form a log has where it is not said."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping

from agents.settings_fields import ENVIRONMENT_PREFIX, Applies, setting
from agents.settings_readers import choice

__all__ = ["CONTAINER_VARIABLE", "LogSettings"]

CONTAINER_VARIABLE = f"{ENVIRONMENT_PREFIX}IN_CONTAINER"
"""Set by our image: whatever reads a container's log wants objects."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is logged on standard error, and how."""

    format: str = setting(
        "auto",
        choice("auto", "text", "json"),
        "`text` for people, `json` for programs: one object a line. `auto`: `json` in our container image, unless"
        " standard error is a terminal; else `text`.",
    )
    level: str = setting(
        "info",
        choice("debug", "info", "warning", "error"),
        "The least of our own messages that is logged.",
        Applies.AT_ONCE,
    )

    @property
    def level_number(self) -> int:
        """As `logging` counts."""
        return logging.getLevelNamesMapping()[self.level.upper()]

    def is_json(self, environ: Mapping[str, str], *, on_terminal: bool) -> bool:
        """Whether lines are objects."""
        if self.format == "auto":
            return bool(environ.get(CONTAINER_VARIABLE)) and not on_terminal
        return self.format == "json"
