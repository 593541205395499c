"""`latelabel topics create`: makes what is missing, tells what differs."""

from __future__ import annotations

import asyncio

import click

from agents.commands.command_line import Invocation
from agents.kafka_topics import KafkaTopics, WantedTopic, alteration, differences, wanted_topics
from agents.settings import Settings
from streams.errors import PermanentFailure

__all__ = ["topics"]


@click.group()
def topics() -> None:
    """Create the topics and report what differs."""


@topics.command()
@click.pass_obj
def create(invocation: Invocation) -> None:
    """Create the topics that are missing.

    Topics that exist are left as they are; what differs from the configuration is told. Ends with exit code 1 if
    records would be lost: retention shorter than the longest label horizon plus a day, or dead letters that would be
    refused.
    """
    settings = invocation.settings()
    invocation.log_by(settings)
    asyncio.run(_create(settings))


async def _create(settings: Settings) -> None:
    wanted = wanted_topics(settings)
    unsafe: list[str] = []
    async with KafkaTopics(settings.kafka) as kafka:
        existing = await kafka.existing(*(topic.name for topic in wanted))
        for topic in wanted:
            if topic.name not in existing:
                is_new = await kafka.create(topic)
                _tell(topic, _description(topic) if is_new else "exists since a moment ago")
                continue
            found = list(differences(topic, existing[topic.name]))
            _tell(topic, "differs" if found else "exists")
            for difference in found:
                click.echo(f"    {'UNSAFE ' if difference.is_unsafe else ''}{difference.text}")
            if any(difference.is_unsafe for difference in found):
                unsafe.append(alteration(topic.name, found, server=settings.kafka.brokers[0]))
        await kafka.wait_until_visible(*(topic.name for topic in wanted))
    if unsafe:
        raise PermanentFailure(
            "records would be lost; run "
            + ", ".join(f"`{command}`" for command in unsafe)
            + ", then this command again"
        )


def _description(topic: WantedTopic) -> str:
    config = ", ".join(f"{name}={value}" for name, value in topic.config.items())
    return f"created, partitions={topic.partitions}, {config}"


def _tell(topic: WantedTopic, what: str) -> None:
    click.echo(f"{topic.name}: {what}")
