"""Decodes and packs batches of W1, again and again: what valgrind counts for `tests.bench.instructions`.

python -m tests.bench.packing_program REPEATS [sampled]

`sampled`: all models are explained, so that a sampler looks at each batch. Its clock goes on as fast as a core counts.
"""

from __future__ import annotations

import asyncio
import gc
import sys

from agents.explain_sampler import ExplainSampler
from agents.name_registry import NameLimits, NameRegistry
from agents.outages import Outages
from agents.packing import Packer, PackingSettings, Stretch
from agents.record_batch import Envelope, RecordBatch
from streams.explanation.terms import ExplainTerms
from streams.ledger.parts import Role, Source
from streams.ledger.reference import ReferenceLedger
from streams.monitored_model import MINUTE_MS, MonitoredModel
from tests.bench.backlog import Shape, backlog
from tests.support.publishing import FakeClock

__all__ = ["RECORDS", "SHAPE"]

SHAPE = Shape(predictions=500, label_after_records=(1, 500))
SHARDS = 8
LATER_MS = 86_400_000
"""Behind every record, by the reader's clock."""
REPEAT_MS = 50
"""What a worker takes for the records of one repeat, about."""
RECORDS = sum(1 for _ in backlog(SHAPE))
"""Decoded and packed in one repeat."""


async def main(repeats: int, *, is_sampled: bool) -> None:
    """Pack both topics' records, one batch of each in a repeat."""
    terms = ExplainTerms(predictor="nobody:asks") if is_sampled else None
    models = {
        name: MonitoredModel(name=name, segments=("region",), explanation=terms)
        for name in (f"m{number}" for number in range(SHAPE.models))
    }
    settings = PackingSettings(
        shards=SHARDS,
        lateness_ms=10 * MINUTE_MS,
        max_future_skew_ms=5 * MINUTE_MS,
        dead_letters="dead-letters",
        predicts_numbers=False,
        takes_lists=False,
        model=models.__getitem__,
    )
    ledger = ReferenceLedger(shards=SHARDS, label_hold_ms=MINUTE_MS, keep_windows_ms=MINUTE_MS)
    clock = FakeClock(SHAPE.start_ms)
    sampler = ExplainSampler([*models.values()], {role: role.value for role in Role}, clock) if is_sampled else None
    packer = Packer(NameRegistry(ledger, Outages(clock), limits=NameLimits()), settings, sampler)
    batches = [_batch(is_prediction) for is_prediction in (True, False)]
    gc.disable()
    for repeat in range(repeats):
        clock.wall_ms += REPEAT_MS
        for batch, role in zip(batches, (Role.PREDICTIONS, Role.LABELS), strict=True):
            # Of another partition each time: a sampler looks at no offset twice.
            source = Source(role, repeat)
            (packed,) = await packer.pack([Stretch(batch, source, 0, 0)], now_ms=SHAPE.start_ms + LATER_MS)
            rows = sum(
                len(part.rows) // part.row_bytes
                for shard in range(SHARDS)
                for part in packed.parts(shard, start=0, max_rows=1_000)
            )
            assert rows == len(batch.values)
        if sampler is not None:
            for waiting in (sampler.requests, sampler.pointers, sampler.lookups):
                waiting.clear()
    assert sampler is None or sampler.seen


def _batch(is_prediction: bool) -> RecordBatch:
    records = [record for record in backlog(SHAPE) if record.is_prediction == is_prediction]
    return RecordBatch(
        topic="records",
        partition=0,
        base=0,
        next=len(records),
        values=[record.value for record in records],
        timestamps_ms=[record.time_ms for record in records],
        offsets=None,
        envelope=lambda _: Envelope(None, ()),
    )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), is_sampled="sampled" in sys.argv[2:]))
