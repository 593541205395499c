"""The charter of a ledger as a hash in Redis: what each field holds, and what an amendment writes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping

import msgspec

from agents.commit_arguments import Argument
from streams.ledger.agreements import Agreement, Proposal
from streams.ledger.founding import Charter
from streams.ledger.parts import Source

__all__ = ["amending_arguments", "founding_arguments", "read_charter"]

OPTIONAL = ("models", "proposal")
"""Fields that are there only if they hold something."""


def read_charter(fields: Mapping[bytes, bytes]) -> Charter:
    """What the fields say."""
    starts = json.loads(fields[b"starts"])
    models, proposal = fields.get(b"models"), fields.get(b"proposal")
    return Charter(
        ledger_id=fields[b"ledger"].decode(),
        shards=int(fields[b"shards"]),
        starts={Source.parse(name): offset for name, offset in starts.items()},
        is_creating=b"creating" in fields,
        format=int(fields.get(b"format", 0)),
        agreements=None if models is None else msgspec.json.decode(models, type=dict[str, Agreement]),
        edition=int(fields.get(b"edition", 0)),
        proposal=None if proposal is None else msgspec.json.decode(proposal, type=Proposal),
        revision=fields.get(b"revision", b"").decode(),
    )


def founding_arguments(charter: Charter) -> list[Argument]:
    """Of the script `found`: the fields of a charter whose shards are still to be created."""
    starts = json.dumps({str(source): offset for source, offset in charter.starts.items()})
    fields: list[Argument] = ["ledger", charter.ledger_id, "shards", charter.shards, "starts", starts]
    return [*fields, "format", charter.format, "creating", 1]


def amending_arguments(before: Charter, after: Charter) -> list[Argument]:
    """Of the script `amend_charter`."""
    fields: dict[str, Argument] = {"revision": uuid.uuid4().hex, "format": after.format, "edition": after.edition}
    for name, content in zip(OPTIONAL, (after.agreements, after.proposal), strict=True):
        if content is not None:
            fields[name] = msgspec.json.encode(content)
    gone = ",".join(name for name in OPTIONAL if name not in fields)
    arguments: list[Argument] = [before.ledger_id, before.revision, gone]
    for field, value in fields.items():
        arguments += (field, value)
    return arguments
