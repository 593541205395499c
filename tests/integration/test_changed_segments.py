"""Segments that change while workers run and are restarted one after the other: counted cells equal a recount."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import json
import random
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from agents.cell_listing import list_cells
from deploy.server_process import free_port
from deploy.servers import KafkaServer, RedisServer
from schemas.times import format_time, parse_time_ms
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS
from tests.support.configured import Configured
from tests.support.traffic import produce
from tests.support.waiting import wait_until
from tests.support.workers import finish, worker

BASE_MS = 5 * MINUTE_MS
BEFORE = "{name: fraud, segments: [country, plan], cross: [[country, plan]]}"
AFTER = "{name: fraud, segments: [country, device]}"
IN_ANY_ORDER = "allowed_lateness: 5h\nmax_read_ahead: 6h"


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A prediction with its label, sent apart."""

    request_id: str
    at_ms: int
    answer: str
    truth: str | None
    segment: dict[str, str]

    @property
    def prediction(self) -> bytes:
        told = {"model": "fraud", "request_id": self.request_id, "prediction": self.answer, "segment": self.segment}
        return json.dumps({**told, "event_time": format_time(self.at_ms)}).encode()

    @property
    def label(self) -> bytes:
        told = {"request_id": self.request_id, "label": self.truth, "event_time": format_time(self.at_ms + MINUTE_MS)}
        return json.dumps(told).encode()

    def slices(self, names: Iterable[Sequence[str]]) -> list[dict[str, str]]:
        return [{name: self.segment.get(name, "__missing__") for name in slice_} for slice_ in names]


def draw(seed: int, count: int, *, since_ms: int, until_ms: int) -> list[Drawn]:
    """In no order."""
    rng = random.Random(seed)
    return [
        Drawn(
            request_id=f"{seed}-{number}",
            at_ms=rng.randrange(since_ms, until_ms),
            answer=rng.choice("ab"),
            truth=rng.choice(("a", "b", "a", "b", None)),
            segment={name: rng.choice("xy") for name in ("country", "plan", "device") if rng.random() < 0.8},
        )
        for number in range(count)
    ]


def recounted(drawn: Iterable[Drawn], changed_ms: int) -> dict[tuple[Any, ...], int]:
    """Cells by segment, window start, label and prediction."""
    cells: collections.Counter[tuple[Any, ...]] = collections.Counter()
    for each in drawn:
        old = [(), ("country",), ("plan",), ("country", "plan")]
        for segment in each.slices(old if each.at_ms < changed_ms else [(), ("country",), ("device",)]):
            start = format_time(each.at_ms // BASE_MS * BASE_MS)
            cells[json.dumps(segment, sort_keys=True), start, each.truth, each.answer] += 1
    return dict(cells)


async def counted(installation: Configured) -> dict[tuple[Any, ...], int]:
    async with installation.ledger() as ledger:
        return {
            (
                json.dumps(cell["segment"], sort_keys=True),
                cell["window_start"],
                cell["label"],
                cell["prediction"],
            ): cell["count"]
            async for cell in list_cells(ledger, model="fraud")
        }


@pytest.fixture
def installation(tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer) -> Configured:
    return Configured.within(tmp_path, brokers=kafka.address, redis_url=redis_server.url)


def send(installation: Configured, role: str, records: Sequence[bytes]) -> None:
    produce(installation.brokers, installation.topics[role], records, partitions=installation.partitions)


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def waiting(condition: Any, what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what=what)


async def test_windows_that_start_later_have_the_new_segments_and_earlier_ones_keep_theirs(
    installation: Configured,
) -> None:
    hour_ms = int(time.time() * 1000) // HOUR_MS * HOUR_MS
    first = draw(1, 300, since_ms=hour_ms - 4 * HOUR_MS, until_ms=hour_ms - 2 * HOUR_MS - BASE_MS)
    # Some of them in windows that are counted the old way, though they are read later.
    second = draw(2, 600, since_ms=hour_ms - 3 * HOUR_MS, until_ms=hour_ms)
    third = draw(3, 300, since_ms=hour_ms - 3 * HOUR_MS, until_ms=hour_ms)
    sent = 0

    async def count(role: str, records: Sequence[bytes]) -> None:
        nonlocal sent
        send(installation, role, records)
        sent += len(records)

    async def settle() -> None:
        await waiting(lambda: asyncio.run(installation.records_read()) == sent, "everything to be counted")

    async def started(stack: contextlib.ExitStack) -> subprocess.Popen[str]:
        port = free_port()
        process = stack.enter_context(worker(installation, LATELABEL_WEB__PORT=str(port)))
        await waiting(lambda: is_ready(port), "the next worker to read")
        return process

    installation.configure(BEFORE, others=IN_ANY_ORDER)
    with contextlib.ExitStack() as stack, Redis.from_url(installation.redis_url) as client:
        old = [stack.enter_context(worker(installation)) for _ in range(2)]
        await count("predictions", [each.prediction for each in first])
        await count("labels", [each.label for each in first[::2] if each.truth])
        await settle()

        installation.configure(AFTER, others=IN_ANY_ORDER)
        new = [await started(stack)]
        await waiting(lambda: int(client.hget(installation.charter, "edition") or 0) > 0, "the change to be agreed on")
        # The old workers go on, by what is agreed on and not by the file that they have read.
        await count("predictions", [each.prediction for each in second])
        await count("labels", [each.label for each in first[1::2] if each.truth])
        logs = []
        for process in old:
            process.send_signal(signal.SIGTERM)
            logs.append(finish(process))
            new.append(await started(stack))
            await count("predictions", [each.prediction for each in third[len(new) % 2 :: 2]])
        await count("labels", [each.label for each in second + third if each.truth])
        await settle()
        for process in new:
            process.send_signal(signal.SIGTERM)
        logs += [finish(process) for process in new]
        models = json.loads(client.hget(installation.charter, "models") or b"{}")
    assert [0] * 5 == [code for code, _ in logs], logs
    changed_ms = models["fraud"]["segmented_from_ms"]
    assert hour_ms - 2 * HOUR_MS == changed_ms
    told = (
        "fraud is counted by segments [country, device] in windows that start at "
        f"{format_time(changed_ms)} or later; before that by segments [country, plan], cross [[country, plan]]"
    )
    assert 1 == sum(log.count(told) for _, log in logs), logs
    expected = recounted(first + second + third, changed_ms)
    assert expected == await counted(installation)

    with worker(installation, "--until-caught-up", "--close") as closing:
        code, log = finish(closing)
    assert 0 == code, log
    assert expected == await counted(installation)
    check_reports(installation.newest_reports(), first + second + third, changed_ms)


def check_reports(reports: Sequence[dict[str, Any]], drawn: Sequence[Drawn], changed_ms: int) -> None:
    """Every report of a slice is whole, final, and about a window that was counted with it from start to end."""
    found = dict.fromkeys(("country", "plan", "device", "country,plan"), 0)
    for report in reports:
        segment, start_ms = report["segment"], parse_time_ms(report["window"]["start"])
        end_ms = start_ms + report["window"]["size_seconds"] * 1000
        if segment:
            name = ",".join(sorted(segment))
            found[name] += 1
            assert "plan" not in segment or end_ms <= changed_ms
            assert name != "device" or start_ms >= changed_ms
        inside = [each for each in drawn if start_ms <= each.at_ms < end_ms and [segment] == each.slices([[*segment]])]
        assert len(inside) == report["predictions"]
        assert sum(each.truth is not None for each in inside) == report["labelled"]
        assert "final" == report["status"]
    assert all(found.values()), found


async def test_segments_that_are_taken_back_before_they_began_leave_no_trace(installation: Configured) -> None:
    hour_ms = int(time.time() * 1000) // HOUR_MS * HOUR_MS
    drawn = draw(4, 100, since_ms=hour_ms - 4 * HOUR_MS, until_ms=hour_ms - 2 * HOUR_MS - BASE_MS)
    later = draw(5, 200, since_ms=hour_ms - 4 * HOUR_MS, until_ms=hour_ms)
    caught_up = ("--until-caught-up",)
    send(installation, "predictions", [each.prediction for each in drawn])
    for models in (BEFORE, AFTER, BEFORE):
        installation.configure(models, others=IN_ANY_ORDER)
        with worker(installation, *caught_up) as process:
            code, log = finish(process)
        assert 0 == code, log
    send(installation, "predictions", [each.prediction for each in later])
    with worker(installation, *caught_up) as process:
        code, log = finish(process)
    assert 0 == code, log
    unlabelled = [dataclasses.replace(each, truth=None) for each in drawn + later]
    assert recounted(unlabelled, changed_ms=hour_ms + DAY_MS) == await counted(installation)
