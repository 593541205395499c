"""When a receiver that keeps no state of its own is told about an alert: when it is news, not each time it is sent.

A firing alert is published again and again, so that it ends by itself if the monitor dies. People want to hear when it
begins, when it ends, and now and then that it is still on. Alertmanager decides the same for its receivers; these are
its rules, for one alert at a time.

    published   firing   firing   firing   (silence)          resolved   resolved
    told        first    -        repeat   expired at endsAt  -          -

An alert that ended before anybody was told is not told: there is nothing left to act on. If a process that is gone may
have told of it, its end is told.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

from schemas.alert import Alert
from schemas.times import parse_time_ms

__all__ = ["Notified", "Occasion", "Told", "occasion_of"]


class Occasion(enum.StrEnum):
    """Why a receiver is told."""

    FIRST = "first"
    REPEAT = "repeat"
    RESOLVED = "resolved"
    EXPIRED = "expired"


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """The last that a receiver heard of an alert that was firing, and when, in milliseconds since 1970.

    `last` is what was published last of it: it tells until when the alert is on.
    """

    last: Alert
    at_ms: int


def occasion_of(
    alert: Alert, told: Told | None, *, now_ms: int, repeat_ms: int, is_perhaps_told: bool = False
) -> Occasion | None:
    """Decide whether a published alert is news to the receiver.

    Args:
        alert: as it was published.
        told: None if it is not known that the receiver knows that it is firing.
        now_ms: wall clock.
        repeat_ms: after so long the receiver is told again that it still fires.
        is_perhaps_told: whether another process may have told the receiver that it is firing.

    Returns: why it is news; None if it is not.

    Source: `needsUpdate` of Alertmanager's deduplication.
    """
    is_known = told is not None or is_perhaps_told
    if alert.status == "resolved":
        return Occasion.RESOLVED if is_known else None
    if parse_time_ms(alert.ends_at) <= now_ms:
        return Occasion.EXPIRED if is_known else None
    if told is None:
        return Occasion.FIRST
    return Occasion.REPEAT if now_ms - told.at_ms >= repeat_ms else None


class Notified:
    """What one receiver was told of alerts that are firing, by fingerprint. Holds nothing of those that ended.

    Args:
        repeat_ms: as in `occasion_of`.
    """

    def __init__(self, *, repeat_ms: int) -> None:
        self._repeat_ms = repeat_ms
        self._told: dict[str, Told] = {}

    def __len__(self) -> int:
        return len(self._told)

    def __contains__(self, fingerprint: str) -> bool:
        return fingerprint in self._told

    def heard(self, alert: Alert, *, now_ms: int, is_perhaps_told: bool = False) -> Occasion | None:
        """Decide about a published alert as `occasion_of` does, and note until when it is on if it is no news.

        An occasion takes effect with `tell`, once the receiver has taken it.
        """
        told = self._told.get(alert.fingerprint)
        occasion = occasion_of(alert, told, now_ms=now_ms, repeat_ms=self._repeat_ms, is_perhaps_told=is_perhaps_told)
        if occasion is None and told is not None:
            self._told[alert.fingerprint] = Told(alert, told.at_ms)
        return occasion

    def tell(self, alert: Alert, occasion: Occasion, *, now_ms: int) -> None:
        """Note that the receiver was told."""
        if occasion in (Occasion.FIRST, Occasion.REPEAT):
            self._told[alert.fingerprint] = Told(alert, now_ms)
        else:
            self._told.pop(alert.fingerprint, None)

    def recall(self, alert: Alert, *, at_ms: int) -> None:
        """Note what was delivered earlier, as far as it can be known: that it was told of when it was published."""
        occasion = self.heard(alert, now_ms=at_ms)
        if occasion is not None:
            self.tell(alert, occasion, now_ms=at_ms)

    def expired(self, *, now_ms: int) -> Iterator[Alert]:
        """Alerts that the receiver thinks are firing and that nobody has sent again in time."""
        for told in self._told.values():
            if parse_time_ms(told.last.ends_at) <= now_ms:
                yield told.last

    def forget(self, fingerprint: str) -> None:
        """Have nothing more to do with an alert."""
        self._told.pop(fingerprint, None)

    def clear(self) -> None:
        """Forget everything."""
        self._told.clear()
