"""Whether models may be counted as the configuration says, given what the ledger has counted of them already.

What is decided stands in `streams.ledger.agreements`; here it is read, told in the words of the configuration, and
written back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from agents.settings_fields import key_of, written_flow, written_value
from streams.errors import PermanentFailure, TemporaryFailure
from streams.identity import model_version_hash
from streams.ledger.agreements import Agreement, Breach, agree, breaches
from streams.monitored_model import MonitoredModel
from streams.ports import Ledger

__all__ = ["broken_agreements", "settle_agreements"]

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
    found = breaches(charter.agreements, models, counted=await _counted_models(ledger))
    return [(_told(breach), _remedy(breach)) for breach in found]


async def settle_agreements(
    ledger: Ledger, models: Mapping[str, MonitoredModel], *, read_ahead_ms: int
) -> Mapping[str, Agreement]:
    """Compare how models are configured with how the ledger has counted them, and have it remember that.

    Args:
        models: the listed ones, by name.
        read_ahead_ms: how far beyond what is stored event times may have been read.

    Returns: what holds from now on.

    Raises:
        TemporaryFailure: Redis does not answer; may be repeated.
        PermanentFailure: a model that has been counted would be counted differently; names every such setting.
    """
    charter = await ledger.charter()
    if charter is None:
        raise TemporaryFailure("the ledger was dropped while it was opened")
    counted = await _counted_models(ledger)
    if found := breaches(charter.agreements, models, counted=counted):
        raise PermanentFailure("\n".join(f"{_told(breach)} {_remedy(breach)}" for breach in found))
    states = await asyncio.gather(*map(ledger.state, range(ledger.shards)))
    highs_ms = [at.high_ms for state in states if state is not None for at in state.sources.values()]
    later_ms = max(highs_ms, default=0) + read_ahead_ms
    agreed = agree(charter.agreements, models, counted=counted, later_ms=later_ms)
    if agreed != charter.agreements:
        await ledger.amend_charter(format=charter.format, agreements=agreed)
    return agreed


async def _counted_models(ledger: Ledger) -> frozenset[str]:
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
