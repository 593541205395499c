"""`latelabel probe`: watch what a model takes, and send it to Kafka every second."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import click

from agents.commands.command_line import INTERRUPTED, Invocation
from agents.commands.output import Duration
from agents.probe.probe import ProbeOptions, build_run
from agents.settings import KafkaSettings
from agents.telemetry import set_up_logging
from schemas.limits import NAME_BYTES

__all__ = ["probe"]

LEAST_INTERVAL_MS = 100


@click.command()
@click.option("--model", required=True, metavar="M", help="The model that is served.")
@click.option("--model-version", default="", metavar="V", help="Its version.")
@click.option(
    "--target", default="", metavar="T", help="What is watched, over all restarts (default: the host's name)."
)
@click.option("--pid", type=click.IntRange(min=1), metavar="N", help="A process with its children, until it ends.")
@click.option("--cmdline", metavar="REGEX", help="The oldest process whose command line holds this.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="The process that listens on a TCP port.")
@click.option("--cgroup", type=click.Path(path_type=Path), metavar="PATH", help="A control group, whatever runs in it.")
@click.option("--scrape", metavar="URL", help="What a server tells in Prometheus' format; alone, or beside the others.")
@click.option(
    "--interval", "interval_ms", type=Duration(), default="1s", show_default=True, help="Between two samples."
)
@click.pass_obj
def probe(
    invocation: Invocation,
    model: str,
    model_version: str,
    target: str,
    pid: int | None,
    cmdline: str | None,
    port: int | None,
    cgroup: Path | None,
    scrape: str | None,
    interval_ms: int,
) -> int:
    """Watch what a model takes: CPU, memory and its limit, files, threads, restarts, kills, GPUs.

    What ends is looked for again, and counted as a restart; only a --pid is never followed to another process. Samples
    are kept while Kafka is away, an hour of them at one a second, then the oldest are dropped and counted.
    """
    options = ProbeOptions(
        model=model,
        model_version=model_version,
        target=target,
        pid=pid,
        cmdline=cmdline,
        port=port,
        cgroup=cgroup,
        scrape=scrape,
        interval_seconds=interval_ms / 1000,
    )
    _check(options)
    settings = invocation.settings()
    set_up_logging()
    return asyncio.run(_run(options, settings.kafka))


def _check(options: ProbeOptions) -> None:
    if len(options.ways) > 1:
        raise click.UsageError(f"--{' and --'.join(options.ways)} exclude each other.")
    if not options.ways and options.scrape is None:
        raise click.UsageError("Name what to watch: --pid, --cmdline, --port, --cgroup or --scrape.")
    if options.interval_seconds * 1000 < LEAST_INTERVAL_MS:
        raise click.UsageError(f"--interval is at least {LEAST_INTERVAL_MS}ms.")
    for name in ("model", "model_version", "target"):
        if len(getattr(options, name).encode()) > NAME_BYTES:
            raise click.UsageError(f"--{name.replace('_', '-')} is longer than {NAME_BYTES} bytes.")
    if not options.model:
        raise click.UsageError("--model is empty.")
    if options.scrape is not None and not options.scrape.startswith(("http://", "https://")):
        raise click.UsageError("--scrape is a URL such as http://localhost:8000/metrics.")
    try:
        re.compile(options.cmdline or "")
    except re.error as error:
        raise click.UsageError(f"--cmdline {options.cmdline!r} is no regular expression: {error}.") from error


async def _run(options: ProbeOptions, kafka: KafkaSettings) -> int:
    stop, codes = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def end(code: int) -> None:
        codes.append(code)
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, end, 0)
    loop.add_signal_handler(signal.SIGINT, end, INTERRUPTED)
    await build_run(options, kafka).run(stop)
    return codes[0] if codes else 0
