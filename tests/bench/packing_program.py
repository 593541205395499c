"""Decodes and packs batches of W1, again and again: what valgrind counts for `tests.bench.instructions`.

python -m tests.bench.packing_program REPEATS
"""

from __future__ import annotations

import asyncio
import gc
import sys

from agents.name_registry import NameLimits, NameRegistry
from agents.outages import Outages
from agents.packing import Packer, PackingSettings
from agents.record_batch import Envelope, RecordBatch
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
RECORDS = sum(1 for _ in backlog(SHAPE))
"""Decoded and packed in one repeat."""


async def main(repeats: int) -> None:
    """Pack both topics' records, one batch of each in a repeat."""
    models = {f"m{number}": MonitoredModel(name=f"m{number}", segments=("region",)) for number in range(SHAPE.models)}
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
    packer = Packer(NameRegistry(ledger, Outages(FakeClock(SHAPE.start_ms)), limits=NameLimits()), settings)
    batches = [_batch(is_prediction) for is_prediction in (True, False)]
    gc.disable()
    for _ in range(repeats):
        for batch, role in zip(batches, (Role.PREDICTIONS, Role.LABELS), strict=True):
            packed = await packer.pack(batch, Source(role, 0), start=0, high_ms=0, now_ms=SHAPE.start_ms + LATER_MS)
            rows = sum(
                len(part.rows) // part.row_bytes
                for shard in range(SHARDS)
                for part in packed.parts(shard, start=0, max_rows=1_000)
            )
            assert rows == len(batch.values)


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
    asyncio.run(main(int(sys.argv[1])))
