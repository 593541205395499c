"""Tells of alerts in the terminal, each time that one begins or ends."""

from __future__ import annotations

from agents.demo.screen import Screen
from schemas.alert import read_alert

__all__ = ["ToldAlerts"]


class ToldAlerts:
    """Says every alert once that fires, and once that it is resolved, with why; the watchdog always fires.

    `fired` counts those that fired.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._told: set[tuple[str, str, str]] = set()
        self.fired = 0

    def receive(self, _: bytes, value: bytes) -> None:
        """Take a record of the alerts topic; what is sent again is not told again."""
        alert = read_alert(value)
        identity = (alert.fingerprint, alert.starts_at, alert.status)
        if alert.name == "Watchdog" or identity in self._told:
            return
        self._told.add(identity)
        self.fired += alert.status == "firing"
        texts = alert.annotations
        self._screen.say(
            f"  {texts['window_start'][:10]} {alert.status.upper()} {alert.name}: {texts['summary']}."
            f" {texts['description']}"
        )
