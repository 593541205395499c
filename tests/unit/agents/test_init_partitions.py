"""Partitions as `latelabel init --accept` is told of them."""

from __future__ import annotations

import click
import pytest

from agents.commands.init import _source
from streams.ledger.parts import Role, Source

TOPICS = {Role.PREDICTIONS: "ml.predictions.v1", Role.LABELS: "ml.labels.v1"}


@pytest.mark.parametrize("text", ["ml.labels.v1/3", "labels/3"])
def test_partition_is_named_by_its_topic_or_as_workers_name_it_in_their_messages(text: str) -> None:
    assert Source(Role.LABELS, 3) == _source(text, TOPICS)


@pytest.mark.parametrize("text", ["outcomes/3", "labels", "labels/", "labels/three", "/3"])
def test_anything_else_is_wrong_usage_that_names_what_there_is(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"ml\.predictions\.v1/0, ml\.labels\.v1/0"):
        _source(text, TOPICS)
