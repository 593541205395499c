"""What a worker knows of how models are counted, and how a change that somebody proposed comes to hold for all.

`streams.ledger.agreements` says what the steps are and what comes out. Each may be cut anywhere and is done again by
whoever finds it: the one that proposed, one whose predictions were not taken, or one that looks at the charter once a
second.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Callable, Sequence

from agents.durations import duration_text
from schemas.times import format_time
from streams.errors import PermanentFailure
from streams.identity import model_version_hash
from streams.ledger.agreements import Agreement, Proposal, concluded, joined
from streams.ledger.eras import Era
from streams.ledger.founding import Charter, charter_lost
from streams.ledger.parts import Role, ShardState
from streams.ports import Clock, Ledger

__all__ = ["AgreedModels", "conclude", "counted_models", "eras_text", "follow", "next_edition"]

_log = logging.getLogger(__name__)


class AgreedModels:
    """The agreements that hold, as far as this worker knows: predictions packed by older ones are not taken.

    Args:
        charter: as it was when the worker started.
    """

    def __init__(self, ledger: Ledger, clock: Clock, charter: Charter) -> None:
        self.now = charter.agreed
        self._ledger = ledger
        self._clock = clock
        self._ledger_id = charter.ledger_id
        self._renewing = asyncio.Lock()

    async def look(self, charter: Charter | None, states: Sequence[ShardState]) -> None:
        """Renew what is known if the charter, or a shard, has something else.

        Raises:
            TemporaryFailure: the ledger does not answer.
            PermanentFailure: the charter is lost, or what the shards were counted by is lost from it.
        """
        if charter is None:
            raise charter_lost()
        if charter.proposal is not None or {self.now.edition} != {charter.edition, *(each.edition for each in states)}:
            await self.renew()

    async def renew(self) -> None:
        """Learn what holds now; conclude what is proposed, and bring all shards to it.

        Raises:
            TemporaryFailure: the ledger does not answer.
            PermanentFailure: the charter lost what the shards were counted by.
        """
        async with self._renewing:
            while (charter := await self._ledger.charter()) is not None and charter.ledger_id == self._ledger_id:
                if charter.edition < self.now.edition:
                    await self._restore(charter)
                elif charter.proposal is not None:
                    await conclude(self._ledger, charter, now_ms=self._clock.now_ms)
                else:
                    await follow(self._ledger, charter)
                    self.now = charter.agreed
                    return

    async def _restore(self, charter: Charter) -> None:
        """Put back what a charter has lost with its tail, and have it agreed on anew."""
        _log.warning("The charter of the ledger has lost its last changes; what changed is agreed on anew")
        agreements, changes = joined(charter.agreements or {}, self.now.models or {})
        if charter.proposal is not None and charter.proposal.edition > self.now.edition:
            changes = {**changes, **charter.proposal.changes}
        edition = next_edition(self.now.edition, charter, now_ms=self._clock.now_ms)
        restored = dataclasses.replace(
            charter,
            agreements=agreements,
            edition=self.now.edition,
            proposal=Proposal(edition=edition, changes=changes),
        )
        await self._ledger.amend_charter(charter, restored)


def next_edition(least: int, charter: Charter, *, now_ms: Callable[[], int]) -> int:
    """A number beyond all that were given. Near wall time, so that a store which lost its tail gives none twice."""
    proposed = 0 if charter.proposal is None else charter.proposal.edition
    return max(least + 1, charter.edition + 1, proposed + 1, now_ms())


async def conclude(ledger: Ledger, charter: Charter, *, now_ms: Callable[[], int]) -> None:
    """Have all shards hold predictions back and settle from when on the proposal holds, unless somebody else has.

    Raises:
        TemporaryFailure: the ledger does not answer; may be repeated.
        PermanentFailure: the charter lost what the shards were counted by.
    """
    proposal = charter.proposal
    if proposal is None:
        return
    if not await _hold(ledger, charter, proposal.edition):
        return
    states = await asyncio.gather(*map(ledger.state, range(ledger.shards)))
    agreements = concluded(
        charter.agreements or {},
        proposal.changes,
        counted=await counted_models(ledger),
        high_ms=max(
            (
                at.high_ms
                for state in states
                if state is not None
                for source, at in state.sources.items()
                if source.role is Role.PREDICTIONS
            ),
            default=0,
        ),
    )
    edition = next_edition(proposal.edition, charter, now_ms=now_ms)
    after = dataclasses.replace(charter, agreements=agreements, edition=edition, proposal=None)
    if await ledger.amend_charter(charter, after):
        for name in proposal.changes:
            _log.info("%s", eras_text(name, agreements[name]))


async def follow(ledger: Ledger, charter: Charter) -> None:
    """Have all shards take predictions by the edition of the charter, those too that were built again meanwhile.

    Raises:
        TemporaryFailure: the ledger does not answer; may be repeated.
        PermanentFailure: the charter lost what the shards were counted by.
    """
    await _hold(ledger, charter, charter.edition)


async def _hold(ledger: Ledger, charter: Charter, edition: int) -> bool:
    """False if the charter is a past one."""
    held = await asyncio.gather(*(ledger.hold_edition(shard, edition) for shard in range(ledger.shards)))
    if max(held) <= edition:
        return True
    if await ledger.charter() == charter:
        raise PermanentFailure(
            "shards of the ledger were counted by settings that its charter knows nothing of: the Redis node that "
            "held it lost its last changes. Run `latelabel init --rebuild` to count again from what Kafka still has."
        )
    return False


async def counted_models(ledger: Ledger) -> frozenset[str]:
    """Names of all models that have counts."""
    tables = await asyncio.gather(*map(ledger.names, range(ledger.shards)))
    return frozenset(model for table in tables for name, text in table.items() if (model := _counted_model(name, text)))


def _counted_model(hashed: bytes, text: str) -> str | None:
    """The model, if the name is one of a model version; those of classes and segments stand in the same table."""
    try:
        parts = json.loads(text)
    except ValueError:
        return None
    is_pair = isinstance(parts, list) and [str, str] == [type(part) for part in parts]
    return parts[0] if is_pair and model_version_hash(*parts) == hashed else None


def eras_text(model: str, agreement: Agreement) -> str:
    """How a model is counted, and from when on.

    >>> from streams.monitored_model import MonitoredModel
    >>> eras_text("fraud", Agreement.of(MonitoredModel(name="fraud", segments=("country",))))
    'fraud is counted by segments [country], label_horizon 1d'
    """
    *before, newest = agreement.eras
    text = f"{model} is counted by {_written(newest)}"
    if not before:
        return text
    return (
        f"{text} in windows that start at {format_time(newest.from_ms)} or later; before that by {_written(before[-1])}"
    )


def _written(era: Era) -> str:
    crosses = [f"[{', '.join(names)}]" for names in era.cross]
    crossed = f", cross [{', '.join(crosses)}]" if crosses else ""
    return f"segments [{', '.join(era.segments)}]{crossed}, label_horizon {duration_text(era.label_horizon_ms)}"
