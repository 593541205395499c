"""Each rule of the ledger, taken away, is caught by drawn histories: a check that cannot fail proves nothing.

A rule is taken away by replacing its text in a copy of the source. A text that is no longer there fails the test, so
that the list stays true to the code.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import sys
import types
from collections.abc import AsyncIterator, Callable, Sequence
from importlib import resources
from typing import Any

import pytest
from redis.asyncio import Redis

from agents.redis_ledger import _SHARD_SCRIPTS, RedisLedger
from deploy.servers import RedisServer
from streams.ledger.join import MAX_LABELS_OF_RANKINGS
from streams.ledger.reference import ReferenceLedger
from tests.support.histories import LABEL_HOLD_MS, UNIT_MS, Packer, draw_history, draw_list_models, draw_models
from tests.support.redis_shards import RestorableRedis
from tests.support.world import EVERY_TROUBLE, FOREVER_MS, REGISTRY, Restorable, RestorableReference, World

SHARDS = 2
HISTORIES = 400
"""Most rules are missed within ten; those that need several coincidences within two hundred."""
HISTORIES_IN_REDIS = 80
SETTINGS = {
    "label_hold_ms": LABEL_HOLD_MS,
    "keep_windows_ms": FOREVER_MS,
    "max_labels": MAX_LABELS_OF_RANKINGS,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """A rule in words, the text that makes it in one module, and what stands there without it."""

    words: str
    module: str
    text: str
    instead: str
    times: int = 1
    of_lists: bool = False

    def take_away(self, source: str) -> str:
        """The source without the rule.

        Raises:
            LookupError: the source says it otherwise. Not what a history that misses the rule raises.
        """
        if self.times != source.count(self.text):
            raise LookupError(f"{self.module} no longer says: {self.text}")
        return source.replace(self.text, self.instead)


def words(rule: Rule) -> str:
    """The rule's name in test ids."""
    return rule.words.replace(" ", "-")


IN_THE_REFERENCE = [
    Rule(
        "a label arrives by its prediction's horizon",
        "join",
        "and arrival_ms <= prediction.time_ms + terms.horizon_ms",
        "",
    ),
    Rule(
        "a prediction arrives by its label's time and the skew",
        "join",
        "and prediction.arrival_ms <= time_ms + terms.skew_ms",
        "",
    ),
    Rule(
        "a prediction that arrives after its horizon is late",
        "join",
        "if row.arrival_ms > row.time_ms + terms.horizon_ms:",
        "if False:",
    ),
    Rule(
        "of repeated predictions the earliest arrival counts",
        "join",
        "if row.arrival_ms < held.arrival_ms:",
        "if False:",
    ),
    Rule(
        "of repeated labels the earliest arrival counts",
        "join",
        "known.arrival_ms = min(known.arrival_ms, row.arrival_ms)",
        "pass",
    ),
    Rule(
        "of two labels of one time the class text decides",
        "join",
        "is_greater = tally.class_text(label) > tally.class_text(prediction.winner)",
        "is_greater = True",
    ),
    Rule(
        "a failed prediction stands under a key of its own",
        "join",
        " and held.failed == row.failed:",
        ":",
    ),
    Rule(
        "a label serves every model it is not kept from",
        "join",
        "if label.model in (ABSENT, prediction.terms.model):",
        "if True:",
    ),
    Rule(
        "a label is held for the largest skew of any model",
        "join",
        "watermark_ms > held.time_ms + label_hold_ms",
        "watermark_ms > held.time_ms",
    ),
    Rule(
        "a prediction is remembered for its horizon",
        "join",
        "watermark_ms > p.time_ms + p.terms.horizon_ms",
        "watermark_ms > p.time_ms",
    ),
    Rule(
        "what waits in vain was never labelled",
        "join",
        "tally.prediction(PredictionFate.NEVER_LABELLED)",
        "pass",
    ),
    Rule(
        "a part is applied at its own offset",
        "reference_shard",
        "if state.next != part.expected:",
        "if False:",
    ),
    Rule(
        "a part that leaves a gap is refused too",
        "reference_shard",
        "if state.next != part.expected:",
        "if state.next > part.expected:",
    ),
    Rule(
        "the slowest partition decides what is forgotten",
        "reference_shard",
        "return min((state.watermark_ms",
        "return max((state.watermark_ms",
    ),
    Rule(
        "a raised partition is trusted no further back than it was raised to",
        "reference_shard",
        "arrival_ms=max(row.arrival_ms, watermark_ms)",
        "arrival_ms=row.arrival_ms",
        times=2,
    ),
    Rule(
        "an added partition begins at the shard's watermark",
        "reference_shard",
        "SourceState(part.expected, NEVER_MS, self._watermark_ms)",
        "SourceState(part.expected, NEVER_MS, NEVER_MS)",
    ),
    Rule(
        "a raised watermark does not go back",
        "reference_shard",
        "max(state.watermark_ms, part.watermark_ms, part.raise_to_ms)",
        "max(part.watermark_ms, part.raise_to_ms)",
    ),
    Rule(
        "a class waits until it is decided whether it gets cells",
        "reference_shard",
        "if draft.unknown_terms or draft.undecided:",
        "if draft.unknown_terms:",
    ),
    Rule(
        "what is not overdue yet is looked at again",
        "reference_shard",
        "draft.remember(key, bucket_ms)",
        "pass",
    ),
    Rule(
        "every label of a ranking adds its items",
        "join",
        "items = united(known, _items_of(prediction.terms, offered))",
        "items = _items_of(prediction.terms, offered)",
        of_lists=True,
    ),
    Rule(
        "the earliest label of a ranking says how long labels took",
        "join",
        "min(offered.time_ms, prediction.winner_ms)",
        "prediction.winner_ms",
        of_lists=True,
    ),
    Rule(
        "of two sets of one time their names decide",
        "join",
        "return (texts > before) != prediction.terms.first_label_wins",
        "return True",
        of_lists=True,
    ),
    Rule(
        "a list is no label of a single class",
        "join",
        "if offered.items is not None:",
        "if False:",
        of_lists=True,
    ),
    Rule(
        "other spellings in a list are one class",
        "join",
        "aliases.get(item, item) for item in",
        "item for item in",
        of_lists=True,
    ),
    Rule(
        "classes of a set beyond the limit share a name",
        "reference_shard",
        "[item if self._has_cells(terms.class_group, item) else OTHER for item in some]",
        "[item for item in some if self._has_cells(terms.class_group, item) or item]",
        of_lists=True,
    ),
]

IN_THE_SCRIPTS = [
    Rule(
        "a label arrives by its prediction's horizon",
        "join",
        "and arrival_ms <= held.time_ms + terms.horizon_ms",
        "",
    ),
    Rule(
        "a prediction arrives by its label's time and the skew",
        "join",
        "and held.arrival_ms <= time_ms + terms.skew_ms",
        "",
    ),
    Rule(
        "of repeated predictions the earliest arrival counts",
        "join",
        "if row.arrival_ms >= held.arrival_ms then return false, false end",
        "if true then return false, false end",
    ),
    Rule(
        "of repeated labels the earliest arrival counts",
        "join",
        "if row.arrival_ms < known.arrival_ms then",
        "if false then",
    ),
    Rule(
        "a prediction is remembered for its horizon",
        "join",
        "watermark_ms <= held.time_ms + terms_for(held.terms).horizon_ms",
        "watermark_ms <= held.time_ms",
    ),
    Rule(
        "what is overdue is forgotten at the first touch",
        "join",
        "if is_known and forget_overdue(entry) then",
        "if false then",
    ),
    Rule(
        "what is not overdue yet is looked at again",
        "writing",
        "if is_kept and tonumber(minute) > watermark_ms then",
        "if false then",
    ),
    Rule(
        "a raised partition is trusted no further back than it was raised to",
        "commit",
        "if arrival_ms < trusted_ms then arrival_ms = trusted_ms end",
        "",
        times=2,
    ),
    Rule(
        "a part is applied at its own offset",
        "commit",
        "return source.next == part.expected and 'applied' or 'refused'",
        "return 'applied'",
    ),
    Rule(
        "an added partition begins at the shard's watermark",
        "commit",
        "high_ms = 0, watermark_ms = watermark_ms}",
        "high_ms = 0, watermark_ms = 0}",
    ),
    Rule(
        "a raised watermark does not go back",
        "commit",
        "math.max(source.watermark_ms, part.watermark_ms, part.raise_to_ms)",
        "math.max(part.watermark_ms, part.raise_to_ms)",
    ),
    Rule(
        "a label too old to be held is not kept",
        "commit",
        "if watermark_ms > deadline_ms then",
        "if false then",
    ),
    Rule(
        "every label of a ranking adds its items",
        "join",
        "set_of(known .. items_of(terms, spelling, sent), LIST_ENTRIES)",
        "items_of(terms, spelling, sent)",
        of_lists=True,
    ),
    Rule(
        "the earliest label of a ranking says how long labels took",
        "join",
        "time_ms = math.min(time_ms, held.winner_ms)",
        "time_ms = held.winner_ms",
        of_lists=True,
    ),
    Rule(
        "of two sets of one time their names decide",
        "join",
        "if texts[at] ~= before[at] then return is_greater_text(texts[at], before[at]) ~= terms.first_label_wins end",
        "",
        of_lists=True,
    ),
    Rule(
        "a list is no label of a single class",
        "join",
        "if items then return OUT_OF_RANGE end",
        "",
        of_lists=True,
    ),
    Rule(
        "other spellings in a list are one class",
        "counting",
        "named[#named + 1] = terms.aliases[item] or item",
        "named[#named + 1] = item",
        of_lists=True,
    ),
]


def reference_without(rule: Rule | None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Sequence[Restorable]]:
    """A maker of references that are read again from their source, without the rule."""
    for name in ("join", "reference_shard", "reference"):
        source = resources.files("streams.ledger").joinpath(f"{name}.py").read_text()
        if rule is not None and rule.module == name:
            source = rule.take_away(source)
        module = types.ModuleType(f"streams.ledger.{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(source, module.__name__, "exec"), module.__dict__)
    return lambda: [RestorableReference(module.ReferenceLedger(shards=SHARDS, **SETTINGS))]


async def read_history(seed: int, *ledgers: Restorable, of_lists: bool) -> None:
    """One drawn history, checked to its end: by turns much disorder and nothing else, and every trouble."""
    rng, is_troubled = random.Random(seed), seed % 2 == 1
    models = draw_list_models(rng) if of_lists else draw_models(rng)
    disorder_ms = rng.choice([4, 25, 60]) * UNIT_MS if is_troubled else 40 * UNIT_MS
    packer = Packer(models, draw_history(rng, models, ids=4, disorder_ms=disorder_ms), SHARDS)
    faults = EVERY_TROUBLE if is_troubled else frozenset[str]()
    await World(ledgers, packer, rng, faults=faults, class_limit=rng.choice([2, 200])).run(80 if is_troubled else 0)


async def read_histories(count: int, ledgers: Callable[[], Sequence[Restorable]], *, of_lists: bool = False) -> None:
    """Histories one after the other, each with ledgers of its own."""
    for seed in range(count):
        await read_history(seed, *ledgers(), of_lists=of_lists)


@pytest.mark.parametrize("of_lists", [False, True])
async def test_a_copy_with_every_rule_passes(monkeypatch: pytest.MonkeyPatch, *, of_lists: bool) -> None:
    await read_histories(HISTORIES // 8, reference_without(None, monkeypatch), of_lists=of_lists)


@pytest.mark.parametrize("rule", IN_THE_REFERENCE, ids=words)
async def test_histories_miss_a_rule_that_is_taken_from_the_reference(
    rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError):
        await read_histories(HISTORIES, reference_without(rule, monkeypatch), of_lists=rule.of_lists)


class WatermarksElsewhere(RestorableReference):
    """A ledger whose watermarks are stored apart from its offsets and survive a rollback."""

    async def restore(self, shard: int, snapshot: Any) -> None:
        before = {} if shard == REGISTRY else self.reference.parts[shard].sources
        await super().restore(shard, snapshot)
        for source, state in before.items():
            sources = self.reference.parts[shard].sources
            if source in sources:
                sources[source] = dataclasses.replace(sources[source], watermark_ms=state.watermark_ms)


async def test_histories_miss_that_offset_and_watermark_go_back_together() -> None:
    with pytest.raises(AssertionError):
        await read_histories(HISTORIES, lambda: [WatermarksElsewhere(ReferenceLedger(shards=SHARDS, **SETTINGS))])


@pytest.fixture
async def client(fresh_redis: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(fresh_redis.unix_url) as client:
        yield client


def scripts_without(rule: Rule, client: Redis, *, prefix: str) -> RedisLedger:
    """The Redis ledger with scripts that lack the rule."""
    ledger = RedisLedger(client, address="the test's Redis", prefix=prefix, shards=SHARDS, **SETTINGS)
    for script, last in ((ledger._commit, "commit"), (ledger._forget, "forget")):
        names = (*_SHARD_SCRIPTS, last)
        texts = {name: resources.files("agents.lua").joinpath(f"{name}.lua").read_text() for name in names}
        if rule.module in texts:
            texts[rule.module] = rule.take_away(texts[rule.module])
        script._text = "\n".join(texts.values())
    return ledger


@pytest.mark.parametrize("rule", IN_THE_SCRIPTS, ids=words)
async def test_histories_miss_a_rule_that_is_taken_from_the_scripts(rule: Rule, client: Redis) -> None:
    prefixes = (f"away-{number}" for number in itertools.count())

    def ledgers() -> Sequence[Restorable]:
        reference, prefix = ReferenceLedger(shards=SHARDS, **SETTINGS), next(prefixes)
        ledger = scripts_without(rule, client, prefix=prefix)
        return [RestorableReference(reference), RestorableRedis(client, ledger, prefix=prefix)]

    with pytest.raises(AssertionError):
        await read_histories(HISTORIES_IN_REDIS, ledgers, of_lists=rule.of_lists)
