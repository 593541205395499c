"""Requests and explanations on the wire: examples, closed reasons, ids that name the content."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import schemas
from schemas.codec import encode
from schemas.explain_request import WHY_ASKED, WhyAsked, read_explain_request
from schemas.explanation import FAILURES, NOTES, ExplainFailure, Explanation, Note, explanation_id

EXAMPLES = Path(schemas.__file__).parent / "examples"


def examples(topic: str, kind: str) -> list[Path]:
    return sorted((EXAMPLES / topic / kind).iterdir())


@pytest.mark.parametrize("path", examples("explain-requests", "valid"), ids=lambda path: path.stem)
def test_valid_request_is_read_and_written_again(path: Path) -> None:
    request = read_explain_request(path.read_bytes())
    assert request is not None
    assert request == read_explain_request(encode(request))


@pytest.mark.parametrize("path", examples("explain-requests", "invalid"), ids=lambda path: path.stem)
def test_invalid_request_is_none(path: Path) -> None:
    assert None is read_explain_request(path.read_bytes())


@pytest.mark.parametrize("value", [None, b"", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_at_all_is_no_request(value: bytes | None) -> None:
    assert None is read_explain_request(value)


@pytest.mark.parametrize("path", examples("explanations", "valid"), ids=lambda path: path.stem)
def test_explanation_survives_reading_and_writing_and_carries_the_id_of_its_content(path: Path) -> None:
    content = msgspec.json.decode(path.read_bytes())
    explanation = msgspec.json.decode(path.read_bytes(), type=Explanation)
    assert content == msgspec.json.decode(encode(explanation))
    assert content["event_id"] == explanation_id(content)


def test_timings_do_not_make_another_id() -> None:
    content = msgspec.json.decode((EXAMPLES / "explanations/valid/tabular.json").read_bytes())
    slower = content | {"cost": {"total_ms": 1.0, "model_ms": 1.0, "pool_ms": 1.0}, "produced_at": "later"}
    assert explanation_id(content) == explanation_id(slower)
    assert explanation_id(content) != explanation_id(content | {"label": "ok"})


def test_every_reason_and_note_has_a_meaning() -> None:
    assert set(ExplainFailure) == set(FAILURES)
    assert set(Note) == set(NOTES)
    assert set(WhyAsked) == set(WHY_ASKED)
