"""Workers as processes of their own, and what they have counted, read back by name."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from agents.redis_connection import connect
from agents.redis_ledger import RedisLedger
from schemas.times import format_time
from streams.identity import EVERYTHING, SUM
from streams.monitored_model import DAY_MS, MINUTE_MS
from tests.support.services import create_topic, unique_name
from tests.support.traffic import Cell

__all__ = ["SHARDS", "Installation", "finish", "worker"]

SHARDS = 4
PARTITIONS = 3
EXIT_SECONDS = 60.0


class Installation:
    """Topics, a group and a ledger that no other test uses.

    Args:
        folder: where workers run, so that tests can see that they leave nothing there.
    """

    def __init__(self, folder: Path, *, brokers: str, redis_url: str, partitions: int = PARTITIONS) -> None:
        self.folder = folder
        self.brokers = brokers
        self.redis_url = redis_url
        self.partitions = partitions
        self.name = unique_name("worker")
        roles = ("predictions", "labels", "metrics", "alerts", "dead_letters")
        self.topics = {role: f"{self.name}-{role}" for role in roles}

    def create_topics(self) -> None:
        """Both inputs with several partitions, the outputs with one."""
        for role, topic in self.topics.items():
            create_topic(self.brokers, topic, partitions=self.partitions if role in ("predictions", "labels") else 1)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a worker needs to know, and some that it must not listen to."""
        topics = {f"LATELABEL_KAFKA__TOPICS__{role.upper()}": topic for role, topic in self.topics.items()}
        return {
            **os.environ,
            **topics,
            "LATELABEL_KAFKA__BROKERS": self.brokers,
            "LATELABEL_KAFKA__GROUP": self.name,
            "LATELABEL_REDIS__URL": self.redis_url,
            "LATELABEL_REDIS__PREFIX": self.name,
            "LATELABEL_REDIS__SHARDS": str(SHARDS),
            "LATELABEL_EVALUATION_INTERVAL": "500ms",
            "LATELABEL_WEB__PORT": "0",
            "BROKER_URL": "kafka://127.0.0.1:1",
            "APP_DATADIR": "/nowhere",
        }

    @contextlib.asynccontextmanager
    async def ledger(self) -> AsyncIterator[RedisLedger]:
        """What its workers count in."""
        ledger = RedisLedger(
            connect(self.redis_url),
            address=self.redis_url,
            prefix=self.name,
            shards=SHARDS,
            label_hold_ms=5 * MINUTE_MS,
            keep_windows_ms=30 * DAY_MS,
        )
        try:
            yield ledger
        finally:
            await ledger.close()

    async def counts(self) -> tuple[dict[Cell, int], dict[str, int]]:
        """The cells of the slice `{}`, and all fates that are not zero."""
        cells: collections.Counter[Cell] = collections.Counter()
        fates: collections.Counter[str] = collections.Counter()
        async with self.ledger() as ledger:
            for shard in range(SHARDS):
                names = await ledger.names(shard)
                windows = await ledger.windows(shard)
                for (version, start_ms), counts in zip(windows, await ledger.cells(shard, windows), strict=True):
                    model, _ = json.loads(names[version])
                    for (piece, label, prediction), count in counts.items():
                        if piece == EVERYTHING and label != SUM:
                            cells[model, format_time(start_ms), names.get(label), names[prediction]] += count
                fates.update(await ledger.fates(shard))
        return dict(cells), {fate: count for fate, count in fates.items() if count}


@contextlib.contextmanager
def worker(
    installation: Installation, *arguments: str, program: str = "agents", **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """`latelabel worker` with its log at hand in `stderr`; killed at the end if it still runs.

    Args:
        program: another module that runs it.
        variables: of the environment, on top of the installation's.
    """
    with subprocess.Popen(
        [sys.executable, "-m", program, "worker", *arguments],
        cwd=installation.folder,
        env={**installation.environment, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), **variables},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)


def finish(process: subprocess.Popen[str], *, seconds: float = EXIT_SECONDS) -> tuple[int, str]:
    """Wait for the end. Returns exit code and log."""
    _, log = process.communicate(timeout=seconds)
    return process.returncode, log
