"""The charter of a ledger as a hash in Redis: what each field holds, and what an amendment writes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping

import msgspec

from agents.commit_arguments import Argument
from streams.ledger.agreements import Agreement, Proposal
from streams.ledger.eras import Era
from streams.ledger.founding import Charter
from streams.ledger.parts import Source

__all__ = ["amending_arguments", "founding_arguments", "read_charter"]

WITH_ERAS = 4
"""The format since which agreements have eras, and fields of their own."""
OPTIONAL = ("agreed", "proposed")
"""Fields that are there only if they hold something."""


def read_charter(fields: Mapping[bytes, bytes]) -> Charter:
    """What the fields say."""
    starts = json.loads(fields[b"starts"])
    format_ = int(fields.get(b"format", 0))
    agreed, proposed = (fields.get(name.encode(), b"null") for name in OPTIONAL)
    if format_ < WITH_ERAS and agreed == b"null":
        agreed, proposed = _with_eras(fields.get(b"models", b"null"), fields.get(b"proposal", b"null"))
    return Charter(
        ledger_id=fields[b"ledger"].decode(),
        shards=int(fields[b"shards"]),
        starts={Source.parse(name): offset for name, offset in starts.items()},
        is_creating=b"creating" in fields,
        format=format_,
        agreements=msgspec.json.decode(agreed, type=dict[str, Agreement] | None),
        edition=int(fields.get(b"edition", 0)),
        proposal=msgspec.json.decode(proposed, type=Proposal | None),
        revision=fields.get(b"revision", b"").decode(),
    )


def _with_eras(stored_models: bytes, stored_proposal: bytes) -> tuple[bytes, bytes]:
    """Agreements and proposal out of the fields of older versions, by which a model has one horizon.

    Those fields stay as they are: a worker of such a version that still runs may read them, and what it writes there
    nobody reads.
    """
    models, proposal = json.loads(stored_models), json.loads(stored_proposal)
    for name, change in (proposal or {}).get("changes", {}).items():
        change["label_horizon_ms"] = (models or {}).get(name, {}).get("label_horizon_ms", Era().label_horizon_ms)
    for model in (models or {}).values():
        newest = {"segments": model["segments"], "cross": model["cross"], "from_ms": model.get("segmented_from_ms", 0)}
        eras = [*model.get("segmented_before", ()), newest]
        model["eras"] = [{**era, "label_horizon_ms": model["label_horizon_ms"]} for era in eras]
    return json.dumps(models).encode(), json.dumps(proposal).encode()


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
