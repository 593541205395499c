"""Final windows raise the same alerts in a worker that is killed, in one that catches up, and in a backtest."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.servers import KafkaServer, RedisServer
from tests.support.alert_histories import (
    Episode,
    catch_up,
    draw_histories,
    in_a_backtest,
    installation_in,
    live,
    replayed,
    send,
    through_losses,
)
from tests.support.workers import Installation

# It would double what fifty histories take, and others run the same lines.
pytestmark = pytest.mark.no_cover

HISTORIES = 50
IDLE_AFTER = "1m"
"""Longer than a portion takes to be sent: what comes to a partition that has been taken for idle may come late."""
TOO_LATE = ("predictions:late_prediction", "labels:out_of_range", "labels:unmatched_label")


def compare(seed: int, folder: Path, kafka: KafkaServer, redis: RedisServer, *, count: int = HISTORIES) -> None:
    rng = random.Random(seed)
    models = [f"model-{number}" for number in range(count)]
    records = draw_histories(rng, models)

    def caught_up(installation: Installation) -> list[Episode]:
        send(installation, records)
        return catch_up(installation)

    ways: dict[str, Callable[[Installation], list[Episode]]] = {
        "live": lambda installation: live(installation, records),
        "caught-up": caught_up,
        "replayed": replayed,
        "backtest": in_a_backtest,
    }
    installations = {
        way: installation_in(
            folder / way, models, records, brokers=kafka.address, redis_url=redis.url, idle_after=IDLE_AFTER
        )
        for way in ways
    }
    with ThreadPoolExecutor() as pool:
        running = {way: pool.submit(ways[way], installations[way]) for way in ways}
    found = {way: each.result() for way, each in running.items()}
    expected = found.pop("backtest")
    for way, episodes in found.items():
        _, fates = asyncio.run(installations[way].counts())
        # Else the difference would be one of what was counted, and not of alerts.
        assert {} == {fate: fates[fate] for fate in TOO_LATE if fate in fates}, (seed, way)
        assert expected == episodes, (seed, way)
    names = {json.loads(labels)["alertname"] for labels, *_ in expected}
    assert {"Low", "Lasting", "Country", "Point"} == names
    print(f"    seed {seed}: {len(expected)} times an alert fired over {len(models)} histories, the same in all ways")


@pytest.mark.timeout(900)
def test_fifty_histories_raise_the_same_alerts_live_caught_up_replayed_and_in_a_backtest(
    tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    compare(1, tmp_path, kafka, redis_server)


def test_redis_that_goes_back_a_second_whenever_alerts_are_told_costs_none_and_begins_none_twice(
    tmp_path: Path, kafka: KafkaServer
) -> None:
    models = [f"model-{number}" for number in range(4)]
    records = draw_histories(random.Random(1), models)
    with RedisServer() as redis, ThreadPoolExecutor() as pool:
        installation = installation_in(
            tmp_path / "losing", models, records, brokers=kafka.address, redis_url=redis.url, idle_after=IDLE_AFTER
        )
        expected = pool.submit(in_a_backtest, installation)
        episodes, begun = through_losses(installation, records, redis)
    assert expected.result() == episodes
    print(f"    {len(episodes)} times an alert fired; in {begun} of the lost seconds one had begun")
    assert begun > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
def test_five_hundred_more_histories_raise_the_same_alerts(
    seed: int, tmp_path: Path, kafka: KafkaServer, redis_server: RedisServer
) -> None:
    compare(seed, tmp_path, kafka, redis_server)
