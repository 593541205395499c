"""The demo's records as files, for those who want to try alert rules on a year without a Kafka."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import click

from agents.demo.classifier import Prediction
from agents.demo.configuration import write_configuration
from agents.demo.timeline import LABELS, PREDICTIONS, Timeline
from agents.settings import WebSettings

__all__ = ["write_record_files"]


def write_record_files(predictions: Sequence[Prediction], folder: Path) -> None:
    """Write `predictions.jsonl`, `labels.jsonl`, `latelabel.yaml` and `rules.yaml`; say what to do with them.

    Args:
        predictions: of some days.
        folder: where to; it is there.
    """
    timeline = Timeline(predictions)
    write_configuration(folder / "latelabel.yaml", web_port=WebSettings().port)
    _, messages = timeline.messages_until(0, instant=math.inf)
    for role in (PREDICTIONS, LABELS):
        lines = [message.value for message in messages if message.role == role]
        (folder / f"{role}.jsonl").write_bytes(b"\n".join([*lines, b""]))
        click.echo(f"{len(lines):,} {role} in {folder / role}.jsonl")
    click.echo(
        f"Which alerts rules.yaml would have raised, and when:\n\n    cd {folder}\n"
        f"    latelabel backtest --predictions {PREDICTIONS}.jsonl --labels {LABELS}.jsonl"
    )
