from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence

import pytest

from schemas.window_report import Confusion
from streams.errors import PermanentFailure, TemporaryFailure
from streams.identity import class_hash
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel
from streams.ports import LastReport, OutgoingMessage
from tests.support.evaluation import FRAUD, NOON_MS, EvaluatedWorld
from tests.support.publishing import FakeReports

FIVE_MINUTES_MS = 5 * MINUTE_MS


@pytest.fixture
async def world() -> EvaluatedWorld:
    return await EvaluatedWorld().start()


async def test_window_is_open_then_provisional_then_final_as_the_watermark_passes(world: EvaluatedWorld) -> None:
    evaluator = world.evaluator()
    await world.predict("ok", at_ms=NOON_MS)
    statuses = []
    for watermark_ms in (NOON_MS, NOON_MS + FIVE_MINUTES_MS, NOON_MS + FIVE_MINUTES_MS + FRAUD.label_horizon_ms):
        await world.advance(watermark_ms)
        await evaluator.evaluate()
        statuses.append((world.newest().status, world.newest().never_labelled))
    assert [("open", 0), ("provisional", 0), ("final", 1)] == statuses


async def test_each_declared_slice_that_has_counts_gets_a_report_of_every_size(world: EvaluatedWorld) -> None:
    await world.predict("ok", at_ms=NOON_MS, country="DE")
    await world.predict("fraud", at_ms=NOON_MS, country="FR")
    evaluated = await world.evaluator().evaluate()
    assert 2 * 9 == evaluated.published
    seen = {
        (report.window.size_seconds, report.segment.get("country"), report.predictions) for report in world.reports()
    }
    assert {
        (size, country, n) for size in (300, 3600, 86400) for country, n in ((None, 2), ("DE", 1), ("FR", 1))
    } == seen
    assert seen == {
        (report.window.size_seconds, report.segment.get("country"), report.predictions)
        for report in world.stability_reports()
    }


async def test_slice_that_the_model_does_not_declare_is_not_reported() -> None:
    undeclared = MonitoredModel(name="fraud", report_windows_ms=(FIVE_MINUTES_MS,))
    world = await EvaluatedWorld(models=(undeclared,)).start()
    await world.predict("ok", at_ms=NOON_MS, country="DE", model=undeclared)
    await world.evaluator().evaluate()
    assert [{}] == [report.segment for report in world.reports()]


async def test_label_that_comes_late_revises_the_window_of_its_prediction(world: EvaluatedWorld) -> None:
    evaluator = world.evaluator()
    request_id = await world.predict("ok", at_ms=NOON_MS)
    await evaluator.evaluate()
    await world.label(request_id, "fraud", at_ms=NOON_MS + HOUR_MS)
    world.clock.wall_ms += MINUTE_MS
    await evaluator.evaluate()
    before, after = (report for report in world.reports() if report.window.size_seconds == 300)
    assert (0, 1) == (before.labelled, after.labelled)
    assert Confusion(classes=("fraud", "ok"), counts=((0, 1), (0, 0))) == after.confusion
    assert after.revision > before.revision


async def test_corrected_label_moves_the_cell_in_every_size_of_window(world: EvaluatedWorld) -> None:
    evaluator = world.evaluator()
    request_id = await world.predict("ok", at_ms=NOON_MS)
    await world.label(request_id, "fraud", at_ms=NOON_MS + 1)
    await evaluator.evaluate()
    await world.label(request_id, "ok", at_ms=NOON_MS + 2)
    world.clock.wall_ms += MINUTE_MS
    await evaluator.evaluate()
    newest = [world.newest(size_ms=size_ms) for size_ms in FRAUD.report_windows_ms]
    assert [1.0] * 3 == [report.metrics["accuracy"].value for report in newest]


async def test_failed_predictions_are_counted_apart(world: EvaluatedWorld) -> None:
    await world.predict("", at_ms=NOON_MS, failed=True)
    await world.predict("ok", at_ms=NOON_MS)
    await world.evaluator().evaluate()
    assert (1, 1) == (world.newest().predictions, world.newest().failed)


async def test_prediction_of_a_class_beyond_the_limit_is_reported_as_other(world: EvaluatedWorld) -> None:
    for shard in world.ledger.parts:
        shard.name_lists = {}
    request_id = await world.predict("ok", at_ms=NOON_MS)
    for shard in world.ledger.parts:
        for group, names in shard.name_lists.items():
            shard.name_lists[group] = type(names)((class_hash("ok"),), full=True)
    await world.label(request_id, "ok", at_ms=NOON_MS)
    other = await world.predict("rare", at_ms=NOON_MS)
    await world.label(other, "rarer", at_ms=NOON_MS)
    await world.evaluator().evaluate()
    confusion = world.newest().confusion
    assert confusion is not None
    assert ("__other__", "__other_wrong__", "ok") == confusion.classes


async def test_nothing_is_published_when_nothing_changed(world: EvaluatedWorld) -> None:
    evaluator = world.evaluator()
    await world.predict("ok", at_ms=NOON_MS)
    first, second = await evaluator.evaluate(), await evaluator.evaluate(everything=True)
    assert (2 * 3, 0) == (first.published, second.published)


async def test_unchanged_content_is_not_published_again_though_its_window_is_marked(world: EvaluatedWorld) -> None:
    await world.predict("ok", at_ms=NOON_MS)
    marks = [dict(shard.changes) for shard in world.ledger.parts]
    await world.evaluator().evaluate()
    for shard, changes in zip(world.ledger.parts, marks, strict=True):
        shard.changes = changes
    evaluated = await world.evaluator().evaluate(everything=True)
    assert (0, 0) == (evaluated.published, evaluated.pending)
    assert [{}, {}] == [shard.changes for shard in world.ledger.parts]


async def test_crash_between_publication_and_saving_repeats_the_same_event_id(world: EvaluatedWorld) -> None:
    await world.predict("ok", at_ms=NOON_MS)
    world.store.failure = TemporaryFailure("Redis is away")
    evaluated = await world.evaluator().evaluate()
    assert evaluated.pending > 0
    world.clock.wall_ms += 1
    await world.evaluator().evaluate()
    first, second = (report for report in world.reports() if report.window.size_seconds == 300)
    assert first.event_id == second.event_id
    assert first.revision < second.revision


async def test_changes_between_publication_and_clearing_stay_marked(world: EvaluatedWorld) -> None:
    request_id = await world.predict("ok", at_ms=NOON_MS)

    class LabelledWhileSaving(FakeReports):
        async def save(
            self, model_version: bytes, name: str, reports: Sequence[LastReport], *, evaluator: bytes, watermark_ms: int
        ) -> int:
            kept = await super().save(model_version, name, reports, evaluator=evaluator, watermark_ms=watermark_ms)
            await world.label(request_id, "ok", at_ms=NOON_MS)
            return kept

    evaluator = world.evaluator(store=LabelledWhileSaving())
    await evaluator.evaluate()
    world.clock.wall_ms += MINUTE_MS
    await evaluator.evaluate()
    assert [1, 1, 1] == [world.newest(size_ms=size_ms).labelled for size_ms in FRAUD.report_windows_ms]


async def test_revision_waits_for_its_interval_and_its_mark_stays(world: EvaluatedWorld) -> None:
    evaluator = world.evaluator()
    await world.predict("ok", at_ms=NOON_MS)
    await evaluator.evaluate()
    await world.predict("ok", at_ms=NOON_MS)
    world.clock.wall_ms += 9_999
    assert (0, 3) == ((early := await evaluator.evaluate()).published, early.pending)
    world.clock.wall_ms += 1
    assert (2 * 3, 0) == ((later := await evaluator.evaluate()).published, later.pending)


async def test_revisions_are_spaced_from_round_to_round_however_late_in_them_they_are_published(
    world: EvaluatedWorld,
) -> None:
    class SlowAtFirst(FakeReports):
        late_ms = 300

        async def last(self, wanted: Mapping[bytes, Sequence[bytes]]) -> Mapping[bytes, LastReport]:
            world.clock.wall_ms += self.late_ms
            return await super().last(wanted)

    store = SlowAtFirst()
    evaluator = world.evaluator(store=store)
    await world.predict("ok", at_ms=NOON_MS)
    began_ms = world.clock.wall_ms
    await evaluator.evaluate()
    store.late_ms = 0
    world.clock.wall_ms = began_ms + 10_000
    await world.predict("ok", at_ms=NOON_MS)
    assert 0 == (await evaluator.evaluate()).pending


async def test_labels_that_come_all_the_time_for_a_week_revise_a_window_when_its_age_has_grown_by_a_hundredth() -> None:
    slow = dataclasses.replace(FRAUD, report_windows_ms=(FIVE_MINUTES_MS,), label_horizon_ms=7 * DAY_MS, segments=())
    world = await EvaluatedWorld(models=(slow,), shards=1).start()
    evaluator = world.evaluator()
    step_ms = 10 * MINUTE_MS
    waiting = [await world.predict("ok", at_ms=NOON_MS, model=slow) for _ in range(1, 7 * DAY_MS // step_ms)]
    await evaluator.evaluate()
    expected, published_ms = ["open"], NOON_MS
    for now_ms, request_id in enumerate(waiting, start=1):
        now_ms = NOON_MS + step_ms * now_ms
        await world.label(request_id, "ok", at_ms=now_ms)
        await world.advance(now_ms)
        world.clock.wall_ms = now_ms
        await evaluator.evaluate()
        if now_ms - published_ms >= (now_ms - NOON_MS - FIVE_MINUTES_MS) // 100:
            expected.append("provisional")
            published_ms = now_ms
    await world.advance(NOON_MS + FIVE_MINUTES_MS + 7 * DAY_MS)
    await evaluator.evaluate()
    expected.append("final")
    # Each of 1,007 labels would be one; ln(10) / ln(1.01) + 100 is the least that a hundredth of the age allows for.
    assert len(expected) < 335
    assert expected == [report.status for report in world.reports()]
    assert len(waiting) == world.newest().labelled


async def test_everything_ignores_the_interval(world: EvaluatedWorld) -> None:
    evaluator = world.evaluator()
    await world.predict("ok", at_ms=NOON_MS)
    await evaluator.evaluate()
    await world.predict("ok", at_ms=NOON_MS)
    assert 2 * 3 == (await evaluator.evaluate(everything=True)).published


async def test_only_owned_models_are_published_and_the_others_stay_marked() -> None:
    churn = MonitoredModel(name="churn", report_windows_ms=(FIVE_MINUTES_MS,))
    world = await EvaluatedWorld(models=(FRAUD, churn)).start()
    await world.predict("ok", at_ms=NOON_MS)
    await world.predict("ok", at_ms=NOON_MS, model=churn)
    await world.evaluator(owns=lambda name: name == "churn").evaluate()
    assert ["churn"] == [report.model for report in world.reports()]
    await world.evaluator(owns=lambda name: name == "fraud").evaluate()
    assert ["churn", "fraud", "fraud", "fraud"] == [report.model for report in world.reports()]


async def test_final_report_that_another_worker_owes_is_pending_although_nothing_changed(world: EvaluatedWorld) -> None:
    owner, other = world.evaluator(), world.evaluator(owns=lambda _: False)
    await world.predict("ok", at_ms=NOON_MS)
    await owner.evaluate()
    await world.advance(NOON_MS + FIVE_MINUTES_MS + FRAUD.label_horizon_ms)
    assert 0 < (await other.evaluate(everything=True)).pending
    await owner.evaluate()
    assert 0 == (await other.evaluate(everything=True)).pending


async def test_another_worker_takes_over_without_publishing_twice_and_with_all_counts(world: EvaluatedWorld) -> None:
    first, second = world.evaluator(), world.evaluator()
    for evaluator in (first, second, first, second):
        await world.predict("ok", at_ms=NOON_MS)
        world.clock.wall_ms += MINUTE_MS
        await evaluator.evaluate()
    assert 12 == len(world.reports())
    assert [4, 4, 4] == [world.newest(size_ms=size_ms).predictions for size_ms in FRAUD.report_windows_ms]


async def test_worker_that_gets_a_model_back_counts_what_the_other_one_published(world: EvaluatedWorld) -> None:
    first, second = world.evaluator(), world.evaluator()
    for evaluator, at_ms in ((first, NOON_MS), (second, NOON_MS), (first, NOON_MS + FIVE_MINUTES_MS)):
        await world.predict("ok", at_ms=at_ms)
        await evaluator.evaluate(everything=True)
    assert [2, 3, 3] == [world.newest(size_ms=size_ms).predictions for size_ms in FRAUD.report_windows_ms]


@pytest.mark.parametrize("behind_ms", [0, HOUR_MS], ids=["same millisecond", "clock behind"])
async def test_stale_report_of_a_worker_that_lost_the_model_is_outranked_by_the_right_one(
    world: EvaluatedWorld, behind_ms: int
) -> None:
    successor = world.evaluator()

    class Frozen:
        """Freezes with counts in hand; meanwhile a label comes, and the successor publishes it."""

        async def send(self, messages: Sequence[OutgoingMessage]) -> None:
            await world.label(request_id, "ok", at_ms=NOON_MS)
            world.clock.wall_ms -= behind_ms  # So the stale revision is not lower.
            await successor.evaluate()
            world.clock.wall_ms += behind_ms
            await world.publisher.send(messages)

    request_id = await world.predict("ok", at_ms=NOON_MS)
    disputed = await world.evaluator(publisher=Frozen()).evaluate()
    assert 0 == world.newest().labelled
    assert disputed.pending > 0
    await successor.evaluate()
    assert [1, 1, 1] == [world.newest(size_ms=size_ms).labelled for size_ms in FRAUD.report_windows_ms]


async def test_model_is_not_evaluated_while_a_shard_is_behind_its_last_report(
    world: EvaluatedWorld, caplog: pytest.LogCaptureFixture
) -> None:
    evaluator = world.evaluator()
    await world.predict("ok", at_ms=NOON_MS)
    backup = copy.deepcopy(world.ledger.parts)
    await world.advance(NOON_MS + HOUR_MS)
    await evaluator.evaluate()
    world.ledger.parts[:] = backup
    published = len(world.reports())
    behind = [await evaluator.evaluate(everything=True) for _ in range(2)]
    assert [(0, 1), (0, 1)] == [(evaluated.published, evaluated.pending) for evaluated in behind]
    assert 1 == caplog.text.count("behind the last one")
    await world.advance(NOON_MS + HOUR_MS)
    assert 0 == (await evaluator.evaluate(everything=True)).pending
    assert published == len(world.reports())


async def test_reports_that_the_store_has_lost_are_kept_again_although_their_window_was_just_published(
    world: EvaluatedWorld,
) -> None:
    evaluator = world.evaluator()
    request_id = await world.predict("ok", at_ms=NOON_MS)
    before = copy.deepcopy(vars(world.store))
    await evaluator.evaluate()
    kept = dict(world.store.reports)
    # It goes back to the moment after the claim: so quickly that nobody has missed it.
    vars(world.store).update(before, evaluators=world.store.evaluators)
    await world.label(request_id, "ok", at_ms=NOON_MS)
    await evaluator.evaluate()
    assert kept.keys() == world.store.reports.keys()
    assert [1, 1, 1] == [world.newest(size_ms=size_ms).labelled for size_ms in FRAUD.report_windows_ms]


async def test_broker_that_is_away_is_logged_once_and_the_change_is_published_later(
    world: EvaluatedWorld, caplog: pytest.LogCaptureFixture
) -> None:
    evaluator = world.evaluator()
    await world.predict("ok", at_ms=NOON_MS)
    for _ in range(3):
        world.publisher.failure = TemporaryFailure("no broker answers")
        assert (0, 3) == ((waiting := await evaluator.evaluate()).published, waiting.pending)
    assert 1 == caplog.text.count("no broker answers")
    world.publisher.sent.clear()
    assert 2 * 3 == (await evaluator.evaluate()).published


async def test_report_that_the_topic_refuses_for_good_is_an_error(world: EvaluatedWorld) -> None:
    await world.predict("ok", at_ms=NOON_MS)
    world.publisher.failure = PermanentFailure("not authorised")
    with pytest.raises(PermanentFailure, match="not authorised"):
        await world.evaluator().evaluate()


async def test_last_report_is_forgotten_with_its_window_and_not_before() -> None:
    world = await EvaluatedWorld(keep_windows_ms=DAY_MS).start()
    evaluator = world.evaluator()
    await world.predict("ok", at_ms=NOON_MS)
    kept_until_ms = NOON_MS + FIVE_MINUTES_MS + FRAUD.label_horizon_ms + DAY_MS
    sizes = []
    for watermark_ms in (NOON_MS, kept_until_ms, kept_until_ms + 1):
        await world.advance(watermark_ms)
        await evaluator.evaluate()
        sizes.append(sorted({key.split(b",")[-2] for by_key in world.store.reports.values() for key in by_key}))
    assert [[b"300", b"3600", b"86400"], [b"300", b"3600", b"86400"], [b"3600", b"86400"]] == sizes


@pytest.mark.parametrize("was_published_before", [False, True])
async def test_final_report_is_published_also_when_the_watermark_leaps_past_what_is_kept(
    *, was_published_before: bool
) -> None:
    world = await EvaluatedWorld(keep_windows_ms=DAY_MS).start()
    evaluator = world.evaluator()
    request_id = await world.predict("ok", at_ms=NOON_MS)
    if was_published_before:
        await evaluator.evaluate()
    await world.label(request_id, "ok", at_ms=NOON_MS)
    await world.advance(NOON_MS + 9 * DAY_MS)
    await evaluator.evaluate()
    newest = [world.newest(size_ms=size_ms) for size_ms in FRAUD.report_windows_ms]
    assert [("final", 1)] * 3 == [(report.status, report.labelled) for report in newest]
    published = len(world.publisher.sent)
    await world.advance(NOON_MS + 9 * DAY_MS + 1)
    await evaluator.evaluate()
    assert published == len(world.publisher.sent)
    assert not any(world.store.reports.values())
    assert not any(shard.cells for shard in world.ledger.parts)


async def test_nothing_happens_before_every_shard_belongs_to_the_ledger() -> None:
    world = EvaluatedWorld()
    evaluated = await world.evaluator().evaluate()
    assert (0, 0) == (evaluated.published, evaluated.pending)


async def test_message_carries_key_topic_and_cloud_event_headers(world: EvaluatedWorld) -> None:
    await world.predict("ok", at_ms=NOON_MS)
    await world.evaluator().evaluate()
    message, report = world.publisher.sent[0], world.reports()[0]
    assert ("model-metrics", b'["quality","fraud","3",{},300,"2026-11-23T12:00:00Z"]') == (message.topic, message.key)
    assert dict(message.headers)["ce_id"] == report.event_id.encode()
    assert b"io.latelabel.report.v1" == dict(message.headers)["ce_type"]
