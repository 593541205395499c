"""Small batches of several partitions are packed in one call, and each gets its own run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from agents.joint_packing import LARGE_RECORDS, JointPacker
from agents.packing import PackedRun, Packer, Stretch
from streams.ledger.parts import Role, Source
from tests.support.intake_world import NOW_MS, batch_of


class FakePacker:
    """Answers with the stretches themselves, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.calls: list[list[Source]] = []
        self._failure = failure

    async def pack(self, stretches: Sequence[Stretch], *, now_ms: int) -> Sequence[PackedRun]:
        assert now_ms == NOW_MS
        self.calls.append([stretch.source for stretch in stretches])
        await asyncio.sleep(0)
        if self._failure is not None:
            raise self._failure
        return cast("Sequence[PackedRun]", stretches)


def stretch(role: Role, partition: int, records: int = 1) -> Stretch:
    source = Source(role, partition)
    return Stretch(batch_of(source, [b"{}"] * records, base=0), source, 0, 0)


def joint(packer: FakePacker) -> JointPacker:
    return JointPacker(cast("Packer", packer), gather_seconds=0.0)


async def test_what_comes_together_is_packed_in_one_call_for_each_topic() -> None:
    packer = FakePacker()
    joined = joint(packer)
    stretches = [stretch(role, partition) for partition in range(3) for role in Role]
    for _ in range(2):
        runs = await asyncio.gather(*(joined.pack(each, now_ms=NOW_MS) for each in stretches))
        assert [id(each) for each in stretches] == [id(run) for run in runs]
    calls = [[Source(role, partition) for partition in range(3)] for role in Role]
    assert [*calls, *calls] == packer.calls


async def test_large_batch_waits_for_nobody() -> None:
    packer = FakePacker()
    joined = joint(packer)
    small, large = stretch(Role.LABELS, 0), stretch(Role.LABELS, 1, LARGE_RECORDS)
    await asyncio.gather(*(joined.pack(each, now_ms=NOW_MS) for each in (small, large)))
    assert [[large.source], [small.source]] == packer.calls


async def test_whoever_has_stopped_waiting_is_left_out() -> None:
    packer = FakePacker()
    joined = joint(packer)
    gone, stays = (asyncio.ensure_future(joined.pack(stretch(Role.LABELS, at), now_ms=NOW_MS)) for at in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await stays
    assert [[Source(Role.LABELS, 1)]] == packer.calls


async def test_error_is_told_to_all_who_wait() -> None:
    joined = joint(FakePacker(ValueError("nobody expects it")))
    asked = [joined.pack(stretch(Role.LABELS, at), now_ms=NOW_MS) for at in range(2)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert ["nobody expects it"] * 2 == list(map(str, told))
    with pytest.raises(ValueError, match="nobody expects it"):
        await joined.pack(stretch(Role.LABELS, 0), now_ms=NOW_MS)
