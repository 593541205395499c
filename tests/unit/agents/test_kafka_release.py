"""What a broker's answer tells of its release; a real one is asked in the tests of `doctor`."""

from __future__ import annotations

import io

import pytest
from aiokafka.protocol.types import UnsignedVarInt32

from agents.kafka_release import AskFeatures, release_of


def answer(features: dict[str, tuple[int, int]] | None) -> bytes:
    """As a broker writes it, one API among its own, by the field tables of Kafka's ApiVersionsResponse 3."""
    apis = b"\x02" + b"\x00\x12\x00\x00\x00\x04" + b"\x00"
    head = b"\x00\x00" + apis + b"\x00\x00\x00\x00"
    if features is None:
        return head + b"\x00"
    told = bytes([len(features) + 1])
    for name, (lowest, highest) in features.items():
        told += (
            bytes([len(name) + 1]) + name.encode() + lowest.to_bytes(2, "big") + highest.to_bytes(2, "big") + b"\x00"
        )
    size: bytes = UnsignedVarInt32.encode(len(told))
    return head + b"\x01" + b"\x00" + size + told


def told(features: dict[str, tuple[int, int]] | None) -> str | None:
    question = AskFeatures().prepare({18: (0, 4)})
    return release_of(question.RESPONSE_TYPE.decode(io.BytesIO(answer(features))))


@pytest.mark.parametrize(
    ("level", "expected"),
    [(0, None), (1, "3.0"), (7, "3.3"), (8, "3.4"), (21, "3.9"), (25, "4.0"), (30, "4.3"), (31, "4.4")],
)
def test_release_is_that_of_the_highest_metadata_version(level: int, expected: str | None) -> None:
    assert expected == told({"group.version": (0, 1), "metadata.version": (1, level), "kraft.version": (0, 1)})


def test_newer_broker_is_told_as_such_and_one_without_features_as_unknown() -> None:
    assert "4.4 or newer" == told({"metadata.version": (7, 40)})
    assert None is told({"group.version": (0, 1)})
    assert None is told(None)


def test_broker_of_before_the_request_is_not_asked() -> None:
    with pytest.raises(NotImplementedError):
        AskFeatures().prepare({18: (0, 2)})
