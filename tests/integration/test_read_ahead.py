"""Catching up on real services while one partition stands still: what waits in Redis is bounded, the counts are equal.

The partition stands still because it begins with more bad records than the limits let through, until somebody accepts
them.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from redis import Redis

from agents.redis_ledger import shard_tag
from deploy.servers import KafkaServer, RedisServer
from schemas.times import format_time
from streams.monitored_model import DAY_MS, HOUR_MS
from tests.support.chaos.progress import Progress
from tests.support.traffic import WINDOW_MS, Cell, Traffic, produce
from tests.support.waiting import wait_until
from tests.support.workers import SHARDS, Installation, finish, worker

PAIRS = 72_000
BURST = 600
"""Pairs at one time; twelve hours lie between two of them, so all together span sixty days."""
BAD_RECORDS = 150
BATCH_RECORDS = 4_000
AT_REST_SECONDS = 3.0


def draw(until_ms: int) -> Traffic:
    """Predictions whose labels come an hour later."""
    predictions: list[bytes | None] = []
    labels: list[bytes | None] = []
    cells: collections.Counter[Cell] = collections.Counter()
    for number in range(PAIRS):
        at_ms = until_ms - DAY_MS - (PAIRS - number) // BURST * 12 * HOUR_MS
        request_id, answer, truth = str(uuid.uuid4()), "ab"[number % 2], "ab"[number % 5 % 2]
        made = {"request_id": request_id, "model": "shop", "prediction": answer, "event_time": format_time(at_ms)}
        told = {"request_id": request_id, "label": truth, "event_time": format_time(at_ms + HOUR_MS)}
        predictions.append(json.dumps(made).encode())
        labels.append(json.dumps(told).encode())
        cells["shop", format_time(at_ms // WINDOW_MS * WINDOW_MS), truth, answer] += 1
    return Traffic(predictions, labels, dict(cells), BAD_RECORDS)


class _CatchingUp(Installation):
    """With settings under which nothing but reading is of interest."""

    max_read_ahead = "1h"

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            **super().environment,
            "LATELABEL_MAX_READ_AHEAD": self.max_read_ahead,
            "LATELABEL_KEEP_WINDOWS": "365d",
            "LATELABEL_EVALUATION_INTERVAL": "1d",
            "LATELABEL_IDLE_AFTER": "2s",
        }


class _Watch:
    """How many ids wait in Redis, the most that ever did, and whether reading has come to rest."""

    def __init__(self, installation: Installation) -> None:
        self.peak = 0
        self._client = Redis.from_url(installation.redis_url)
        tags = [shard_tag(installation.name, shard, shards=SHARDS) for shard in range(SHARDS)]
        self._keys = [f"{tag}:entries" for tag in tags]
        self._progress = Progress(installation.redis_url, prefix=installation.name, shards=SHARDS)
        self._moved = time.monotonic()
        self._offsets: Mapping[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._progress.close()
        self._client.close()

    def read(self) -> int:
        """Offsets read so far, over all partitions."""
        return sum(self._offsets.values())

    def is_at_rest(self) -> bool:
        """Whether something was read and nothing more for a while."""
        return self.read() > 0 and time.monotonic() - self._moved > AT_REST_SECONDS

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.peak = max(self.peak, sum(self._client.hlen(key) for key in self._keys))
            offsets = self._progress.offsets()
            if offsets != self._offsets:
                self._offsets, self._moved = offsets, time.monotonic()


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return draw(int(time.time() * 1000))


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer, traffic: Traffic) -> _CatchingUp:
    installation = _CatchingUp(tmp_path, brokers=kafka.address, redis_url=redis_server.url)
    installation.create_topics()
    # With one "partition" all go to the first one.
    produce(installation.brokers, installation.topics["predictions"], [b"bad"] * BAD_RECORDS, partitions=1)
    for role, records in (("predictions", traffic.predictions), ("labels", traffic.labels)):
        produce(installation.brokers, installation.topics[role], records, partitions=installation.partitions)
    return installation


def accept(installation: Installation) -> None:
    """What an operator does about the stopped partition."""
    subprocess.run(
        [sys.executable, "-m", "agents", "dead-letters", "accept", "predictions/0"],
        cwd=installation.folder,
        env={**installation.environment, "PYTHONPATH": os.environ.get("PYTHONPATH", str(Path.cwd()))},
        check=True,
        capture_output=True,
    )


def catch_up(installation: Installation) -> Iterator[int]:
    """The most ids that waited while the partition stood still, then the most until everything was read."""
    total = 2 * PAIRS + BAD_RECORDS
    with worker(installation) as process, _Watch(installation) as watch:
        wait_until(watch.is_at_rest, what="reading to come to rest", seconds=60)
        yield watch.peak
        accept(installation)
        wait_until(lambda: watch.read() == total, what=f"{total} records", seconds=120)
        yield watch.peak
        process.send_signal(signal.SIGTERM)
        code, log = finish(process)
        assert 0 == code, log


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("max_read_ahead", "is_bounded"), [("1h", True), ("36500d", False)])
async def test_what_waits_in_redis_is_bounded_while_a_partition_stands_still(
    installation: _CatchingUp, traffic: Traffic, max_read_ahead: str, is_bounded: bool
) -> None:
    installation.max_read_ahead = max_read_ahead
    peaks = await asyncio.to_thread(lambda: list(catch_up(installation)))
    print(f"    max_read_ahead {max_read_ahead}: at most {peaks[0]} ids waited in front of the gate, {peaks[1]} in all")
    if is_bounded:
        # A few batches of each partition, however long the logs are; the ids of three partitions differ.
        assert max(peaks) <= 3 * 3 * BATCH_RECORDS < PAIRS
    else:
        assert PAIRS == peaks[0]
    cells, fates = await installation.counts()
    assert traffic.cells == cells
    assert PAIRS == fates["predictions:matched"]
