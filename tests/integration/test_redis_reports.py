"""What every report store does: the same suite for the fake and for Redis."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from agents.redis_reports import SAVE_REPORTS, RedisReports
from deploy.servers import RedisServer
from schemas.window_report import report_key
from streams.identity import model_version_hash, model_version_name
from streams.monitored_model import HOUR_MS
from streams.ports import NEVER_DUE_MS, Claim, LastReport, ReportStore, Shape, WindowQuery
from tests.support.fleet import NOON_MS
from tests.support.publishing import FakeReports

FRAUD = model_version_hash("fraud", "3")
FRAUD_NAME = model_version_name("fraud", "3")
CHURN = model_version_hash("churn", "1")
FIRST, SECOND = b"first evaluator", b"second evaluator"


@pytest.fixture(params=["fake", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ReportStore]:
    if request.param == "fake":
        yield FakeReports()
        return
    server: RedisServer = request.getfixturevalue("fresh_redis")
    client = redis.asyncio.Redis.from_url(server.unix_url)
    yield RedisReports(client, address=server.address, prefix="test")
    await client.aclose()


def key(name: str, *, kind: str = "quality", size_seconds: int = 300, start_ms: int = NOON_MS) -> bytes:
    """The key of a report about a segment of that name; about all predictions if it is empty."""
    segment = {"name": name} if name else {}
    return report_key(
        kind=kind,
        model="fraud",
        model_version="3",
        segment=segment,
        window_seconds=size_seconds,
        window_start_ms=start_ms,
    )


KEY = key("")


def report(key: bytes = KEY, *, revision: int = 7, due_ms: int = 1_000, value: bytes = b"{}") -> LastReport:
    return LastReport(
        key=key, value=value, revision=revision, published_ms=1_795_442_591_000, watermark_ms=500, due_ms=due_ms
    )


async def claim(store: ReportStore, evaluator: bytes, *, watermark_ms: int = 0) -> Claim:
    return (await store.claim([FRAUD], evaluator=evaluator, watermark_ms=watermark_ms))[0]


async def save(store: ReportStore, evaluator: bytes, *reports: LastReport, watermark_ms: int = 500) -> int:
    return await store.save(FRAUD, FRAUD_NAME, reports, evaluator=evaluator, watermark_ms=watermark_ms)


async def test_report_that_was_saved_is_read_back_as_it_was(store: ReportStore) -> None:
    await claim(store, FIRST)
    assert await save(store, FIRST, report())
    last = await store.last({FRAUD: [KEY, key("never published")], CHURN: [key("other model")]})
    assert {KEY: report()} == last


async def test_nothing_is_known_of_a_model_version_without_reports(store: ReportStore) -> None:
    assert {} == await store.model_versions()
    assert {} == await store.last({})
    assert [] == await store.claim([], evaluator=FIRST, watermark_ms=0)
    assert Claim(undisturbed=False, watermark_ms=0) == await claim(store, FIRST, watermark_ms=10**13)


async def test_model_version_with_reports_is_listed_by_name(store: ReportStore) -> None:
    await claim(store, FIRST)
    await save(store, FIRST, report())
    assert {FRAUD: FRAUD_NAME} == await store.model_versions()


async def test_claim_is_undisturbed_until_another_evaluator_claims(store: ReportStore) -> None:
    answers = [(await claim(store, evaluator)).undisturbed for evaluator in (FIRST, FIRST, SECOND, FIRST)]
    assert [False, True, False, False] == answers


async def test_reports_are_due_at_their_watermark_and_not_a_millisecond_before(store: ReportStore) -> None:
    await claim(store, FIRST)
    await save(store, FIRST, report(key("late"), due_ms=2_000), report(key("early"), due_ms=1_000))
    due = [(await claim(store, FIRST, watermark_ms=watermark_ms)).due for watermark_ms in (999, 1_000, 2_000)]
    assert [(), (key("early"),), (key("early"), key("late"))] == due


async def test_what_is_due_is_counted_without_claiming_it(store: ReportStore) -> None:
    await claim(store, FIRST)
    await save(store, FIRST, report(key("late"), due_ms=2_000), report(key("early"), due_ms=1_000))
    assert [0, 1, 2] == [
        await store.count_due([FRAUD], watermark_ms=watermark_ms) for watermark_ms in (999, 1_000, 2_000)
    ]
    assert await save(store, FIRST, report(key("late"), due_ms=3_000))


async def test_saving_again_moves_the_moment_when_the_report_is_due(store: ReportStore) -> None:
    await claim(store, FIRST)
    await save(store, FIRST, report(due_ms=1_000))
    assert await save(store, FIRST, report(due_ms=5_000))
    assert () == (await claim(store, FIRST, watermark_ms=4_999)).due
    assert {KEY: report(due_ms=5_000)} == await store.last({FRAUD: [KEY]})


async def test_keys_of_all_reports_of_a_model_version_are_known_whenever_they_are_due(store: ReportStore) -> None:
    await claim(store, FIRST)
    await save(store, FIRST, report(key("soon"), due_ms=1), report(key("never again"), due_ms=4_000_000_000_000))
    assert ({key("soon"), key("never again")}, []) == (set(await store.keys(FRAUD)), list(await store.keys(CHURN)))


async def test_saves_of_something_new_are_counted_whoever_claims(store: ReportStore) -> None:
    await claim(store, FIRST)
    revisions = [report(revision=revision) for revision in (7, 7, 9)]
    assert [1, 2, 2, 3] == [await save(store, FIRST), *[await save(store, FIRST, each) for each in revisions]]
    assert 3 == (await claim(store, SECOND)).saves
    assert 0 == await save(store, FIRST)
    assert [3, 4] == [await save(store, SECOND), await save(store, SECOND, report(key("another")))]


async def test_watermark_of_the_reports_never_goes_back(store: ReportStore) -> None:
    await claim(store, FIRST)
    await save(store, FIRST, report(), watermark_ms=900)
    await save(store, FIRST, report(key("another")), watermark_ms=300)
    assert 900 == (await claim(store, FIRST)).watermark_ms


async def test_evaluator_that_lost_its_claim_cannot_save_and_what_it_published_is_contested(
    store: ReportStore,
) -> None:
    await claim(store, FIRST)
    await save(store, FIRST, report(revision=7))
    await claim(store, SECOND)
    stale = report(revision=9, value=b'{"stale":1}')
    assert not await save(store, FIRST, stale, watermark_ms=800)
    assert {KEY: dataclasses.replace(stale, contested=True, due_ms=0)} == await store.last({FRAUD: [KEY]})
    assert Claim(undisturbed=True, watermark_ms=500, due=(KEY,), saves=1) == await claim(store, SECOND)


async def test_revision_below_the_one_a_stale_evaluator_published_is_contested_too(store: ReportStore) -> None:
    await claim(store, SECOND)
    await save(store, FIRST, report(revision=9))
    assert not await save(store, SECOND, report(revision=8))
    last = await store.last({FRAUD: [KEY]})
    assert (9, True, 0) == (last[KEY].revision, last[KEY].contested, last[KEY].due_ms)
    assert await save(store, SECOND, report(revision=10))
    assert {KEY: report(revision=10)} == await store.last({FRAUD: [KEY]})


async def test_save_that_is_repeated_after_a_lost_reply_changes_nothing(store: ReportStore) -> None:
    await claim(store, FIRST)
    assert [True, True] == [await save(store, FIRST, report()) for _ in range(2)]
    assert {KEY: report()} == await store.last({FRAUD: [KEY]})


async def test_save_without_reports_says_whether_the_claim_still_stands(store: ReportStore) -> None:
    await claim(store, FIRST)
    assert await save(store, FIRST)
    await claim(store, SECOND)
    assert not await save(store, FIRST)
    assert {} == await store.model_versions()


async def test_forgotten_reports_are_neither_last_nor_due(store: ReportStore) -> None:
    await claim(store, FIRST)
    await save(store, FIRST, report(key("old")), report(key("young")))
    await store.forget(FRAUD, [key("old")])
    await store.forget(FRAUD, [])
    assert {key("young"): report(key("young"))} == await store.last({FRAUD: [key("old"), key("young")]})
    assert (key("young"),) == (await claim(store, FIRST, watermark_ms=10**13)).due


async def test_more_reports_than_one_script_call_takes_are_all_kept(store: ReportStore) -> None:
    await claim(store, FIRST)
    keys = [key(f"{number}") for number in range(SAVE_REPORTS + 1)]
    assert await save(store, FIRST, *(report(key) for key in keys))
    assert len(keys) == len(await store.last({FRAUD: keys}))


async def test_reports_are_found_by_kind_and_size_and_start_newest_window_first(store: ReportStore) -> None:
    await claim(store, FIRST)
    wanted = [key("", start_ms=NOON_MS + hours * HOUR_MS) for hours in range(4)]
    others = [key("", kind="stability"), key("", size_seconds=3600), key("DE"), key("FR")]
    await save(store, FIRST, *map(report, [*wanted, *others]))
    five_minutes = WindowQuery(model_version=FRAUD, shape=Shape("quality", 300), most=10)
    since, until = NOON_MS + HOUR_MS, NOON_MS + 3 * HOUR_MS
    assert [
        wanted[::-1],
        [wanted[3]],
        [wanted[2], wanted[1]],
        [key("FR"), key("DE")],
        [key("", kind="stability")],
        [],
    ] == await store.find(
        [
            five_minutes,
            dataclasses.replace(five_minutes, most=1),
            dataclasses.replace(five_minutes, since_ms=since, until_ms=until),
            dataclasses.replace(five_minutes, of_segments=True),
            dataclasses.replace(five_minutes, shape=Shape("stability", 300)),
            dataclasses.replace(five_minutes, model_version=CHURN),
        ]
    )
    shapes = [{Shape("quality", 300), Shape("quality", 3600), Shape("stability", 300)}, set()]
    assert shapes == [set(each) for each in await store.shapes([FRAUD, CHURN])]


async def test_forgotten_reports_are_not_found(store: ReportStore) -> None:
    await claim(store, FIRST)
    await save(store, FIRST, report(), report(key("DE")))
    await store.forget(FRAUD, [KEY, key("DE")])
    query = WindowQuery(model_version=FRAUD, shape=Shape("quality", 300), most=10)
    assert [[], []] == await store.find([query, dataclasses.replace(query, of_segments=True)])


async def test_every_save_and_every_forgetting_is_seen_as_a_change(store: ReportStore) -> None:
    seen = [await store.changes()]
    await claim(store, FIRST)
    await save(store, FIRST)
    assert seen == [await store.changes()]
    await save(store, FIRST, report())
    seen.append(await store.changes())
    await store.forget(FRAUD, [KEY])
    seen.append(await store.changes())
    assert 3 == len(set(seen))


async def test_reports_are_kept_without_a_claim_by_the_highest_revision_and_are_never_due(store: ReportStore) -> None:
    of_target = key("pod-1", kind="resources")
    for revision in (7, 9, 8):
        await store.keep(FRAUD, FRAUD_NAME, [report(of_target, revision=revision)])
    assert {of_target: report(of_target, revision=9, due_ms=NEVER_DUE_MS)} == await store.last({FRAUD: [of_target]})
    assert 0 == await store.count_due([FRAUD], watermark_ms=2**60)
    assert () == (await claim(store, FIRST, watermark_ms=2**60)).due
    query = WindowQuery(model_version=FRAUD, shape=Shape("resources", 300), most=9, of_segments=True)
    assert [[of_target]] == await store.find([query])
    assert {FRAUD: FRAUD_NAME} == await store.model_versions()


async def test_reports_that_are_about_no_model_are_found_but_neither_listed_nor_a_change(store: ReportStore) -> None:
    of_worker = key("1", kind="system")
    before = await store.changes()
    await store.keep(bytes(8), None, [report(of_worker)])
    query = WindowQuery(model_version=bytes(8), shape=Shape("system", 300), most=9, of_segments=True)
    assert [[of_worker]] == await store.find([query])
    assert ({}, before) == (await store.model_versions(), await store.changes())


async def test_reference_that_was_kept_first_stands_for_good(store: ReportStore) -> None:
    assert await store.reference(FRAUD, "signals 1 2") is None
    assert b"first" == await store.keep_reference(FRAUD, "signals 1 2", b"first")
    assert b"first" == await store.keep_reference(FRAUD, "signals 1 2", b"second")
    assert b"first" == await store.reference(FRAUD, "signals 1 2")
    assert b"other" == await store.keep_reference(FRAUD, "signals 1 3", b"other")
    assert await store.reference(CHURN, "signals 1 2") is None
