"""The settings of every model by name, as they are at present: the reader's view of a configuration that may change."""

from __future__ import annotations

import functools

from agents.settings import Settings
from streams.monitored_model import MonitoredModel

__all__ = ["ModelTable"]

MODELS_CACHED = 4096


class ModelTable:
    """Called with a name, it returns that model's settings; all defaults if nobody lists it."""

    def __init__(self, settings: Settings) -> None:
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Answer by these settings from now on."""
        self._find = functools.lru_cache(MODELS_CACHED)(settings.model)

    def __call__(self, name: str) -> MonitoredModel:
        """The settings of a model."""
        return self._find(name)
