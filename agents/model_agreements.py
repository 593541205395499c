"""Whether models may be counted as the configuration says, given what the ledger has counted of them already.

What is decided stands in `streams.ledger.agreements`; here it is read, told in the words of the configuration, and
written back.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator, Mapping

from agents.agreed_models import conclude, counted_models, eras_text, follow, next_edition
from agents.settings_fields import key_of, written_flow, written_value
from streams.errors import PermanentFailure, TemporaryFailure
from streams.ledger.agreements import Agreement, Breach, Proposal, agree, breaches, changes_wanted
from streams.ledger.founding import Charter
from streams.monitored_model import MonitoredModel
from streams.ports import Ledger

__all__ = ["broken_agreements", "change_notes", "settle_agreements"]

RECOUNT = (
    "or count everything again by the new settings: `latelabel init --rebuild` for what Kafka still has, or workers "
    "with another redis.prefix and kafka.group beside these"
)
"""What else may be done where a counted model should be counted differently."""


async def broken_agreements(ledger: Ledger, models: Mapping[str, MonitoredModel]) -> list[tuple[str, str]]:
    """What `settle_agreements` would refuse: what differs, and what to do. Changes nothing."""
    charter = await ledger.charter()
    if charter is None:
        return []
    found = breaches(charter.agreements, models, counted=await counted_models(ledger))
    return [(_told(breach), _remedy(breach)) for breach in found]


def change_notes(charter: Charter | None, models: Mapping[str, MonitoredModel]) -> Iterator[tuple[str, str]]:
    """Which models changed or are about to, and what that needs: nothing where the change is agreed on."""
    stored = None if charter is None else charter.agreements
    agreements = stored or {}
    for name, agreement in agreements.items():
        if len(agreement.eras) > 1:
            yield eras_text(name, agreement), ""
    for name in changes_wanted(stored, models):
        agreement = agreements.get(name) or Agreement.of(MonitoredModel(name=name))
        yield (
            f"{eras_text(name, agreement)}; this configuration says otherwise",
            "start all workers with it: windows that start later follow",
        )


async def settle_agreements(
    ledger: Ledger,
    models: Mapping[str, MonitoredModel],
    *,
    read_ahead_ms: int,
    now_ms: Callable[[], int],
    may_change: bool = True,
) -> Charter:
    """Compare how models are configured with how the ledger has counted them, and have it remember that.

    Args:
        models: the listed ones, by name.
        read_ahead_ms: how far beyond what is stored event times may have been read.
        now_ms: wall time.
        may_change: whether windows that start later are to be counted as these models say; otherwise as is agreed.

    Returns: what holds from now on.

    Raises:
        TemporaryFailure: Redis does not answer; may be repeated.
        PermanentFailure: a model that has been counted would be counted differently; names every such setting.
    """
    while True:
        charter = await ledger.charter()
        if charter is None:
            raise TemporaryFailure("the ledger was dropped while it was opened")
        if charter.proposal is not None:
            await conclude(ledger, charter, now_ms=now_ms)
            continue
        counted = await counted_models(ledger)
        if found := breaches(charter.agreements, models, counted=counted):
            raise PermanentFailure("\n".join(f"{_told(breach)} {_remedy(breach)}" for breach in found))
        changes = changes_wanted(charter.agreements, models) if may_change else {}
        if changes:
            proposal = Proposal(edition=next_edition(charter.edition, charter, now_ms=now_ms), changes=changes)
            await ledger.amend_charter(charter, dataclasses.replace(charter, proposal=proposal))
            continue
        states = await asyncio.gather(*map(ledger.state, range(ledger.shards)))
        highs_ms = [at.high_ms for state in states if state is not None for at in state.sources.values()]
        later_ms = max(highs_ms, default=0) + read_ahead_ms
        agreed = dataclasses.replace(
            charter, agreements=agree(charter.agreements, models, counted=counted, later_ms=later_ms)
        )
        if agreed == charter:
            await follow(ledger, charter)
            return charter
        await ledger.amend_charter(charter, agreed)


def _told(breach: Breach) -> str:
    if breach.setting == "answers":
        return f"Model {breach.model} was counted by {breach.stored}, its task says {breach.wanted} now."
    setting, stored, wanted = key_of(breach.setting), _written(breach, breach.stored), _written(breach, breach.wanted)
    return f"Model {breach.model} was counted with {setting} {stored}, the configuration says {wanted}."


def _remedy(breach: Breach) -> str:
    if breach.setting == "answers":
        return f"Give the model another name, or set its task back; {RECOUNT}."
    return f"Windows would mix both: set {key_of(breach.setting)} to {_written(breach, breach.stored)}; {RECOUNT}."


def _written(breach: Breach, value: object) -> str:
    return written_flow(written_value(breach.setting, value))
