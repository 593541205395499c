"""What a child process is asked, and what it answers: plain values only, since a model may have taken the child over.

A frame is four bytes of length, big-endian, and MessagePack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import msgspec

from streams.explanation.terms import ExplainTerms
from streams.monitored_model import Task

__all__ = ["LENGTH_BYTES", "Item", "Job", "Subject", "read_frame", "write_frame"]

LENGTH_BYTES = 4


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The model version that is explained."""

    model: str
    model_version: str
    terms: ExplainTerms
    task: Task
    positive_class: str | None
    classes: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    answer_seconds: float
    answer_bytes: int

    @property
    def named(self) -> tuple[str, str]:
        """Model and version."""
        return self.model, self.model_version


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction: its features as in the record, its class, and what probability it gave that, if it said."""

    features: Mapping[str, Any]
    predicted: str | None
    answered: float | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Explain some predictions of one model version; without items, get ready for them.

    `pool` names the neighbourhood; a model version has one at a time. `background` are features of other predictions,
    to learn what is usual when it is drawn.
    """

    subject: Subject
    pool: str
    background: Sequence[Mapping[str, Any]]
    items: Sequence[Item]


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame; None at the end of the stream."""
    length = stream.read(LENGTH_BYTES)
    if len(length) < LENGTH_BYTES:
        return None
    return stream.read(int.from_bytes(length))


def write_frame(stream: BinaryIO, content: bytes) -> None:
    """Write one frame and let it go."""
    stream.write(len(content).to_bytes(LENGTH_BYTES) + content)
    stream.flush()
