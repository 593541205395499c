"""The documents of the contract are current, and take and refuse what the codec does."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

import schemas
from schemas.contract_documents import FOLDER, VALUES, contract_documents
from schemas.dead_letter import dead_letter
from schemas.errors import Reason
from schemas.field_descriptions import DESCRIPTIONS
from schemas.topics import TOPICS

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = Path(schemas.__file__).parent / "examples"
PARSER = ROOT / ".cache/asyncapi"
NODE = ROOT / ".cache/tools/bin/node"
SCHEMA_OF = {
    "predictions": "prediction",
    "labels": "label",
    "resource-samples": "resource_sample",
    "model-metrics": "report",
    "model-alerts": "alert",
    "explain-requests": "explain_request",
    "explanations": "explanation",
}

UNSAYABLE = {
    "out_of_bounds--request-id-of-129-umlauts": "limits are in bytes",
    "malformed_json--lone-high-surrogate-in-the-id": "half of a character is a character to JSON",
    "out_of_bounds--target-of-65-umlauts": "limits are in bytes",
    "out_of_bounds--cpu-of-1e400": "JSON numbers have no end",
    "implausible_time--clock-never-set": "times have no order",
    "out_of_bounds--1e400": "JSON numbers have no end",
    "out_of_bounds--infinite-signal": "JSON numbers have no end",
    "out_of_bounds--integer-of-400-digits": "JSON numbers have no end",
    "implausible_time--last-millisecond-of-1999": "times have no order",
    "implausible_time--year-10000-by-its-zone": "times have no order",
    "implausible_time--year-1970": "times have no order",
    "implausible_time--year-2100": "times have no order",
    "bad_time--month-13": "a pattern knows no calendar",
    "bad_time--ends-before-it-starts": "times have no order",
    "too_deep--65-lists": "depth cannot be counted",
    "too_deep--65-objects": "depth cannot be counted",
    "wrong_type--integral-float-as-instance": "1.0 is an integer to JSON Schema",
}
"""Examples that are refused, but not by their schema, and why it cannot."""


def validator(name: str) -> Any:
    schema = json.loads((FOLDER / f"{name}.schema.json").read_bytes())
    kind = jsonschema.Draft202012Validator
    kind.check_schema(schema)
    return kind(schema)


def examples(kind: str) -> list[Any]:
    return [
        pytest.param(topic, path, id=f"{topic}-{path.stem}")
        for topic in SCHEMA_OF
        for path in sorted((EXAMPLES / topic / kind).glob("*.json"))
    ]


def test_documents_are_what_the_structs_say() -> None:
    found = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert found == contract_documents(), "run `make schemas`"


@pytest.mark.parametrize(("topic", "path"), examples("valid"))
def test_valid_example_is_valid_by_its_schema(topic: str, path: Path) -> None:
    value = json.loads(path.read_bytes())
    of_kind = {
        "stability": "stability_report",
        "signals": "signals_report",
        "resources": "resource_report",
        "system": "system_report",
        "attribution": "attribution_report",
    }
    name = of_kind.get(value["kind"]) if topic == "model-metrics" else None
    validator(name or SCHEMA_OF[topic]).validate(value)


@pytest.mark.parametrize(("topic", "path"), examples("invalid"))
def test_invalid_example_is_refused_by_its_schema_or_it_is_said_why_not(topic: str, path: Path) -> None:
    try:
        value = json.loads(path.read_bytes().decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return  # no JSON, so nothing that a schema could say
    is_valid = validator(SCHEMA_OF[topic]).is_valid(value)
    assert (path.stem in UNSAYABLE) == is_valid


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def test_what_no_schema_can_say_is_about_examples_that_exist() -> None:
    assert UNSAYABLE.keys() <= {path.stem for topic in SCHEMA_OF for path in (EXAMPLES / topic).rglob("*.json")}


def test_headers_of_a_dead_letter_are_as_described() -> None:
    for value in (b"{", b"x" * (16 << 20)):
        letter = dead_letter(
            key=None, value=value, headers=[], reason=Reason.MALFORMED_JSON, message="it ends too early",
            topic="predictions", partition=3, offset=17, timestamp_ms=-1, now_ms=0,
        )  # fmt: skip
        headers = {name: (text or b"").decode() for name, text in letter.headers}
        validator("dead-letter-headers").validate(headers)
        assert ("latelabel-sha256" in headers) == (len(value) > 1)
    assert not validator("dead-letter-headers").is_valid({**headers, "latelabel-reason": "bad_luck"})


@pytest.mark.parametrize("struct", VALUES.values(), ids=VALUES.keys())
def test_every_field_is_described(struct: type[msgspec.Struct]) -> None:
    assert list(struct.__struct_encode_fields__) == list(DESCRIPTIONS[struct.__name__])


def test_examples_of_the_asyncapi_document_are_valid_by_its_own_schemas() -> None:
    document = asyncapi()
    shown = 0
    for message in document["components"]["messages"].values():
        for example in message.get("examples", []):
            # References are to the document, so the whole of it is the schema's base.
            schema = {"components": document["components"], **message["payload"]}
            jsonschema.Draft7Validator(schema).validate(example["payload"])
            shown += 1
    assert len(VALUES) == shown


def test_every_topic_is_a_channel_with_its_own_name_and_settings() -> None:
    channels = asyncapi()["channels"]
    assert {role: topic.default_name for role, topic in TOPICS.items()} == {
        role: channel["address"] for role, channel in channels.items()
    }
    dead_letters = channels["dead_letters"]["bindings"]["kafka"]["topicConfiguration"]
    assert {"cleanup.policy": ["delete"], "max.message.bytes": 16 << 20} == dead_letters
    assert ["compact", "delete"] == channels["metrics"]["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"]


def test_asyncapi_parser_finds_no_error() -> None:
    checked = parse(FOLDER / "asyncapi.json")
    assert (0, "", "") == (checked.returncode, checked.stdout, checked.stderr)


def test_asyncapi_parser_would_find_an_error(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text((FOLDER / "asyncapi.json").read_text().replace('"receive"', '"recieve"'))
    checked = parse(wrong)
    assert 1 == checked.returncode
    assert '"action" property must be equal to one of the allowed values' in checked.stdout


def test_lock_of_the_parser_has_hashes_and_names_no_registry() -> None:
    lock = json.loads((ROOT / "deploy/asyncapi/package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    for name, package in packages.items():
        assert re.match("sha512-", package["integrity"]), name
        assert "resolved" not in package, name


def asyncapi() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / "asyncapi.json").read_bytes())
    return loaded


def parse(document: Path) -> subprocess.CompletedProcess[str]:
    assert (PARSER / ".complete").exists(), f"{PARSER} is missing; run `make setup`"
    command = [str(NODE), str(ROOT / "deploy/asyncapi/check.mjs"), str(document), str(PARSER)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
