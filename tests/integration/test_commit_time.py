"""How long one commit keeps Redis from everybody else."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from redis import Redis

from agents.redis_connection import connect
from agents.shard_writer import MAX_ROWS
from deploy.servers import RedisServer
from streams.identity import class_hash, request_key, segment_hash
from streams.ledger.parts import (
    CommitReply,
    Definitions,
    LabelRow,
    Part,
    PredictionRow,
    Role,
    Source,
    pack_labels,
    pack_predictions,
)
from streams.ledger.terms import Terms
from streams.monitored_model import MINUTE_MS, MonitoredModel, Task
from streams.ports import Ledger
from tests.support.intake_world import NOW_MS, SHARDS, IntakeWorld, Records, label, prediction
from tests.support.ledger_writer import MODEL, NOON_MS, Writer
from tests.support.redis_ledgers import redis_ledger

RECORDS = 10_000
"""Half of them predictions, half labels."""
MOST_MS = 15.0
MACHINE_MARGIN = 2
"""For neighbours on the machine, who make the same work dearer; what holds exactly is the rows of each call."""
LOGGED_US = 1_000
"""Below this Redis' slow log would hold the commands of the scripts too, and their time."""
PAIRS = 4_000
TURNS = 3
MOST_TIMES = 1.4
"""What labels may cost that are read before their predictions: 0.9 to 1.1 times others, and 2.2 to 2.4 times without a
short way of their own."""

PREDICTIONS, LABELS = Source(Role.PREDICTIONS, 0), Source(Role.LABELS, 0)
MODELS = [
    MonitoredModel(
        name=f"m{number}",
        task=Task.BINARY,
        positive_class="yes",
        report_windows_ms=(MINUTE_MS,),
        base_window_ms=MINUTE_MS,
        segments=("region",),
    )
    for number in range(4)
]


@dataclasses.dataclass(slots=True)
class _Counting:
    """A ledger that notes how many rows each commit carries."""

    ledger: Ledger
    rows: list[int] = dataclasses.field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)

    async def commit(
        self, shard: int, parts: Sequence[Part], definitions: Definitions, *, forget_limit: int
    ) -> CommitReply:
        self.rows.append(sum(len(part.rows) // part.row_bytes for part in parts))
        return await self.ledger.commit(shard, parts, definitions, forget_limit=forget_limit)


def typical_logs(count: int) -> dict[Source, Records]:
    """Ids are UUIDs, two minutes of time, one label for each prediction."""
    rng = random.Random(1)
    predictions, labels = [], []
    for number in range(count):
        request_id = f"{rng.getrandbits(128):032x}"
        at_ms = NOW_MS - 5 * MINUTE_MS + number * 2 * MINUTE_MS // count
        answer = rng.choice(("yes", "no"))
        further = {"score": round(rng.random(), 2), "segment": {"region": f"r{rng.randrange(8)}"}, "latency_ms": 12.5}
        model = f"m{rng.randrange(len(MODELS))}"
        predictions.append(prediction(request_id, answer, at_ms=at_ms, model=model, **further))
        labels.append(label(request_id, rng.choice(("yes", "no")), at_ms=at_ms + 1_000))
    return {PREDICTIONS: predictions, LABELS: labels}


async def test_ten_thousand_records_hold_redis_up_for_a_few_milliseconds_at_a_time(fresh_redis: RedisServer) -> None:
    client = connect(fresh_redis.unix_url)
    counting = _Counting(redis_ledger(client, address=fresh_redis.address, shards=SHARDS))
    logs = typical_logs(RECORDS // 2)
    for shard in range(SHARDS):
        await counting.create(shard, ledger_id="one", sources=dict.fromkeys(logs, 0))
    world = IntakeWorld(logs, models=MODELS, wrap=lambda _: counting)
    with Redis.from_url(fresh_redis.unix_url) as observer:
        observer.config_set("slowlog-log-slower-than", LOGGED_US)
        async with world.running() as intake:
            observer.slowlog_reset()
            before = processor_seconds(observer)
            await world.read_all(intake, batch_records=RECORDS)
            spent = processor_seconds(observer) - before
        longest_ms = max((call["duration"] for call in observer.slowlog_get(1_000)), default=LOGGED_US) / 1000
    await client.aclose()
    row_ms = 1000 * spent / sum(counting.rows)
    print(
        f"\n    {len(counting.rows)} calls of up to {max(counting.rows)} rows: {MAX_ROWS * row_ms:.1f} ms of processor"
        f" time for {MAX_ROWS} rows (bar: {MOST_MS:g}); by the clock the longest call took {longest_ms:.1f} ms"
    )
    # What was held back for a name comes again.
    assert RECORDS <= sum(counting.rows)
    assert max(counting.rows) <= MAX_ROWS
    assert MAX_ROWS * row_ms < MACHINE_MARGIN * MOST_MS


async def test_labels_that_are_read_before_their_predictions_cost_redis_as_much_as_others(
    fresh_redis: RedisServer,
) -> None:
    spent: dict[bool, list[float]] = {False: [], True: []}
    with Redis.from_url(fresh_redis.unix_url) as observer:
        for _ in range(TURNS):
            for labels_first, seconds in spent.items():
                observer.flushall()
                async with connect(fresh_redis.unix_url) as client:
                    writer = Writer(redis_ledger(client, address=fresh_redis.address, shards=1))
                    await writer.start()
                    before = processor_seconds(observer)
                    for part in pairs(labels_first=labels_first):
                        await writer.send(part)
                    seconds.append(processor_seconds(observer) - before)
                    assert await writer.fates() == {"predictions:matched": PAIRS, "labels:matched": PAIRS}
    times = min(spent[True]) / min(spent[False])
    print(f"\n    {times:.2f} times the processor time of labels that are read after their predictions")
    assert times < MOST_TIMES


def pairs(*, labels_first: bool) -> list[Part]:
    """Predictions with a slice and a score, and their labels, in calls as large as they get."""
    rng = random.Random(1)
    terms, slices = Terms.of(MODEL, "1").hash, (segment_hash({"region": "north"}),)
    classes = [class_hash(text) for text in ("a", "b")]
    parts: dict[Source, list[Part]] = {LABELS: [], PREDICTIONS: []}
    for base in range(0, PAIRS, MAX_ROWS):
        predictions, labels = [], []
        for number in range(base, base + MAX_ROWS):
            key, at_ms = request_key(f"{number}"), NOON_MS + number
            predicted, label_ms = rng.choice(classes), at_ms + 500
            predictions.append(PredictionRow(key, terms, at_ms, at_ms, predicted, False, slices, rng.random()))
            labels.append(LabelRow(key, label_ms, label_ms, rng.choice(classes)))
        packed = {PREDICTIONS: (2, pack_predictions(predictions, words=2)), LABELS: (0, pack_labels(labels))}
        for source, (words, rows) in packed.items():
            parts[source].append(Part(source=source, expected=base, next=base + MAX_ROWS, words=words, rows=rows))
    order = (LABELS, PREDICTIONS) if labels_first else (PREDICTIONS, LABELS)
    return [part for source in order for part in parts[source]]


def processor_seconds(observer: Redis) -> float:
    """What the server has spent; the clock would count its neighbours too."""
    used = observer.info("cpu")
    return float(used["used_cpu_user_main_thread"] + used["used_cpu_sys_main_thread"])
