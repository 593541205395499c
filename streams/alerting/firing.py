"""How many alerts fire, by what a rule file says: so many series as it has rules, whatever models there are."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence

from streams.alerting.life_cycle import Phase
from streams.alerting.publication import DEFAULT_SEVERITY
from streams.alerting.record import AlertRecord
from streams.alerting.rules import AlertRule
from streams.alerting.watchdog import WATCHDOG

__all__ = ["firing"]

Named = tuple[str, str]
"""Name and severity of an alert."""


def firing(rules: Sequence[AlertRule], records: Iterable[AlertRecord]) -> Mapping[Named, int]:
    """Count the alerts that fire, by name and severity; 0 for every rule that is silent.

    What fires although no rule has it any more is not counted: it is about to be resolved.

    Args:
        rules: that hold now.
        records: the alerts that one worker looks after.
    """
    names = {rule.identity: (rule.alert, rule.labels.get("severity", DEFAULT_SEVERITY)) for rule in rules}
    names[WATCHDOG] = ("Watchdog", "none")
    counts: collections.Counter[Named] = collections.Counter(dict.fromkeys(names.values(), 0))
    for record in records:
        if record.state.phase is Phase.FIRING and record.rule in names:
            counts[names[record.rule]] += 1
    return counts
