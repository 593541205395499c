"""The wiring of a worker, on one screen: the only place where adapters meet what they are plugged into."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from agents.agreed_models import AgreedModels
from agents.alert_evaluator import AlertEvaluator
from agents.alert_rule_files import load_rules, patterns_of_no_file, rules_about_no_model
from agents.app_attributions import build_attribution_reading
from agents.app_beside import Beside
from agents.app_explaining import build_asking, build_sampler
from agents.app_resources import build_resource_watch
from agents.app_system import build_system_watch
from agents.app_web import page_url, serve_page
from agents.clock import SystemClock
from agents.conservation_watch import ConservationWatch
from agents.dead_letter_gate import GatePorts
from agents.evaluator import Evaluator
from agents.explain_sampler import ExplainSampler
from agents.faust_app import FaustApp, build_faust_app
from agents.housekeeping import Housekeeping
from agents.intake import Intake
from agents.joint_packing import JointPacker
from agents.kafka_connection import connection_options
from agents.kafka_log import KafkaLog
from agents.ledger_start import open_ledger
from agents.loop_watch import LoopWatch
from agents.model_agreements import settle_agreements
from agents.model_table import ModelTable
from agents.name_registry import NameLimits, NameRegistry
from agents.outages import Outages
from agents.packing import Packer, PackingSettings
from agents.partition_intake import IntakePorts
from agents.publisher import KafkaPublisher
from agents.read_ahead import ReadAheadWatch
from agents.record_batch import RecordBatch
from agents.redis_alerts import RedisAlerts
from agents.redis_attributions import RedisAttributions
from agents.redis_connection import RedisClient, connect, redis_failures
from agents.redis_facts import RedisFacts, redis_facts
from agents.redis_ledger import RedisLedger
from agents.redis_reports import RedisReports
from agents.redis_resources import RedisResources
from agents.redis_stops import RedisStops
from agents.redis_workers import RedisWorkers
from agents.reloading import Reloading
from agents.settings import Settings, config_hash
from agents.shard_writer import ShardWriter
from agents.store_memory import StoreMemory
from agents.waiting_to_start import wait_for
from agents.worker import CLIENT_ID, CLOSING_CLIENT_ID, Worker
from streams.alerting.publication import AlertSettings
from streams.alerting.rules import AlertRule
from streams.dead_letter_limits import DeadLetterLimits
from streams.ledger.agreements import Agreements
from streams.ledger.founding import Charter
from streams.ledger.idleness import Idleness
from streams.ledger.parts import Role, Source
from streams.monitored_model import Task
from streams.ports import AlertStore, Clock, Ledger, Publisher, ReportStore, StopStore
from streams.publication import EvaluationSettings
from streams.watchdog import Watchdog

__all__ = ["run_worker"]

_log = logging.getLogger(__name__)


async def run_worker(reloading: Reloading, *, until_caught_up: bool = False, close: bool = False) -> None:
    """Run a worker until it is cancelled, or has caught up.

    Args:
        reloading: the settings, and the way to newer ones.
        until_caught_up: stop at the offsets at which the logs end now, once everything is published.
        close: then also raise every watermark past the last horizon.

    Raises:
        TemporaryFailure: Kafka or Redis did not answer within `startup_timeout`.
        PermanentFailure: something that an operator has to decide or to correct.
    """
    clock, settings = SystemClock(), reloading.settings
    topics = {role: settings.kafka.topic(role) for role in Role}
    connection = connection_options(settings.kafka)
    log = KafkaLog(connection, group=settings.kafka.group, topics=topics)
    publisher = KafkaPublisher(connection)
    redis = connect(settings.redis.url)
    place = {"address": settings.redis.address, "prefix": settings.redis.prefix}
    ledger = RedisLedger.from_settings(settings, redis)
    reports = RedisReports(redis, **place)
    worker: Worker | None = None

    def agreed() -> Agreements:
        return Agreements() if worker is None else worker.house.agreed.now

    sampler = build_sampler(settings, topics, clock)
    asking = build_asking(settings, sampler, redis, clock, agreed=agreed, share=lambda: _share(worker, log))
    beside = Beside(
        build_resource_watch(reloading, clock, publisher, RedisResources(redis, **place), reports),
        build_attribution_reading(
            reloading, clock, publisher, RedisAttributions(redis, **place), reports, agreed=agreed
        ),
        asking,
    )

    async with contextlib.AsyncExitStack() as stack:
        port = settings.web.port
        if not until_caught_up:
            port = await stack.enter_async_context(serve_page(reloading, worker=lambda: worker, beside=beside))
        stack.push_async_callback(redis.aclose)
        stack.push_async_callback(log.stop)
        stack.push_async_callback(publisher.stop)
        charter = await _wait_for_services(settings, clock, log, publisher, ledger)
        worker = _connect(
            reloading,
            charter,
            clock,
            log,
            publisher,
            ledger,
            reports,
            RedisAlerts(redis, **place),
            RedisStops(redis, **place),
            None if until_caught_up else sampler,
            is_catching_up=until_caught_up,
            is_closing=close,
            page=page_url(settings.web, port),
        )
        worker.house.memory = StoreMemory(functools.partial(_redis_facts, redis, settings.redis.address), clock)
        ends = None
        if until_caught_up:
            ends = {source: bounds.end for source, bounds in (await log.all_bounds()).items()}
        else:
            numbers = RedisWorkers(redis, **place, clock=clock)
            system = build_system_watch(settings, clock, publisher, numbers, reports, worker, port=port)
            await stack.enter_async_context(system.running())
            for running in beside.running():
                await stack.enter_async_context(running)
        _log.info("Reading %d partitions into %d shards", len(log.sources), ledger.shards)
        await worker.run(ends=ends, close=close)


async def _wait_for_services(
    settings: Settings, clock: Clock, log: KafkaLog, publisher: KafkaPublisher, ledger: Ledger
) -> Charter:
    until_seconds = clock.monotonic_seconds() + settings.startup_timeout_ms / 1000
    for start in (log.start, publisher.start, functools.partial(open_ledger, ledger, log)):
        await wait_for(start, clock=clock, until_seconds=until_seconds)
    settle = functools.partial(_settle, ledger, clock, settings, may_change=True)
    return await wait_for(settle, clock=clock, until_seconds=until_seconds)


def _settle(ledger: Ledger, clock: Clock, settings: Settings, *, may_change: bool) -> Awaitable[Charter]:
    return settle_agreements(
        ledger,
        {model.name: model for model in settings.models},
        read_ahead_ms=settings.max_read_ahead_ms,
        now_ms=clock.now_ms,
        may_change=may_change,
    )


def _share(worker: Worker | None, log: KafkaLog) -> float:
    """Of all partitions of predictions, how many this worker has."""
    owned = 0 if worker is None else sum(source.role is Role.PREDICTIONS for source in worker.intake.partitions)
    return owned / max(log.partitions(Role.PREDICTIONS), 1)


async def _redis_facts(redis: RedisClient, address: str) -> Sequence[RedisFacts]:
    async with redis_failures(address):
        return await redis_facts(redis)


def _rules(settings: Settings) -> Sequence[AlertRule]:
    rules = load_rules(settings)
    for note in (*patterns_of_no_file(settings), *rules_about_no_model(rules, settings)):
        _log.warning("%s", note)
    return rules


def _alerting(settings: Settings, page: str) -> AlertSettings:
    return AlertSettings(
        topic=settings.kafka.topic("alerts"),
        source=f"/latelabel/{settings.kafka.group}",
        address=page,
        interval_ms=settings.evaluation_interval_ms,
    )


def _evaluation(settings: Settings, charter: Charter) -> EvaluationSettings:
    return EvaluationSettings(
        models={model.name: model for model in settings.models},
        interval_ms=settings.evaluation_interval_ms,
        lateness_ms=settings.allowed_lateness_ms,
        keep_windows_ms=settings.keep_windows_ms,
        confidence_level=settings.confidence_level,
        config_hash=config_hash(settings),
        topic=settings.kafka.topic("metrics"),
        source=f"/latelabel/{settings.kafka.group}",
        scored_from_ms={name: each.scored_from_ms for name, each in (charter.agreements or {}).items()},
    )


def _connect(
    reloading: Reloading,
    charter: Charter,
    clock: Clock,
    log: KafkaLog,
    publisher: Publisher,
    ledger: Ledger,
    reports: ReportStore,
    alerts: AlertStore,
    stops: StopStore,
    sampler: ExplainSampler | None,
    *,
    is_catching_up: bool,
    is_closing: bool,
    page: str,
) -> Worker:
    settings = reloading.settings
    outages = Outages(clock)
    models = ModelTable(settings)
    agreed = AgreedModels(ledger, clock, charter)
    registry = NameRegistry(ledger, outages, limits=NameLimits(**dataclasses.asdict(settings.limits)))
    writers = [ShardWriter(shard, ledger, registry, outages) for shard in range(ledger.shards)]
    packing = PackingSettings(
        shards=ledger.shards,
        lateness_ms=settings.allowed_lateness_ms,
        max_future_skew_ms=settings.max_future_skew_ms,
        dead_letters=settings.kafka.topic("dead_letters"),
        predicts_numbers=any(model.task is Task.REGRESSION for model in settings.models),
        takes_lists=settings.takes_lists,
        model=models,
        agreed=lambda: agreed.now,
    )

    read_ahead = ReadAheadWatch(
        ledger,
        outages,
        clock,
        lateness_ms=settings.allowed_lateness_ms,
        max_ahead_ms=settings.max_read_ahead_ms,
    )

    async def seek(source: Source, offset: int) -> None:
        with contextlib.suppress(IllegalStateError):  # it has been taken away meanwhile
            await app.consumer.seek_wait({log.position_of(source): offset})

    intake = Intake(
        IntakePorts(
            ledger=ledger,
            writers=writers,
            packer=JointPacker(Packer(registry, packing, sampler)),
            publisher=publisher,
            gate=GatePorts(
                limits=DeadLetterLimits(
                    max_invalid_ratio=settings.dead_letters.max_invalid_ratio,
                    max_consecutive=settings.dead_letters.max_consecutive,
                ),
                store=stops,
                outages=outages,
                clock=clock,
            ),
            read_ahead=read_ahead,
            outages=outages,
            clock=clock,
            bounds=log.bounds,
            seek=seek,
            agreed=agreed,
        ),
        prediction_partitions=log.partitions(Role.PREDICTIONS),
    )

    async def start_offsets(assigned: frozenset[TopicPartition]) -> Mapping[TopicPartition, int]:
        sources = {log.source_of(at.topic, at.partition): at for at in assigned}
        offsets = await outages.ride_out(lambda: intake.assign(sources.keys()))
        return {sources[source]: offset for source, offset in offsets.items()}

    async def take_in(batch: RecordBatch, acknowledge: Callable[[], None]) -> None:
        await intake.put(log.source_of(batch.topic, batch.partition), batch, acknowledge)

    def paused() -> frozenset[TopicPartition]:
        return frozenset(map(log.position_of, intake.paused()))

    def out_of_range(lost: Collection[TopicPartition]) -> None:
        for at in lost:
            if partition := intake.partitions.get(log.source_of(at.topic, at.partition)):
                partition.check()

    app: FaustApp = build_faust_app(
        group=settings.kafka.group,
        client_id=CLOSING_CLIENT_ID if is_closing else CLIENT_ID,
        connection=connection_options(settings.kafka),
        topics=list(log.topics.values()),
        start_offsets=start_offsets,
        paused=paused,
        out_of_range=out_of_range,
        give_up=intake.give_up,
        take_in=take_in,
    )
    evaluator = Evaluator(ledger, reports, publisher, _evaluation(settings, charter), clock, intake.owns_model)

    def owns_alerts(model: str) -> bool:
        # The watchdog's absence means that the monitor is dead: who ends when it has caught up must not begin it.
        return intake.owns_model(model) and (model != "" or not is_catching_up)

    alert_evaluator = AlertEvaluator(
        alerts,
        reports,
        publisher,
        _rules(settings),
        _alerting(settings, page),
        _evaluation(settings, charter),
        clock,
        owns_alerts,
        lambda: outages.is_on,
    )

    async def evaluate_by(newer: Settings) -> Callable[[], None]:
        rules = _rules(newer)
        settled = await outages.ride_out(lambda: _settle(ledger, clock, newer, may_change=False))

        def adopt() -> None:
            models.use(newer)
            evaluator.use(_evaluation(newer, settled))
            alert_evaluator.use(rules, _alerting(newer, page), _evaluation(newer, settled))
            worker.evaluation_interval_ms = newer.evaluation_interval_ms
            logging.getLogger().setLevel(newer.log.level_number)

        return adopt

    worker = Worker(
        app=app,
        intake=intake,
        house=Housekeeping(
            intake=intake,
            ledger=ledger,
            agreed=agreed,
            writers=writers,
            bounds=log.all_bounds,
            clock=clock,
            read_ahead=read_ahead,
            idleness=Idleness(0.0 if is_catching_up else settings.idle_after_ms / 1000),
            conservation=ConservationWatch(ledger),
        ),
        ledger=ledger,
        evaluator=evaluator,
        alerts=alert_evaluator,
        stops=stops,
        members=log.members,
        outages=outages,
        clock=clock,
        evaluation_interval_ms=settings.evaluation_interval_ms,
        beyond_ms=settings.largest_horizon_ms,
        watchdog=Watchdog(),
        loop_watch=LoopWatch(),
    )
    # In this order: what can refuse the settings first.
    reloading.begin([evaluate_by])
    return worker
