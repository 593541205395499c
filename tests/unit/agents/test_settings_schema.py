"""The schema that editors get takes what is read, and refuses what people get wrong most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agents.settings import ConfigurationError, Settings, load_settings
from agents.settings_file import _Loader
from agents.settings_listing import resolved_yaml, settings_rows
from agents.settings_schema import file_schema

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = file_schema(Settings)
VALUES = (
    *("null", "~", '""', "true", "0", "1", "-1", "0.5", "0.95", "7", "1025", "1e3", "100000000000"),
    *("2", "10", "5m", "1h", "0s", "1500ms", "1d12h", '"0"', "5", "1h5m1d", "9999y"),
    *(
        "fraud",
        "__",
        "___",
        "__other__",
        "__a",
        "a__",
        "SASL_SSL",
        "PLAINTEXT",
        "PLAIN",
        "first",
        "tabular",
        "lime",
        "decile",
        "impute",
        "binary",
        "json",
        "error",
        "https://idp/token",
        "x" * 300,
        "é",
        "a:1",
        "https://page.example",
    ),
    *("[]", "[a:1]", "[a:1, a:1]", "[5m, 1h]", "[[a, b]]", "[fraud, 1, true]", "[rules/*.yaml]"),
    *(
        "[http://a:1]",
        "{}",
        "{a: b}",
        "{names: [a]}",
        '{"1": fraud}',
        "[{name: a}]",
        "[{name: a}, {name: b}]",
        "redis://h:1/0",
    ),
)
"""Tried in every place of the file."""


def is_valid(text: str) -> bool:
    # By way of JSON, whose keys are texts as a schema has them.
    value = json.loads(json.dumps(yaml.load(text, Loader=_Loader)))
    valid: bool = jsonschema.Draft7Validator(SCHEMA).is_valid(value)
    return valid


def test_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_example_and_what_is_shown_are_valid() -> None:
    example = (ROOT / "latelabel.yaml").read_text()
    assert is_valid(example)
    assert is_valid(resolved_yaml(load_settings(ROOT / "latelabel.yaml", {})))
    assert is_valid(resolved_yaml(Settings()))
    assert is_valid("# nothing")
    uncommented = example.replace("  # security:", "  security:").replace("  #   ", "    ")
    assert "\n    protocol: SASL_SSL\n" in uncommented
    assert is_valid(uncommented)


@pytest.mark.parametrize(
    "text",
    [
        "idle_afer: 1m",
        "evaluation_interval: 10",
        "idle_after: 5m1h",
        "redis: {shards: eight}",
        "redis: {shards: true}",
        "redis: {shards: 1025}",
        "redis: {shard: 8}",
        "redis: []",
        "redis: {url: 7}",
        "confidence_level: 95",
        "kafka: {group: 7}",
        "kafka: {brokers: a:1}",
        "kafka: {brokers: [a]}",
        "kafka: {brokers: []}",
        "kafka: {topics: {prediction: x}}",
        "kafka: {security: {protocol: SSH}}",
        "dead_letters: {max_invalid_ratio: 50}",
        "web: {port: 65536}",
        "models: {name: a}",
        "models: [{task: binary}]",
        "models: [{name: a, task: binry}]",
        "models: [{name: __other__}]",
        "models: [{name: 7}]",
        "models: [{name: a, positive_clas: b}]",
        "models: [{name: a, report_windows: 5m}]",
        "models: [{name: a, report_windows: []}]",
        "models: [{name: a, segments: [b, b]}]",
        "models: [{name: a, cross: [[b]]}]",
        "models: [{name: a, classes: [b]}]",
        "- kafka",
    ],
)
def test_mistake_in_one_place_is_refused(text: str, tmp_path: Path) -> None:
    assert not is_valid(text)
    assert not is_read(text, tmp_path)


def test_whatever_is_read_is_valid(tmp_path: Path) -> None:
    unread = []
    for path in (row.path for row in settings_rows()):
        texts = [text for text in (file_with(path, value) for value in VALUES) if is_read(text, tmp_path)]
        assert [] == [text for text in texts if not is_valid(text)]
        unread += [] if texts else [path]
    assert [] == unread, "give each setting a value that it takes"


def file_with(path: str, value: str) -> str:
    """A file that gives a setting this value and says nothing else but the name of a model."""
    outer, _, inner = path.partition("[].")
    if not inner:
        return _nested(path, value)
    return f"{{{outer}: [{{{'' if inner == 'name' else 'name: n, '}{_nested(inner, value)[1:-1]}}}]}}"


def _nested(path: str, value: str) -> str:
    first, _, rest = path.partition(".")
    return f"{{{first}: {_nested(rest, value) if rest else value}}}"


def is_read(text: str, folder: Path) -> bool:
    path = folder / "latelabel.yaml"
    path.write_text(text)
    try:
        load_settings(path, {})
    except ConfigurationError:
        return False
    return True


def test_every_setting_is_described_with_its_default_and_what_a_change_needs() -> None:
    described = dict(_described(SCHEMA, ""))
    for row in settings_rows():
        description: str = described[row.path]["description"]
        assert description == f"{row.meaning.help} A change applies {row.meaning.applies}."
        assert row.default == "" or "default" in described[row.path]


def _described(schema: dict[str, Any], prefix: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for key, inner in schema.get("properties", {}).items():
        found.append((f"{prefix}{key}", inner))
        found += _described(inner, f"{prefix}{key}.") + _described(inner.get("items", {}), f"{prefix}{key}[].")
    return found
