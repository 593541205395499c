"""How a ledger begins, and when a worker must not touch what it finds.

The charter is written before any shard and says which ledger the shards belong to. A start that was cut is finished by
whoever comes next; each step is idempotent:

    charter (creating) -> every shard -> start offsets to the group -> charter (complete)

It also says in which format the shards are written. A worker reads its own format; an older one is brought up to it
at the start, a newer one is left alone.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence

from streams.errors import PermanentFailure, TemporaryFailure
from streams.ledger.agreements import Agreement, Agreements, Proposal
from streams.ledger.parts import ShardState, Source

__all__ = [
    "FORMAT",
    "Charter",
    "Start",
    "agreed_by",
    "agreements_of",
    "charter_lost",
    "check_format",
    "check_shards",
    "decide_start",
]

FORMAT = 4
"""Of what the shards hold. One more whenever a worker of the version before would misread it; then
`agents.ledger_start.MIGRATIONS` says how an older ledger gets there."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Charter:
    """What all shards of a ledger have in common: its id, their number, and where each source begins.

    `format` is 0 in a ledger from before there was the field. `agreements` says by model how its windows are counted;
    None before a worker has said so. `edition` is theirs, `proposal` what is to become of them. `revision` names the
    last amendment.
    """

    ledger_id: str
    shards: int
    starts: Mapping[Source, int]
    is_creating: bool = False
    format: int = FORMAT
    agreements: Mapping[str, Agreement] | None = None
    edition: int = 0
    proposal: Proposal | None = None
    revision: str = ""

    @property
    def agreed(self) -> Agreements:
        """How all models are counted."""
        return Agreements(self.edition, self.agreements)

    @property
    def newest_edition(self) -> int:
        """The last edition that shards were told of: of the proposal, where there is one."""
        return self.edition if self.proposal is None else self.proposal.edition


class Start(enum.Enum):
    """What a worker does first."""

    FOUND = "no ledger and no history: found one from the earliest offsets"
    FINISH = "another start was cut: finish it"
    RESUME = "continue from the stored offsets"


def agreements_of(charter: Charter | None) -> Agreements:
    """How all models are counted; nothing is agreed on where there is no ledger."""
    return Agreements() if charter is None else charter.agreed


def agreed_by(charter: Charter | None, states: Iterable[ShardState]) -> Agreements:
    """How all models are counted, if the charter still knows.

    Args:
        charter: read after the states.
        states: of the shards.

    Raises:
        TemporaryFailure: the charter is lost, or its tail, and does not know what shards were counted by last.
    """
    newest = 0 if charter is None else charter.newest_edition
    if any(state.edition > newest for state in states):
        if charter is None:
            raise TemporaryFailure("the ledger's charter is lost; start a worker again, it says what to do")
        raise TemporaryFailure("the ledger's charter has lost what was agreed on last, until a worker restores it")
    return agreements_of(charter)


def charter_lost() -> PermanentFailure:
    """What to say of shards that are there while their charter is not."""
    return PermanentFailure(
        "Redis has shards of a ledger but not its charter: part of Redis was lost. "
        "Run `latelabel init --rebuild` to count again from what Kafka still has."
    )


def check_format(charter: Charter | None) -> None:
    """Refuse a ledger that only a newer version can read.

    Raises:
        PermanentFailure: it is one; says which version of the format was found, and what to do.
    """
    if charter is not None and charter.format > FORMAT:
        raise PermanentFailure(
            f"the ledger has format {charter.format}, this version of Latelabel knows formats up to {FORMAT}: a newer "
            "version has written it. Start that version again, or count again under another redis.prefix and "
            "kafka.group."
        )


def check_shards(charter: Charter, shards: int) -> None:
    """Refuse a ledger of another number of shards, of which some may look as if they were ours.

    Raises:
        PermanentFailure: it is one; says both numbers, and what to do.
    """
    if charter.shards != shards:
        raise PermanentFailure(
            f"the ledger has {charter.shards} shards, the configuration says {shards}. The number is fixed when a "
            f"ledger is created: set redis.shards to {charter.shards}, or count again under another redis.prefix."
        )


def decide_start(*, charter: Charter | None, ledger_ids: Sequence[str | None], group_has_committed: bool) -> Start:
    """Choose how to start from what Redis and the consumer group say.

    Args:
        charter: what Redis says about the whole ledger, if anything.
        ledger_ids: for each configured shard, the ledger it belongs to.
        group_has_committed: whether the consumer group ever committed an offset.

    Raises:
        PermanentFailure: what is there was lost in part or belongs to something else; the message says what to run.
    """
    shards = len(ledger_ids)
    check_format(charter)
    if charter is None:
        if any(ledger_ids):
            raise charter_lost()
        if group_has_committed:
            raise PermanentFailure(
                "Redis has no ledger, but the consumer group has read before: Redis was emptied, or this is another "
                "Redis. Run `latelabel init --rebuild` to count again from what Kafka still has."
            )
        return Start.FOUND
    check_shards(charter, shards)
    if charter.is_creating:
        return Start.FINISH
    for shard, ledger_id in enumerate(ledger_ids):
        if ledger_id is None:
            raise PermanentFailure(
                f"shard {shard} has no ledger: the Redis node that held it was lost. "
                f"Run `latelabel init --rebuild --shard {shard}` to count its part again."
            )
        if ledger_id != charter.ledger_id:
            raise PermanentFailure(
                f"shard {shard} belongs to ledger {ledger_id}, the charter says {charter.ledger_id}. "
                f"Run `latelabel init --rebuild --shard {shard}` to count its part again."
            )
    return Start.RESUME
