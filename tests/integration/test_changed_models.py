"""Models that change while workers run and are restarted one after the other: cells and reports equal a recount."""

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
IN_ANY_ORDER = "allowed_lateness: 12h\nmax_read_ahead: 1d"
LATENESS_MS = 12 * HOUR_MS


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A prediction with its label, sent apart; a label that is held back comes when the watermark has come on."""

    request_id: str
    at_ms: int
    answer: str
    truth: str | None
    segment: dict[str, str]
    delay_ms: int = MINUTE_MS
    is_held_back: bool = False

    @property
    def prediction(self) -> bytes:
        told = {"model": "fraud", "request_id": self.request_id, "prediction": self.answer, "segment": self.segment}
        return json.dumps({**told, "event_time": format_time(self.at_ms)}).encode()

    @property
    def label(self) -> bytes:
        told = {
            "request_id": self.request_id,
            "label": self.truth,
            "event_time": format_time(self.at_ms + self.delay_ms),
        }
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


async def roll_out(
    installation: Configured, before: str, after: str, first: list[Drawn], second: list[Drawn], third: list[Drawn]
) -> tuple[list[str], int]:
    """Count while two workers are replaced one after the other. Returns: what each worker said, and from when on the
    change holds."""
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

    installation.configure(before, others=IN_ANY_ORDER)
    with contextlib.ExitStack() as stack, Redis.from_url(installation.redis_url) as client:
        old = [stack.enter_context(worker(installation)) for _ in range(2)]
        await count("predictions", [each.prediction for each in first])
        await count("labels", labels_of(first[::2]))
        await settle()

        installation.configure(after, others=IN_ANY_ORDER)
        new = [await started(stack)]
        await waiting(lambda: int(client.hget(installation.charter, "edition") or 0) > 0, "the change to be agreed on")
        # The old workers go on, by what is agreed on and not by the file that they have read.
        await count("predictions", [each.prediction for each in second])
        await count("labels", labels_of(first[1::2]))
        logs = []
        for process in old:
            process.send_signal(signal.SIGTERM)
            logs.append(finish(process))
            new.append(await started(stack))
            await count("predictions", [each.prediction for each in third[len(new) % 2 :: 2]])
        await count("labels", labels_of(second + third))
        await settle()
        for process in new:
            process.send_signal(signal.SIGTERM)
        logs += [finish(process) for process in new]
        agreed = json.loads(client.hget(installation.charter, "agreed") or b"{}")
    assert [0] * 5 == [code for code, _ in logs], logs
    return [log for _, log in logs], agreed["fraud"]["eras"][-1]["from_ms"]


def labels_of(drawn: Iterable[Drawn], *, held_back: bool = False) -> list[bytes]:
    return [each.label for each in drawn if each.truth and each.is_held_back is held_back]


async def test_windows_that_start_later_have_the_new_segments_and_earlier_ones_keep_theirs(
    installation: Configured,
) -> None:
    hour_ms = int(time.time() * 1000) // HOUR_MS * HOUR_MS
    first = draw(1, 300, since_ms=hour_ms - 4 * HOUR_MS, until_ms=hour_ms - 2 * HOUR_MS - BASE_MS)
    # Some of them in windows that are counted the old way, though they are read later.
    second = draw(2, 600, since_ms=hour_ms - 3 * HOUR_MS, until_ms=hour_ms)
    third = draw(3, 300, since_ms=hour_ms - 3 * HOUR_MS, until_ms=hour_ms)
    logs, changed_ms = await roll_out(installation, BEFORE, AFTER, first, second, third)
    assert hour_ms - 2 * HOUR_MS == changed_ms
    told = (
        "fraud is counted by segments [country, device], label_horizon 1d in windows that start at "
        f"{format_time(changed_ms)} or later; before that by segments [country, plan], cross [[country, plan]], "
        "label_horizon 1d"
    )
    assert 1 == sum(log.count(told) for log in logs), logs
    expected = recounted(first + second + third, changed_ms)
    assert expected == await counted(installation)

    end(installation, "--close")
    assert expected == await counted(installation)
    check_reports(installation.newest_reports(), first + second + third, changed_ms)


def end(installation: Configured, *arguments: str) -> None:
    """Count and report all that there is."""
    with worker(installation, "--until-caught-up", *arguments) as process:
        code, log = finish(process)
    assert 0 == code, log


@dataclasses.dataclass(frozen=True)
class Horizons:
    """That of before a moment, and that of from then on."""

    before_ms: int
    after_ms: int
    changed_ms: int

    def at(self, time_ms: int) -> int:
        return self.before_ms if time_ms < self.changed_ms else self.after_ms

    def counts(self, drawn: Drawn, *, watermark_ms: int) -> bool:
        """Whether a label counts; one that was held back arrives when its partition has this watermark."""
        if drawn.truth is None or drawn.delay_ms > self.at(drawn.at_ms):
            return False
        return not drawn.is_held_back or watermark_ms <= drawn.at_ms + self.at(drawn.at_ms)


@pytest.mark.parametrize(("before", "after"), [("2h", "30m"), ("30m", "2h")])
async def test_windows_wait_for_labels_as_long_as_the_horizon_of_their_time_says(
    installation: Configured, before: str, after: str
) -> None:
    # Long ago, so that the watermark may come on by records that are not of the future.
    hour_ms = int(time.time() * 1000) // HOUR_MS * HOUR_MS - 3 * DAY_MS
    first = with_delays(draw(1, 300, since_ms=hour_ms - 4 * HOUR_MS, until_ms=hour_ms - 2 * HOUR_MS - BASE_MS))
    second = with_delays(draw(2, 600, since_ms=hour_ms - 3 * HOUR_MS, until_ms=hour_ms))
    third = with_delays(draw(3, 300, since_ms=hour_ms - 3 * HOUR_MS, until_ms=hour_ms))
    old, new = (f"{{name: fraud, label_horizon: {horizon}}}" for horizon in (before, after))
    logs, changed_ms = await roll_out(installation, old, new, first, second, third)
    assert hour_ms - 2 * HOUR_MS == changed_ms
    assert 1 == sum(log.count(f"label_horizon {after} in windows that start at") for log in logs), logs
    horizons = Horizons(DURATIONS[before], DURATIONS[after], changed_ms)

    # Windows of one horizon become final while earlier or later ones of the other still wait.
    watermark_ms = changed_ms + HOUR_MS
    come_on(installation, watermark_ms)
    end(installation)
    statuses = {window: report["status"] for window, report in by_window(installation).items()}
    assert {window: status(window, horizons, watermark_ms=watermark_ms) for window in statuses} == statuses
    assert {"final", "provisional", "open"} == {*statuses.values()}

    everything = first + second + third
    send(installation, "labels", labels_of(everything, held_back=True))
    end(installation, "--close")
    matched = [each for each in everything if horizons.counts(each, watermark_ms=watermark_ms)]
    ids = {each.request_id for each in matched}
    expected: collections.Counter[tuple[Any, ...]] = collections.Counter()
    for each in everything:
        truth = each.truth if each.request_id in ids else None
        expected["{}", format_time(each.at_ms // BASE_MS * BASE_MS), truth, each.answer] += 1
    assert dict(expected) == await counted(installation)
    _, fates = await installation.counts()
    assert (len(matched), len(everything) - len(matched) + installation.partitions) == (
        fates["predictions:matched"],
        fates["predictions:never_labelled"],
    )
    reports = by_window(installation)
    assert statuses.keys() == reports.keys()
    for (start_ms, end_ms), report in reports.items():
        inside = [each for each in everything if start_ms <= each.at_ms < end_ms]
        labelled = sum(each.request_id in ids for each in inside)
        assert ("final", len(inside), labelled) == (report["status"], report["predictions"], report["labelled"])


DURATIONS = {"30m": HOUR_MS // 2, "2h": 2 * HOUR_MS}


def with_delays(drawn: Iterable[Drawn]) -> list[Drawn]:
    """Labels that take as long as a horizon, a moment longer, and what is between; every fourth is held back."""
    delays_ms = (MINUTE_MS, *(each + more for each in DURATIONS.values() for more in (0, 1)), HOUR_MS, MINUTE_MS)
    return [
        dataclasses.replace(each, delay_ms=delays_ms[number % len(delays_ms)], is_held_back=number % 4 == 0)
        for number, each in enumerate(drawn)
    ]


def status(window: tuple[int, int], horizons: Horizons, *, watermark_ms: int) -> str:
    start_ms, end_ms = window
    if watermark_ms < end_ms:
        return "open"
    final_ms = end_ms + horizons.at(start_ms)
    if start_ms >= horizons.changed_ms:
        final_ms = max(final_ms, horizons.changed_ms + horizons.before_ms)
    return "final" if watermark_ms >= final_ms else "provisional"


def by_window(installation: Configured) -> dict[tuple[int, int], dict[str, Any]]:
    """The newest reports on the model by start and end."""
    return {
        (
            start_ms := parse_time_ms(report["window"]["start"]),
            start_ms + report["window"]["size_seconds"] * 1000,
        ): report
        for report in installation.newest_reports()
        if report["model"] == "fraud"
    }


def come_on(installation: Configured, watermark_ms: int) -> None:
    """Have every partition read as far as that, by records of another model."""
    at = format_time(watermark_ms + LATENESS_MS)
    ticks = [
        {"model": "tick", "request_id": f"tick-{each}", "event_time": at} for each in range(installation.partitions)
    ]
    send(installation, "predictions", [json.dumps({**tick, "prediction": "a"}).encode() for tick in ticks])
    send(installation, "labels", [json.dumps({**tick, "label": "a", "request_id": "none"}).encode() for tick in ticks])


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
    send(installation, "predictions", [each.prediction for each in drawn])
    for models in (BEFORE, AFTER, BEFORE):
        installation.configure(models, others=IN_ANY_ORDER)
        end(installation)
    send(installation, "predictions", [each.prediction for each in later])
    end(installation)
    unlabelled = [dataclasses.replace(each, truth=None) for each in drawn + later]
    assert recounted(unlabelled, changed_ms=hour_ms + DAY_MS) == await counted(installation)
