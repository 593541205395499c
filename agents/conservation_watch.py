"""A worker's eye on conservation: a shard whose books do not balance is told once, loudly, and goes on counting.

Stopping would not bring the counts back; `latelabel init --rebuild --shard` does.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Mapping

from streams.ledger.conservation import Violation, broken_by_fates
from streams.ports import Ledger

__all__ = ["ConservationWatch"]

_log = logging.getLogger(__name__)


class ConservationWatch:
    """Checks shards of one ledger when it is asked to.

    `checks` counts how often, `failures` how often something was wrong; both only grow. `violations` is what was wrong
    with each shard when it was looked at last.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.checks = 0
        self.failures = 0
        self._ledger = ledger
        self.violations: dict[int, tuple[Violation, ...]] = {}
        self._fates: dict[int, Mapping[str, int]] = {}
        self._told: set[tuple[int, Violation]] = set()

    @property
    def fates(self) -> Mapping[str, int]:
        """Those of all shards, each as it was looked at last; `streams.ports.Ledger.fates` names them."""
        total: collections.Counter[str] = collections.Counter()
        for fates in self._fates.values():
            total.update(fates)
        return total

    async def check_all(self) -> None:
        """Look at every shard.

        Raises:
            TemporaryFailure: the ledger does not answer.
        """
        await asyncio.gather(*map(self.check, range(self._ledger.shards)))

    async def check(self, shard: int) -> None:
        """Look at one shard. One call, which every commit happens before or after.

        Raises:
            TemporaryFailure: the ledger does not answer.
        """
        fates = await self._ledger.fates(shard)
        violations = broken_by_fates(fates)
        self._fates[shard], self.violations[shard] = fates, violations
        self.checks += 1
        self.failures += bool(violations)
        for violation in violations:
            if (shard, violation) not in self._told:
                self._told.add((shard, violation))
                _log.error(
                    "Shard %d does not conserve records, its counts are wrong from now on (%s). "
                    "`latelabel init --rebuild --shard %d` counts it again; `latelabel doctor` checks all shards",
                    shard,
                    violation,
                    shard,
                    extra={"shard": shard},
                )
