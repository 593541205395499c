"""One run: topics, traffic and workers, faults by the caller, then the end and the verdict.

with arena(kafka, redis, folder, seed=1) as run:
    faults.kill(run, 0)
assert {} == run.judge().differences
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from deploy.servers import KafkaServer, RedisServer
from tests.support.chaos.models import ALLOWED_LATENESS_MS, write_configuration
from tests.support.chaos.progress import Progress
from tests.support.chaos.recount import recount
from tests.support.chaos.supervisor import ROOT, Supervisor
from tests.support.chaos.topic_log import read_topic
from tests.support.chaos.traffic import Traffic
from tests.support.chaos.verdict import Verdict, judge
from tests.support.poison import POISON, PREDICTION_POISON
from tests.support.services import unique_name
from tests.support.waiting import POLL_SECONDS, wait_until

__all__ = ["ORDINARY", "SESSION_SECONDS", "Arena", "arena"]

ROLES = (
    "predictions",
    "labels",
    "resource_samples",
    "metrics",
    "alerts",
    "explain_requests",
    "explanations",
    "dead_letters",
)
NO_COORDINATOR_YET = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
PARTITIONS = 4
SHARDS = 4
SESSION_SECONDS = 3.0
"""Of workers that can be told to break themselves."""
ORDINARY = (sys.executable, "-m", "agents")
BREAKABLE = (sys.executable, "-m", "tests.support.chaos.breaking_worker")
STEADY_SECONDS = 60.0
CLOSE_SECONDS = 900.0
"""A deadline: what ten minutes without Redis leave behind takes minutes to count and close."""


@dataclasses.dataclass(slots=True, kw_only=True)
class Arena:
    """A run in progress.

    `recoveries` are (what was done, seconds until all partitions counted again); `moves` counts
    workers that were taken out or put in on purpose."""

    kafka: KafkaServer
    redis: RedisServer
    folder: Path
    name: str
    topics: Mapping[str, str]
    rng: random.Random
    traffic: Traffic
    workers: Supervisor
    progress: Progress
    configuration: Path
    recoveries: list[tuple[str, float]] = dataclasses.field(default_factory=list)
    moves: int = 0

    @property
    def disturbances(self) -> int:
        """How often work may have been taken out of somebody's hands, the start and the end included."""
        return 2 + len(self.recoveries) + self.workers.ended.total() + self.moves

    def steady(self) -> Mapping[str, int]:
        """Wait until every partition is being counted; returns how far each has come."""
        # Before the first batch nothing is registered, so what is to be passed is not known either.
        sources = [f"{role}/{partition}" for role in ("predictions", "labels") for partition in range(PARTITIONS)]
        since = {source: self.progress.offsets().get(source, 0) for source in sources}
        self.progress.seconds_until_past(since, began=time.monotonic(), limit_seconds=STEADY_SECONDS)
        return self.progress.offsets()

    def recover(
        self, what: str, since: Mapping[str, int], *, began: float, limit_seconds: float = STEADY_SECONDS
    ) -> float:
        """Wait until every partition is counted beyond `since`, and note how long it took since `began`."""
        seconds = self.progress.seconds_until_past(since, began=began, limit_seconds=limit_seconds)
        self.recoveries.append((what, seconds))
        print(f"    {what}: counting again after {seconds:.1f} s")
        return seconds

    def end(self) -> None:
        """No more traffic; then one worker alone counts the rest and closes all windows."""
        self.traffic.stop()
        self.workers.stop()
        # A worker that was killed is a member until its session ends.
        wait_until(lambda: not self.members(), what="the group to be empty")
        self.latelabel("worker", "--until-caught-up", "--close")

    def gather(self) -> None:
        """Wait until every worker is a member of the group, so that a fault meets one that has work."""
        wait_until(lambda: len(self.members()) == len(self.workers.slots), what="all workers to join")
        self.steady()

    def members(self) -> frozenset[str]:
        """The group's members, each under the name that it was given when it joined."""
        admin = AdminClient({"bootstrap.servers": self.kafka.address, "log_level": 0})
        deadline = time.monotonic() + STEADY_SECONDS
        while True:
            described = admin.describe_consumer_groups([self.name], request_timeout=STEADY_SECONDS)
            try:
                return frozenset(member.member_id for member in described[self.name].result().members)
            except KafkaException as error:
                # A broker that has just begun again does not know yet which groups are its own.
                if error.args[0].code() not in NO_COORDINATOR_YET or time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)

    def latelabel(self, *arguments: str) -> str:
        """Run a command to its end, without error, and return what it printed."""
        log = self.folder / f"{arguments[0]}.log"
        with log.open("ab") as errors:
            done = subprocess.run(
                [*ORDINARY, "--config", str(self.configuration), *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                timeout=CLOSE_SECONDS,
                check=False,
            )
        assert 0 == done.returncode, f"latelabel {' '.join(arguments)}:\n{log.read_text(errors='replace')[-2000:]}"
        return done.stdout.decode()

    def judge(self) -> Verdict:
        """Compare everything that was said with a recount of everything that was sent."""
        sent = {role: read_topic(self.kafka.address, self.topics[role]) for role in ("predictions", "labels")}
        for role, entries in sent.items():
            acknowledged = self.traffic.acknowledged[self.topics[role]]
            assert acknowledged == len(entries), f"{role}: {acknowledged} acknowledged, {len(entries)} in the log"
        poison = {value for _, value, _ in POISON + PREDICTION_POISON}
        with ThreadPoolExecutor() as pool:
            cells = pool.submit(self.latelabel, "counts", "--format", "jsonl")
            totals = pool.submit(self.latelabel, "counts", "--totals", "--format", "jsonl")
            expected = recount(sent["predictions"], sent["labels"], poison=poison, lateness_ms=ALLOWED_LATENESS_MS)
        verdict = judge(
            expected,
            cells=_lines(cells.result()),
            totals=_lines(totals.result()),
            reports=read_topic(self.kafka.address, self.topics["metrics"]),
            letters=read_topic(self.kafka.address, self.topics["dead_letters"]),
            topics=self.topics,
        )
        print(
            f"    {sum(map(len, sent.values()))} records, {verdict.counted} predictions in {len(expected.cells)} cells;"
            f" wrong: {len(verdict.cells)} cells, {len(verdict.totals)} totals, {len(verdict.reports)} reports,"
            f" {len(verdict.letters)} dead letters; repeated: {verdict.repeated_reports} of"
            f" {verdict.distinct_reports} reports, {verdict.repeated_letters} of {verdict.distinct_letters} letters;"
            f" restarts: {self.workers.ended.total()}; peak memory: {self.workers.peak_rss_bytes / 2**20:.0f} MiB"
        )
        return verdict


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@contextlib.contextmanager
def arena(
    kafka: KafkaServer,
    redis: RedisServer,
    folder: Path,
    *,
    seed: int,
    per_second: float = 2_000,
    is_breakable: bool = True,
    is_blind: bool = False,
    workers: int = 2,
    redis_urls: Sequence[str] = (),
) -> Iterator[Arena]:
    """A run with steady traffic and workers; whatever happens, nothing is left running.

    Args:
        folder: for logs and the configuration.
        seed: of traffic and faults.
        per_second: requests; as many labels come with them.
        is_breakable: workers that can be told to break themselves; else those that everybody starts.
        is_blind: their commit script ignores the stored offset.
        redis_urls: where the worker of each slot finds Redis, if not all of them where it is.
    """
    name = unique_name("chaos")
    topics = {role: f"{name}-{role.replace('_', '-')}" for role in ROLES}
    configuration, *_ = [
        write_configuration(
            folder / file,
            brokers=kafka.address,
            redis_url=url,
            name=name,
            topics=topics,
            partitions=PARTITIONS,
            shards=SHARDS,
            web_port=0,
        )
        for file, url in (
            ("latelabel.yaml", redis.url),
            *((f"worker-{slot}.yaml", url) for slot, url in enumerate(redis_urls or [redis.url] * workers)),
        )
    ]
    environment = {"CHAOS_FOLDER": str(folder), "CHAOS_SESSION_SECONDS": str(SESSION_SECONDS)}
    if is_blind:
        environment["CHAOS_BLIND"] = "1"
    program = BREAKABLE if is_breakable else ORDINARY
    run = Arena(
        kafka=kafka,
        redis=redis,
        folder=folder,
        name=name,
        topics=topics,
        rng=random.Random(seed),
        traffic=Traffic(kafka.address, topics, seed=seed, per_second=per_second, partitions=PARTITIONS),
        workers=Supervisor(
            [*program, "--config", str(folder / "worker-{slot}.yaml"), "worker"],
            folder=folder,
            count=workers,
            environment=environment,
        ),
        progress=Progress(redis.url, prefix=name, shards=SHARDS),
        configuration=configuration,
    )
    try:
        run.latelabel("topics", "create")
        run.workers.start()
        run.traffic.start()
        run.steady()
        yield run
    finally:
        with contextlib.suppress(Exception):
            run.traffic.stop()
        run.workers.stop()
        run.progress.close()
