"""`latelabel demo`: real flights judged as their labels land, and every figure recounted at the end."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import click

from agents.demo.configuration import write_configuration
from agents.demo.leak import run_leak_demo, write_leak_configuration
from agents.demo.processes import CommandFailed
from agents.demo.record_files import write_record_files
from agents.demo.run import Demo, DemoFailed, predictions_of, run_demo
from agents.settings import KafkaSettings, environment, load_settings
from schemas.topics import TOPICS

__all__ = ["demo"]

SPEED = 600_000.0
"""Ten months in 44 seconds, about 13,000 records a second: two cores hold it with everything running on them."""

INTERRUPTED = 130

CHECKOUT_DATA = Path(__file__).resolve().parents[2] / "deploy" / "demo"


@click.command()
@click.option("--speed", type=click.FloatRange(min=1.0), default=SPEED, show_default=True, help="Times life's speed.")
@click.option("--days", type=click.IntRange(min=1), help="Replay only the first days (default: all ten months).")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=CHECKOUT_DATA,
    help="Folder with flights.csv.xz and recount.py (default: deploy/demo of the checkout).",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep configuration, logs, counts and reports in this folder.",
)
@click.option("--leak", is_flag=True, help="Instead: serve a model that leaks, under a probe, until the alert comes.")
@click.option(
    "--records",
    type=click.Path(file_okay=False, path_type=Path),
    help="Instead: write the records and their configuration to this folder, for `latelabel backtest`.",
)
@click.option("--look", is_flag=True, help="Keep the page at the end, until Ctrl+C.")
def demo(
    speed: float, days: int | None, data: Path, keep: Path | None, leak: bool, records: Path | None, look: bool
) -> None:
    """Judge real flights as they land, and recount every figure.

    Needs a Kafka and a Redis of its own, named by LATELABEL_KAFKA__BROKERS and LATELABEL_REDIS__URL;
    `make demo` starts both. Any latelabel.yaml of yours is left alone. With --records it needs neither.
    """
    if records is not None:
        records.mkdir(parents=True, exist_ok=True)
        click.echo("Learning from the flights of January and February, New York, 2013 …", err=True)
        write_record_files(predictions_of(data / "flights.csv.xz", records, days=days), records)
        return
    folder = keep or Path(tempfile.mkdtemp(prefix="latelabel-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    worth_a_look = keep is not None
    try:
        if leak:
            equal = asyncio.run(run_leak_demo(*_prepare_leak(folder, data)))
        else:
            equal = asyncio.run(run_demo(_prepare(folder, data, speed=speed, days=days, look=look)))
        worth_a_look |= not equal
    except (asyncio.CancelledError, KeyboardInterrupt):
        click.echo("\nInterrupted; everything is stopped.", err=True)
        sys.exit(INTERRUPTED)
    except DemoFailed as failure:
        raise click.ClickException(str(failure)) from failure
    except CommandFailed as failure:
        worth_a_look = True
        raise click.ClickException(str(failure)) from failure
    finally:
        if worth_a_look:
            click.echo(f"Configuration, logs, counts and reports are in {folder}.", err=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if equal else 1)


def _prepare(folder: Path, data: Path, *, speed: float, days: int | None, look: bool) -> Demo:
    """Write the configuration and read it back with the addresses of the environment."""
    configuration = folder / "latelabel.yaml"
    port = _free_port()
    write_configuration(configuration, web_port=port)
    settings = load_settings(configuration, environment())
    kafka = settings.kafka
    return Demo(
        brokers=kafka.address,
        redis=settings.redis.url,
        topics={role: kafka.topic(role) for role in TOPICS},
        configuration=configuration,
        data=data,
        folder=folder,
        speed=speed,
        days=days,
        page=f"http://127.0.0.1:{port}",
        stays=look,
    )


def _prepare_leak(folder: Path, data: Path) -> tuple[Demo, KafkaSettings]:
    """Likewise, for the model that leaks."""
    configuration, port = folder / "latelabel.yaml", _free_port()
    write_leak_configuration(configuration, rules=data.parent / "rules/resources.yaml", web_port=port)
    settings = load_settings(configuration, environment())
    kafka = settings.kafka
    demo = Demo(
        brokers=kafka.address,
        redis=settings.redis.url,
        topics={role: kafka.topic(role) for role in TOPICS},
        configuration=configuration,
        data=data,
        folder=folder,
        speed=1.0,
        page=f"http://127.0.0.1:{port}",
    )
    return demo, kafka


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
