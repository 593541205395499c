"""What every ledger must do with lists: sets of classes, and rankings whose relevant items come one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from schemas.limits import LIST_ENTRIES
from streams.identity import ABSENT, ANY_LABEL, EVERYTHING, OTHER, class_hash, registry_group, request_key, segment_hash
from streams.ledger.item_lists import set_of
from streams.ledger.parts import LabelRow, NameList, Outcome, Part, pack_labels
from streams.monitored_model import LabelPolicy, MonitoredModel, Task
from streams.pair_sums.delay import delay_name
from streams.pair_sums.lists import multilabel_contribution, ranking_contribution
from streams.ports import Ledger
from tests.support.ledger_writer import HOUR_MS, LABELS, MINUTE_MS, MODEL, NOON_MS, Writer, pair

TAGS = dataclasses.replace(MODEL, task=Task.MULTILABEL)
SHOP = dataclasses.replace(MODEL, task=Task.RANKING)


async def started(ledger: Ledger, *models: MonitoredModel) -> Writer:
    writer = Writer(ledger, models)
    await writer.start()
    return writer


def sets(found: str = "", invented: str = "", missed: str = "") -> dict[str, int]:
    some = ([class_hash(name) for name in names.split()] for names in (found, invented, missed))
    return multilabel_contribution(**dict(zip(("found", "invented", "missed"), some, strict=True)))


async def test_set_of_classes_is_compared_with_its_label_and_again_when_that_is_corrected(ledger: Ledger) -> None:
    writer = await started(ledger, TAGS)
    await writer.predict("r", "", model=TAGS, items=["a", "b", "a"])
    assert {(ABSENT, ABSENT): 1} == await writer.cells(TAGS)
    await writer.label("r", ["b", "c"])
    assert {(ANY_LABEL, ABSENT): 1} == await writer.cells(TAGS)
    assert sets("b", "a", "c") == await writer.sums(TAGS)
    await writer.label("r", ["b", "a"], at_ms=NOON_MS + 1)
    assert sets("a b") == await writer.sums(TAGS)
    await writer.label("r", ["c"], at_ms=NOON_MS)
    assert sets("a b") == await writer.sums(TAGS)
    await writer.label("r", [], at_ms=NOON_MS + 2)
    assert sets("", "a b") == await writer.sums(TAGS)
    assert {"predictions:matched": 1, "labels:matched": 1, "labels:corrected_label": 3} == await writer.fates()


@pytest.mark.parametrize("policy", LabelPolicy)
@pytest.mark.parametrize(
    ("smaller", "greater"), [(["a"], ["a", "b"]), (["ab", "c"], ["b"]), ([], ["a"]), (["z"], ["é"]), ("a", ["b", "a"])]
)
async def test_of_two_sets_of_one_time_their_names_in_order_decide(
    ledger: Ledger, smaller: Sequence[str], greater: Sequence[str], policy: LabelPolicy
) -> None:
    model = dataclasses.replace(TAGS, label_policy=policy)
    writer = await started(ledger, model)
    for request_id, labels in (("r", (smaller, greater)), ("s", (greater, smaller))):
        await writer.predict(request_id, "", model=model, items=[])
        for label in labels:
            await writer.label(request_id, label)
    missed = sets("", "", " ".join(greater if policy is LabelPolicy.LAST else smaller))
    assert {name: 2 * count for name, count in missed.items()} == await writer.sums(model)


async def test_other_spellings_in_a_set_are_one_class_and_a_set_of_one_is_that_one(ledger: Ledger) -> None:
    model = dataclasses.replace(TAGS, class_aliases={"1": "a"})
    writer = await started(ledger, model)
    await writer.predict("r", "", model=model, items=["a"])
    await writer.label("r", ["1", "a"])
    assert sets("a") == await writer.sums(model)
    await writer.label("r", "1", at_ms=NOON_MS + 1)
    assert 1 == (await writer.fates())["labels:duplicate_label"]


async def test_classes_of_a_set_that_are_beyond_the_limit_share_a_name(ledger: Ledger) -> None:
    writer = Writer(ledger, (TAGS,), NameList((class_hash("a"),), full=True))
    await writer.start()
    await writer.predict("r", "", model=TAGS, items=["a", "b", "c"])
    await writer.label("r", ["a", "c", "z"])
    expected = multilabel_contribution(found=[class_hash("a"), OTHER], invented=[OTHER], missed=[OTHER])
    assert expected == await writer.sums(TAGS)


async def test_label_waits_until_it_is_decided_which_classes_of_both_sets_get_cells(ledger: Ledger) -> None:
    writer = Writer(ledger, (TAGS,), NameList((class_hash("a"),)))
    await writer.start()
    await writer.predict("r", "", model=TAGS, items=["a", "b"])
    row = LabelRow(request_key("r"), NOON_MS, NOON_MS, class_hash("c"))
    reply = await writer.send(Part(source=LABELS, expected=0, next=1, rows=pack_labels([row])))
    assert Outcome.HELD_BACK is reply.parts[0].outcome
    group = registry_group("classes", "m")
    assert {(group, class_hash("b")), (group, class_hash("c"))} == set(reply.undecided)


async def test_relevant_items_of_a_ranking_come_one_by_one_and_each_counts_once(ledger: Ledger) -> None:
    writer, german = await started(ledger, SHOP), segment_hash({"country": "DE"})
    await writer.label("r", "c", at_ms=NOON_MS - 1)
    await writer.predict("r", "", model=SHOP, items=["a", "b", "c", "b"], slices=[german])
    assert ranking_contribution([3], relevant=1) == await writer.sums(SHOP)
    await writer.label("r", ["b", "z"], at_ms=NOON_MS + MINUTE_MS)
    await writer.label("r", "b", at_ms=NOON_MS + 2 * MINUTE_MS)
    for piece in (EVERYTHING, german):
        assert ranking_contribution([2, 3], relevant=3) == await writer.sums(SHOP, piece=piece)
    assert {delay_name(-1): 1} == await writer.delays(SHOP)
    assert {"predictions:matched": 1, "labels:matched": 2, "labels:duplicate_label": 1} == await writer.fates()
    assert {(ANY_LABEL, ABSENT): 1} == await writer.cells(SHOP)


async def test_label_that_says_nothing_was_relevant_gives_way_to_an_item(ledger: Ledger) -> None:
    writer = await started(ledger, SHOP)
    await writer.predict("r", "", model=SHOP, items=["a"])
    await writer.label("r", [], at_ms=NOON_MS + MINUTE_MS)
    assert ranking_contribution([], relevant=0) == await writer.sums(SHOP)
    await writer.label("r", "a", at_ms=NOON_MS + 2 * MINUTE_MS)
    assert ranking_contribution([1], relevant=1) == await writer.sums(SHOP)
    await writer.label("r", "a")
    assert {delay_name(0): 1} == await writer.delays(SHOP)


async def test_beyond_the_limit_of_relevant_items_the_same_are_kept_in_any_order(ledger: Ledger) -> None:
    writer = await started(ledger, SHOP)
    items = [str(number) for number in range(LIST_ENTRIES + 6)]
    kept = set_of(map(class_hash, items))[:LIST_ENTRIES]
    ranked = items[:LIST_ENTRIES]
    for request_id, order in (("r", items), ("s", items[::-1])):
        await writer.predict(request_id, "", model=SHOP, items=ranked)
        for item in order:
            await writer.label(request_id, item)
    ranks = [rank for rank, item in enumerate(ranked, start=1) if class_hash(item) in kept]
    expected = ranking_contribution(ranks, relevant=LIST_ENTRIES)
    assert {name: 2 * count for name, count in expected.items()} == await writer.sums(SHOP)


async def test_list_is_no_label_of_a_model_whose_answers_are_single(ledger: Ledger) -> None:
    other = dataclasses.replace(SHOP, name="other")
    writer = await started(ledger, MODEL, other)
    await writer.predict("r", "a")
    await writer.predict("r", "", model=other, items=["b"])
    await writer.predict("s", "a")
    for request_id in "rs":
        await writer.label(request_id, ["a", "b"])
    assert {pair("", "a"): 2} == await writer.cells()
    assert {(ANY_LABEL, ABSENT): 1} == await writer.cells(other)
    fates = {"predictions:waiting": 2, "predictions:matched": 1, "labels:matched": 1, "labels:out_of_range": 1}
    assert fates == await writer.fates()


async def test_ranking_in_another_order_is_another_prediction_and_a_set_is_not(ledger: Ledger) -> None:
    shop = dataclasses.replace(SHOP, name="shop")
    writer = await started(ledger, TAGS, shop)
    for model in (TAGS, shop):
        await writer.predict("r", "", model=model, items=["a", "b"])
        await writer.predict("r", "", model=model, items=["b", "a"])
    assert {
        "predictions:waiting": 2,
        "predictions:duplicate_prediction": 1,
        "predictions:conflicting_prediction": 1,
    } == await writer.fates()


async def test_lists_are_forgotten_with_their_predictions_and_labels(ledger: Ledger) -> None:
    writer = await started(ledger, SHOP)
    await writer.predict("r", "", model=SHOP, items=["a", "b"])
    await writer.label("r", ["b", "c"])
    await writer.predict("s", "", model=SHOP, items=[])
    await writer.label("early", ["b", "c"])
    await writer.raise_all(NOON_MS + 2 * HOUR_MS)
    while await writer.ledger.forget(0, limit=10):
        pass
    assert {
        "predictions:matched": 1,
        "predictions:never_labelled": 1,
        "labels:matched": 1,
        "labels:unmatched_label": 1,
    } == await writer.fates()
