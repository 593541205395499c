"""Workers that are broken while they count, and the verdict on what they have counted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.servers import KafkaServer, RedisServer
from tests.support.chaos.arena import Arena, arena
from tests.support.chaos.judging import Judged, forgotten_tasks

TRAFFIC_SECONDS = 15.0
RSS_BYTES = 300 * 2**20

REPEATED_REPORTS = 150
"""Per disturbance: about as many reports as one round of evaluation revises."""
REPEATED_LETTERS = 150
"""Per disturbance: one record in a hundred of the batches that may be in flight, or wait for a broker."""


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaServer]:
    """A broker that may be broken: not the session's."""
    with KafkaServer() as server:
        yield server


@pytest.fixture
def store() -> Iterator[RedisServer]:
    """A Redis that may be broken, and is empty."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def judged(broker: KafkaServer, store: RedisServer, tmp_path: Path) -> Judged:
    """A run of at least `seconds` that ends with the verdict, which must find nothing.

    `readings` is how often the whole log may be read: once, and once more for each time the store lost its past.
    """

    @contextlib.contextmanager
    def judged(
        *, seconds: float = TRAFFIC_SECONDS, seed: int = 1, readings: int = 1, **options: Any
    ) -> Iterator[Arena]:
        with arena(broker.start(), store.start(), tmp_path, seed=seed, **options) as run:
            began = time.monotonic()
            yield run
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            run.end()
        verdict = run.judge()
        assert {} == verdict.differences
        assert [] == run.workers.surprises
        assert [] == [line for slot in run.workers.slots for line in forgotten_tasks(run.workers.log(slot))]
        assert run.workers.peak_rss_bytes < RSS_BYTES
        again = readings - 1
        assert verdict.repeated_reports <= run.disturbances * REPEATED_REPORTS + again * verdict.distinct_reports
        assert verdict.repeated_letters <= run.disturbances * REPEATED_LETTERS + again * verdict.distinct_letters

    return judged
