"""The registry of names loses its tail, alone or with everything else: what the shards use stays decided."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import pytest

from agents.name_registry import MODEL_VERSIONS, NameLimits, NameRegistry, segment_values_group
from agents.outages import Outages
from streams.errors import TemporaryFailure
from streams.identity import class_hash, registry_group
from streams.ledger.parts import Definitions, NameList, Source
from streams.ledger.reference import ReferenceLedger
from streams.monitored_model import MonitoredModel
from tests.support.intake_world import FakeClock, IntakeWorld, Records, prediction
from tests.unit.agents.test_intake import PREDICTIONS

MODEL = MonitoredModel(name="fraud", segments=("country",))
LIMITS = NameLimits(models=2, classes=2, segment_values=2)
GROUP = registry_group("classes", "fraud")
A, B, C = (class_hash(text) for text in "abc")


def log_of(rounds: int) -> Records:
    """Names in the order in which they come: the first two of each kind get cells, and the third keeps trying."""
    wheel = [
        prediction(f"{number}", answer, segment={"country": country}, model=model)
        for number in range(3 * rounds)
        for model, answer, country in [
            (("fraud", "ok", "DE"), ("fraud", "fraud", "FR"), ("other", "x", "DE"))[number % 3],
        ]
    ]
    beyond = [
        prediction(f"beyond {number}", "maybe", segment={"country": "IT"}, model=model)
        for number in range(8)
        for model in ("fraud", "third")
    ]
    return wheel + beyond


async def read(world: IntakeWorld, *, batch_records: int = 3) -> None:
    async with world.running() as intake:
        await world.read_all(intake, batch_records=batch_records)


def world_of(records: Records, ledger: ReferenceLedger | None = None) -> IntakeWorld:
    return IntakeWorld({PREDICTIONS: records}, models=[MODEL], limits=LIMITS, ledger=ledger)


def readable(registry: Mapping[bytes, NameList]) -> dict[bytes, tuple[set[bytes], bool]]:
    """Without the order in which names were admitted."""
    return {group: (set(names.admitted), names.full) for group, names in registry.items()}


@pytest.mark.parametrize("is_emptied", [True, False])
async def test_restarted_worker_decides_as_before_though_the_registry_was_rolled_back(is_emptied: bool) -> None:
    records = log_of(20)
    undisturbed = world_of(records)
    await read(undisturbed)
    first = world_of(records[:1])
    await read(first)
    kept = {} if is_emptied else copy.deepcopy(first.ledger._registry)
    second = world_of(records[:60], first.ledger)
    await read(second)
    second.ledger._registry = kept
    # The next that come are those beyond the limits.
    third = world_of([*records[:60], *reversed(records[60:])], second.ledger)
    await read(third)
    assert (await undisturbed.cells(), await undisturbed.fates()) == (await third.cells(), await third.fates())
    assert readable(await undisturbed.ledger.registry()) == readable(await third.ledger.registry())


async def test_shards_are_told_every_list_that_their_rows_were_counted_by() -> None:
    world = world_of(log_of(5))
    await read(world)
    registry = await world.ledger.registry()
    groups = {MODEL_VERSIONS, segment_values_group("fraud", "country"), GROUP}
    assert groups <= registry.keys()
    for shard in range(world.ledger.shards):
        lists = await world.ledger.name_lists(shard)
        for group in groups & lists.keys():
            assert registry[group] == lists[group]
        assert {MODEL_VERSIONS, segment_values_group("fraud", "country")} <= lists.keys()


class Forgetful(ReferenceLedger):
    """Its registry does not answer the first time, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__(shards=2, label_hold_ms=1, keep_windows_ms=1)
        self.asked = 0
        self.is_away = False

    async def admit(self, group: bytes, names: Sequence[bytes], *, limit: int, known: NameList) -> NameList:
        if self.is_away:
            self.is_away = False
            self._registry.clear()
            raise TemporaryFailure("it was away, and comes back empty")
        return await super().admit(group, names, limit=limit, known=known)

    async def registry(self) -> dict[bytes, NameList]:
        self.asked += 1
        if self.asked == 1:
            raise TemporaryFailure("it does not answer")
        return dict(await super().registry())


@pytest.fixture
async def ledger(monkeypatch: pytest.MonkeyPatch) -> Forgetful:
    """Two shards that together use all of a full list, and an empty registry."""
    monkeypatch.setattr("agents.outages.FIRST_PAUSE_SECONDS", 0.0)
    ledger = Forgetful()
    for shard, names in enumerate((NameList((A,)), NameList((A, B), full=True))):
        await ledger.create(shard, ledger_id="one", sources=dict[Source, int]())
        await ledger.commit(shard, [], Definitions(name_lists={GROUP: names}), forget_limit=0)
    return ledger


async def test_what_any_shard_uses_is_written_back_before_the_first_question(ledger: Forgetful) -> None:
    registry = NameRegistry(ledger, Outages(FakeClock()), limits=LIMITS)
    assert NameList((A, B), full=True) == await registry.decide_classes(GROUP, [C])
    assert {GROUP: NameList((A, B), full=True)} == await ledger.registry()


async def test_registry_is_compared_again_only_after_a_doubt(ledger: Forgetful) -> None:
    registry = NameRegistry(ledger, Outages(FakeClock()), limits=LIMITS)
    for number in range(3):
        await registry.decide(registry_group("classes", str(number)), [A], limit=2)
    assert 2 == ledger.asked
    ledger._registry.clear()
    registry.doubt()
    await registry.decide(registry_group("classes", "next"), [A], limit=2)
    assert 3 == ledger.asked
    assert {GROUP, *(registry_group("classes", name) for name in ("0", "1", "2", "next"))} == ledger._registry.keys()


async def test_registry_that_was_away_is_compared_before_it_is_asked_again(ledger: Forgetful) -> None:
    registry = NameRegistry(ledger, Outages(FakeClock()), limits=LIMITS)
    other = registry_group("classes", "other")
    await registry.decide(other, [A], limit=2)
    # Somebody else's decision, which only a shard knows of.
    third = registry_group("classes", "third")
    await ledger.commit(0, [], Definitions(name_lists={third: NameList((A, B), full=True)}), forget_limit=0)
    ledger.is_away = True
    assert NameList((A, B), full=True) == await registry.decide(third, [C], limit=2)
    assert {GROUP, other, third} == ledger._registry.keys()
