"""What a replay says of records of a model whose label horizon changes at one o'clock, without services."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from agents.dead_letter_log import DeadLetterLog, Letter
from agents.dead_letter_replay import Replay, Replayed, ReplayPorts
from agents.settings import Settings
from schemas.dead_letter import Origin
from streams.ledger.agreements import Agreement, Agreements
from streams.ledger.eras import Era
from streams.ledger.parts import Role, Source
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel
from tests.support.intake_world import label, prediction
from tests.support.publishing import FakeClock, FakePublisher

ONE_MS = 1_795_438_800_000
"""2026-11-23T13:00:00Z"""
SENT_MS = ONE_MS + DAY_MS
MODEL = MonitoredModel(name="fraud", label_horizon_ms=2 * HOUR_MS, allowed_skew_ms=5 * MINUTE_MS)
BEFORE_MS = MODEL.label_horizon_ms
SKEW_MS = MODEL.allowed_skew_ms
SHORTER_MS, LONGER_MS = 30 * MINUTE_MS, 5 * HOUR_MS
SETTINGS = dataclasses.replace(Settings(), models=(MODEL,))


@dataclasses.dataclass
class Letters:
    """A log of dead letters."""

    values: Sequence[bytes]
    topic: str

    async def letters(self) -> AsyncIterator[Letter]:
        for offset, value in enumerate(self.values):
            origin = Origin(
                topic=self.topic, partition=0, offset=offset, reason="wrong_type", message="", timestamp_ms=SENT_MS
            )
            yield Letter(
                topic="dead-letters", partition=0, offset=offset, timestamp_ms=SENT_MS, key=None, value=value,
                headers=(), origin=origin,
            )  # fmt: skip

    async def partitions(self, _: str) -> frozenset[int]:
        return frozenset({0})


async def replayed(value: bytes, role: Role, *, after_ms: int, watermark_ms: int) -> Replayed:
    """One letter whose partition's watermark stands there; the file still has the horizon of before."""
    eras = (Era.of(MODEL), dataclasses.replace(Era.of(MODEL), label_horizon_ms=after_ms, from_ms=ONE_MS))
    log = Letters([value], SETTINGS.kafka.topic(role))
    clock = FakeClock(SENT_MS)
    replay = Replay(
        SETTINGS,
        ReplayPorts(log=cast("DeadLetterLog", log), publisher=FakePublisher(), clock=clock),
        highest_ms={Source(role, 0): watermark_ms + SETTINGS.allowed_lateness_ms},
        agreed=Agreements(7, {"fraud": dataclasses.replace(Agreement.of(MODEL), eras=eras)}),
    )
    return await replay.run(lambda _: True)


@pytest.mark.parametrize("after_ms", [SHORTER_MS, LONGER_MS])
async def test_prediction_is_late_by_the_horizon_of_its_own_time(after_ms: int) -> None:
    for at_ms, horizon_ms in ((ONE_MS - 1, BEFORE_MS), (ONE_MS, after_ms)):
        for beyond_ms in (0, 1):
            result = await replayed(
                prediction("a", "ok", at_ms=at_ms),
                Role.PREDICTIONS,
                after_ms=after_ms,
                watermark_ms=at_ms + horizon_ms + beyond_ms,
            )
            assert (beyond_ms, 1 - beyond_ms) == (result.too_late, result.may_miss_labels)


def last_arrival_ms(label_ms: int, *, after_ms: int) -> int:
    """Of a label that still counts for some prediction, whichever of the minutes around it that was made in."""
    made_ms = {*range(label_ms - 6 * HOUR_MS, label_ms + SKEW_MS, MINUTE_MS), ONE_MS - 1, ONE_MS, label_ms + SKEW_MS}
    waits: list[tuple[int, int]] = [
        (at_ms, BEFORE_MS if at_ms < ONE_MS else after_ms) for at_ms in made_ms if at_ms <= label_ms + SKEW_MS
    ]
    return max(at_ms + horizon_ms for at_ms, horizon_ms in waits)


@pytest.mark.parametrize("after_ms", [SHORTER_MS, LONGER_MS])
@pytest.mark.parametrize("fields", [{}, {"model": "fraud"}])
@pytest.mark.parametrize(
    "label_ms",
    [ONE_MS - HOUR_MS, ONE_MS - SKEW_MS - 1, ONE_MS - SKEW_MS, ONE_MS + HOUR_MS, ONE_MS + 3 * HOUR_MS],
)
async def test_label_is_late_once_no_prediction_that_it_could_serve_waits_by_its_own_horizon(
    after_ms: int, fields: dict[str, Any], label_ms: int
) -> None:
    last_ms = last_arrival_ms(label_ms, after_ms=after_ms)
    if not fields:  # models that are not listed wait for a day
        last_ms = label_ms + SKEW_MS + DAY_MS
    value = label("a", "ok", at_ms=label_ms, **fields)
    told = [
        (await replayed(value, Role.LABELS, after_ms=after_ms, watermark_ms=watermark_ms)).too_late
        for watermark_ms in (last_ms, last_ms + 1)
    ]
    assert [0, 1] == told
