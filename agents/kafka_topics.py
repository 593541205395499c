"""Our topics as they should be, as they are, and what it means where the two differ.

What exists is never changed: partitions cannot be taken back, and a setting may be somebody's decision. What would
lose records is unsafe; everything else is only told.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from agents.durations import duration_text
from agents.kafka_connection import connection_options, kafka_failures
from agents.kafka_greeting import greet
from agents.kafka_release import AskFeatures, release_of
from agents.settings import KafkaSettings, Settings
from schemas.topics import TOPICS
from streams.errors import PermanentFailure, TemporaryFailure
from streams.monitored_model import DAY_MS

__all__ = ["Difference", "ExistingTopic", "KafkaTopics", "WantedTopic", "alteration", "differences", "wanted_topics"]

USUAL_RETENTION_MS = 7 * DAY_MS
"""Kafka's own default; nothing of ours is kept for less."""
VISIBLE_SECONDS = 15.0
LOOK_SECONDS = 0.1

_COMPARED = ("cleanup.policy", "max.message.bytes", "retention.ms", "retention.bytes")
_UNLIMITED = -1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WantedTopic:
    """A topic as `topics create` makes it. `least_retention_ms` is what an existing one must have."""

    role: str
    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]
    least_retention_ms: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExistingTopic:
    """A topic as the brokers describe it; `config` has the settings that are compared."""

    partitions: int
    replication_factor: int
    config: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """How a topic differs; `remedy` is the setting that it needs if records would be lost or refused, else empty."""

    text: str
    remedy: str = ""

    @property
    def is_unsafe(self) -> bool:
        """Whether records would be lost or refused."""
        return bool(self.remedy)


def wanted_topics(settings: Settings, *, horizon_ms: int = 0) -> list[WantedTopic]:
    """All topics, in the order of the contract.

    Args:
        horizon_ms: the longest by which a ledger counts, if that is longer than what is configured.
    """
    least_ms = max(settings.largest_horizon_ms, horizon_ms) + DAY_MS
    wanted = []
    for role, topic in TOPICS.items():
        config = topic.config
        if topic.is_input:
            config["retention.ms"] = str(max(USUAL_RETENTION_MS, least_ms))
        elif role == "metrics":
            # As long as the counts behind them.
            config["retention.ms"] = str(max(USUAL_RETENTION_MS, settings.keep_windows_ms))
        wanted.append(
            WantedTopic(
                role=role,
                name=settings.kafka.topic(role),
                partitions=settings.kafka.partitions,
                replication_factor=settings.kafka.replication_factor,
                config=config,
                least_retention_ms=least_ms if topic.is_input else None,
            )
        )
    return wanted


def differences(wanted: WantedTopic, existing: ExistingTopic) -> Iterator[Difference]:
    """What to tell about a topic that was there already; nothing if it is as it should be."""
    if existing.partitions != wanted.partitions:
        yield Difference(f"{existing.partitions} partitions, kafka.partitions is {wanted.partitions}")
    if existing.replication_factor != wanted.replication_factor:
        yield Difference(
            f"replication factor {existing.replication_factor}, kafka.replication_factor is {wanted.replication_factor}"
        )
    yield from _policy_differences(wanted, existing)
    yield from _size_differences(wanted, existing)
    if wanted.least_retention_ms is not None:
        yield from _retention_differences(wanted.least_retention_ms, existing)


def alteration(topic: str, found: Iterable[Difference], *, server: str) -> str:
    """The command line that makes a topic safe.

    Args:
        topic: its name.
        found: how it differs, unsafe in at least one way.
        server: a broker.
    """
    settings = ",".join(difference.remedy for difference in found if difference.is_unsafe)
    return f"kafka-configs.sh --bootstrap-server {server} --alter --topic {topic} --add-config {settings}"


def _policy_differences(wanted: WantedTopic, existing: ExistingTopic) -> Iterator[Difference]:
    policies = _policies(existing.config["cleanup.policy"])
    wanted_text = wanted.config["cleanup.policy"]
    if policies == _policies(wanted_text):
        return
    text = f"cleanup.policy {existing.config['cleanup.policy']}, wanted {wanted_text}"
    if wanted.role == "dead_letters" and "compact" in policies:
        yield Difference(f"{text}: letters without key would be refused", remedy="cleanup.policy=delete")
    elif "compact" in _policies(wanted_text) and "compact" not in policies:
        yield Difference(f"{text}: the last record of a key leaves with retention")
    else:
        yield Difference(text)


def _size_differences(wanted: WantedTopic, existing: ExistingTopic) -> Iterator[Difference]:
    if "max.message.bytes" in wanted.config:
        size, least = int(existing.config["max.message.bytes"]), int(wanted.config["max.message.bytes"])
        if size < least:
            yield Difference(
                f"max.message.bytes {size}: large records would be refused", remedy=f"max.message.bytes={least}"
            )


def _retention_differences(least_ms: int, existing: ExistingTopic) -> Iterator[Difference]:
    if "delete" not in _policies(existing.config["cleanup.policy"]):
        return
    retention_ms = int(existing.config["retention.ms"])
    if retention_ms != _UNLIMITED and retention_ms < least_ms:
        yield Difference(
            f"retention.ms {retention_ms} ({duration_text(retention_ms)}), shorter than the longest label horizon plus"
            " a day: a lost ledger could not be rebuilt",
            remedy=f"retention.ms={least_ms}",
        )
    if int(existing.config["retention.bytes"]) != _UNLIMITED:
        yield Difference(f"retention.bytes {existing.config['retention.bytes']} may end retention sooner")


def _policies(text: str) -> set[str]:
    return {policy.strip() for policy in text.split(",")}


class KafkaTopics:
    """Looks at topics and creates them. Every call raises `TemporaryFailure` if no broker answers."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._address = kafka.address
        self._connection = connection_options(kafka)
        self._admin = AIOKafkaAdminClient(**self._connection)

    async def __aenter__(self) -> KafkaTopics:
        try:
            await greet(self._connection)
            async with kafka_failures(self._address):
                await self._admin.start()
        except BaseException:
            await self._admin.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()

    async def existing(self, *names: str) -> dict[str, ExistingTopic]:
        """Those of the topics that exist, by name."""
        async with kafka_failures(self._address):
            described = await self._partitions()
            found = [name for name in names if name in described]
            configs = await self._configs(found) if found else {}
        return {
            name: ExistingTopic(
                partitions=len(described[name]),
                replication_factor=max((len(partition["replicas"]) for partition in described[name]), default=0),
                config=configs[name],
            )
            for name in found
        }

    async def has(self, name: str) -> bool:
        """Whether there is a topic of that name, as far as we may see."""
        async with kafka_failures(self._address):
            return name in await self._partitions()

    async def partitions(self, name: str) -> int:
        """How many partitions a topic has.

        Raises:
            PermanentFailure: there is no such topic.
        """
        async with kafka_failures(self._address):
            described = await self._partitions()
        if name not in described:
            raise PermanentFailure(
                f"Kafka at {self._address} has no topic {name} that this user may read; `latelabel topics create` makes"
                " what is missing, an ACL for Read shows what is there"
            )
        return len(described[name])

    async def _partitions(self) -> dict[str, list[dict[str, Any]]]:
        # All topics: asking for one by name may create it.
        return {topic["topic"]: topic["partitions"] for topic in await self._admin.describe_topics()}

    async def _configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        wanted = dict.fromkeys(_COMPARED)
        resources = [ConfigResource(ConfigResourceType.TOPIC, name, configs=wanted) for name in names]
        configs: dict[str, dict[str, str]] = {}
        for response in await self._admin.describe_configs(resources):
            for error_code, _, _, name, entries in response.resources:
                if error_code:
                    raise for_code(error_code)(f"while looking at the settings of {name}")
                configs[name] = {entry[0]: entry[1] for entry in entries}
        return configs

    async def releases(self) -> list[str | None]:
        """Of each broker, as far as it tells, as "4.3"."""
        client = self._admin._client  # noqa: SLF001  (a request that the library does not have)
        found = []
        async with kafka_failures(self._address):
            for broker in client.cluster.brokers():
                try:
                    found.append(release_of(await client.send(broker.nodeId, AskFeatures())))
                except NotImplementedError:
                    found.append(None)
        return found

    async def create(self, topic: WantedTopic) -> bool:
        """Create a topic; False if somebody else was faster.

        Raises:
            PermanentFailure: the brokers refuse it; the message says why.
        """
        new = NewTopic(topic.name, topic.partitions, topic.replication_factor, topic_configs=dict(topic.config))
        async with kafka_failures(self._address):
            response = await self._admin.create_topics([new])
        _, error_code, message = response.topic_errors[0]
        if error_code == TopicAlreadyExistsError.errno:
            return False
        if error_code:
            kind = for_code(error_code)
            failure = TemporaryFailure if kind.retriable else PermanentFailure
            raise failure(
                f"Kafka at {self._address} does not create the topic {topic.name}: {message or kind.__name__}"
            )
        return True

    async def wait_until_visible(self, *names: str) -> None:
        """Return when the brokers describe all topics, which is a moment after their creation."""
        try:
            async with asyncio.timeout(VISIBLE_SECONDS):
                # Nothing tells when it is so; it can only be asked.
                while len(await self.existing(*names)) < len(names):  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError as error:
            raise TemporaryFailure(
                f"Kafka at {self._address} accepted the topics but does not show them after {VISIBLE_SECONDS:g} s"
            ) from error
