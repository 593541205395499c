"""The configuration: what is read, in which order of precedence, and every mistake with its place and remedy."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.durations import duration_ms, duration_text
from agents.settings import ConfigurationError, KafkaSettings, Settings, config_hash, load_settings
from agents.settings_listing import resolved_yaml, settings_rows, settings_table
from schemas.topics import TOPICS
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, LabelPolicy, MonitoredModel, Task

ROOT = Path(__file__).resolve().parents[3]
CONTRACT_MODEL = """\
models:
  - name: fraud
    task: binary
    positive_class: fraud
    classes: {names: [fraud, ok], aliases: {"1": fraud, "0": ok}}
    report_windows: [5m, 1h]
    base_window: 5m
    label_horizon: 1d
    allowed_skew: 5m
    label_policy: first
    segments: [country, device]
    cross: [[country, device]]
"""


def load(text: str, environ: Mapping[str, str] | None = None, *, folder: Path) -> Settings:
    path = folder / "latelabel.yaml"
    path.write_text(text)
    return load_settings(path, environ or {})


def mistakes(text: str, environ: Mapping[str, str] | None = None, *, folder: Path) -> list[str]:
    """Each mistake as a line, the file called `file`."""
    with pytest.raises(ConfigurationError) as raised:
        load(text, environ, folder=folder)
    return [mistake.describe("file") for mistake in raised.value.mistakes]


# --- what is read ----------------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_contract() -> None:
    settings = Settings()
    assert ("localhost:9092",) == settings.kafka.brokers
    assert {role: topic.default_name for role, topic in TOPICS.items()} == settings.kafka.topic_names
    assert (12, 1) == (settings.kafka.partitions, settings.kafka.replication_factor)
    assert ("redis://localhost:6379/0", "latelabel", 8) == (
        settings.redis.url,
        settings.redis.prefix,
        settings.redis.shards,
    )
    assert (10_000, 2 * MINUTE_MS, MINUTE_MS) == (
        settings.evaluation_interval_ms,
        settings.startup_timeout_ms,
        settings.idle_after_ms,
    )
    assert (10 * MINUTE_MS, 5 * MINUTE_MS, HOUR_MS) == (
        settings.allowed_lateness_ms,
        settings.max_future_skew_ms,
        settings.max_read_ahead_ms,
    )
    assert (0.95, 30 * DAY_MS) == (settings.confidence_level, settings.keep_windows_ms)
    assert (0.5, 100) == (settings.dead_letters.max_invalid_ratio, settings.dead_letters.max_consecutive)
    assert (1000, 200, 200, 20) == dataclasses.astuple(settings.limits)
    assert ("127.0.0.1", 6066, None, None, False, True) == dataclasses.astuple(settings.web)
    assert MonitoredModel(name="unlisted") == settings.model("unlisted")


def test_every_field_of_a_model_is_read(tmp_path: Path) -> None:
    expected = MonitoredModel(
        name="fraud",
        task=Task.BINARY,
        positive_class="fraud",
        class_names=("fraud", "ok"),
        class_aliases={"1": "fraud", "0": "ok"},
        report_windows_ms=(5 * MINUTE_MS, HOUR_MS),
        base_window_ms=5 * MINUTE_MS,
        label_horizon_ms=DAY_MS,
        allowed_skew_ms=5 * MINUTE_MS,
        label_policy=LabelPolicy.FIRST,
        segments=("country", "device"),
        cross=(("country", "device"),),
    )
    settings = load(CONTRACT_MODEL, folder=tmp_path)
    assert expected == settings.model("fraud")


def test_base_window_is_the_smallest_report_window_unless_given(tmp_path: Path) -> None:
    settings = load("models: [{name: a, report_windows: [1h, 10m]}]", folder=tmp_path)
    assert 10 * MINUTE_MS == settings.model("a").base_window_ms


def test_classes_follow_the_rule_that_names_the_classes_of_predictions(tmp_path: Path) -> None:
    text = "models: [{name: a, classes: {names: [yes, 1, 1.5, true, 012], aliases: {0: yes}}}]"
    model = load(text, folder=tmp_path).model("a")
    assert ("yes", "1", "1.5", "true", "12") == model.class_names
    assert {"0": "yes"} == model.class_aliases


@pytest.mark.parametrize("text", ["", "# nothing\n", "kafka:\n", "models: []"])
def test_a_file_that_says_nothing_leaves_the_defaults(text: str, tmp_path: Path) -> None:
    assert Settings() == load(text, folder=tmp_path)


def test_relative_files_start_at_the_folder_of_the_configuration(tmp_path: Path) -> None:
    assert (tmp_path / "rules/*.yaml",) == load('rule_files: ["rules/*.yaml"]', folder=tmp_path).rule_files


def test_merged_mappings_are_overridden_by_what_stands_beside_them(tmp_path: Path) -> None:
    text = "models:\n  - &a {name: a, label_horizon: 2d, allowed_skew: 1m}\n  - {<<: *a, name: b, allowed_skew: 2m}\n"
    model = load(text, folder=tmp_path).model("b")
    assert (2 * DAY_MS, 2 * MINUTE_MS) == (model.label_horizon_ms, model.allowed_skew_ms)


def test_unlisted_models_count_among_the_largest_durations(tmp_path: Path) -> None:
    text = "models: [{name: a, label_horizon: 1h, allowed_skew: 1m}]"
    settings = load(text, folder=tmp_path)
    assert (5 * MINUTE_MS, DAY_MS) == (settings.label_hold_ms, settings.largest_horizon_ms)


def test_a_skew_may_be_the_largest_duration(tmp_path: Path) -> None:
    settings = load("models: [{name: a, allowed_skew: 9d}]", folder=tmp_path)
    assert (9 * DAY_MS, 9 * DAY_MS) == (settings.label_hold_ms, settings.largest_horizon_ms)


# --- where it is found -----------------------------------------------------------------------------------------------


def test_the_file_given_comes_before_the_variable_and_that_before_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("latelabel", "variable", "given"):
        (tmp_path / f"{name}.yaml").write_text(f"kafka: {{group: {name}}}")
    environ = {"LATELABEL_CONFIG": "variable.yaml"}
    assert "given" == load_settings(Path("given.yaml"), environ).kafka.group
    assert "variable" == load_settings(None, environ).kafka.group
    assert "latelabel" == load_settings(None, {}).kafka.group


def test_without_any_file_everything_has_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings() == load_settings(None, {})


def test_the_environment_comes_on_top_of_the_file(tmp_path: Path) -> None:
    environ = {
        "LATELABEL_KAFKA__BROKERS": "a:9092, b:9092",
        "LATELABEL_KAFKA__GROUP": "7",
        "LATELABEL_KAFKA__TOPICS__DEAD_LETTERS": "poison",
        "LATELABEL_REDIS__SHARDS": "16",
        "LATELABEL_EVALUATION_INTERVAL": "500ms",
        "LATELABEL_CONFIDENCE_LEVEL": "0.9",
        "LATELABEL_WEB__TOKEN_FILE": "",
    }
    settings = load("kafka: {brokers: ['c:1'], group: x}\nredis: {prefix: p}", environ, folder=tmp_path)
    assert (("a:9092", "b:9092"), "7", "poison") == (
        settings.kafka.brokers,
        settings.kafka.group,
        settings.kafka.topic("dead_letters"),
    )
    assert ("p", 16) == (settings.redis.prefix, settings.redis.shards)
    assert (500, 0.9, None) == (settings.evaluation_interval_ms, settings.confidence_level, settings.web.token_file)


def test_variables_that_an_orchestrator_sets_for_a_service_of_our_name_are_ignored() -> None:
    environ = {"LATELABEL_SERVICE_HOST": "10.0.0.1", "LATELABEL_WEB_PORT": "tcp://10.0.0.1:6066", "HOME": "/root"}
    assert Settings().web == load_settings(None, environ).web


def test_variable_with_too_few_underscores_is_named_with_the_one_that_was_meant() -> None:
    environ = {"LATELABEL_KAFKA_BROKERS": "a:9092", "LATELABEL_WEB_PORT": "6067"}
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, environ)
    assert [
        ("LATELABEL_KAFKA_BROKERS", 'expected another one; did you mean "LATELABEL_KAFKA__BROKERS"?'),
        ("LATELABEL_WEB_PORT", 'expected another one; did you mean "LATELABEL_WEB__PORT"?'),
    ] == [(mistake.path, mistake.remedy) for mistake in caught.value.mistakes]


def test_the_example_at_the_root_is_valid() -> None:
    settings = load_settings(ROOT / "latelabel.yaml", {})
    assert ["fraud"] == [model.name for model in settings.models]


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_all_mistakes_of_file_and_environment_are_told_at_once(tmp_path: Path) -> None:
    text = "redis:\n  shards: eight\nidle_afer: 1m\nconfidence_level: 95\n"
    found = mistakes(text, {"LATELABEL_KAFKA__PARTITIONS": "0"}, folder=tmp_path)
    assert [
        'LATELABEL_KAFKA__PARTITIONS: found "0", expected a whole number from 1 to 10000',
        'file:2: redis.shards: found "eight", expected a whole number from 1 to 1024',
    ] == found[:2]
    assert found[2].startswith("file:3: idle_afer: found an unknown key, expected one of kafka, redis, ")
    assert found[2].endswith('; did you mean "idle_after"?')
    assert ["file:4: confidence_level: found 95, expected a number from 0.5 to 0.9999"] == found[3:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("evaluation_interval: 10", "evaluation_interval: found 10, expected a duration such as 30s, 5m, 1h30m or 7d"),
        ("idle_after: 5m1h", 'idle_after: found "5m1h", expected a duration such as 30s, 5m, 1h30m or 7d'),
        ("idle_after: 1ms", 'idle_after: found "1ms", expected a duration from 1s to 1d'),
        ("redis: {shards: true}", "redis.shards: found true, expected a whole number from 1 to 1024"),
        ("redis: {shards: 1025}", "redis.shards: found 1025, expected a whole number from 1 to 1024"),
        ("redis: []", "redis: found a list of 0, expected keys and values: url, prefix, shards"),
        ("kafka: {group: 7}", "kafka.group: found 7, expected the name of a consumer group; put it in quotes"),
        ("kafka: {brokers: a:1}", 'kafka.brokers: found "a:1", expected a list of brokers such as ["localhost:9092"]'),
        ("kafka: {brokers: [a]}", 'kafka.brokers[0]: found "a", expected host:port'),
        (
            "kafka: {topics: {predictions: x, labels: x}}",
            'kafka.topics.labels: found "x" for predictions and labels, expected a topic of its own for each role',
        ),
        (
            "max_read_ahead: 10m",
            (
                'max_read_ahead: found "10m", expected max_read_ahead to be longer than allowed_lateness, '
                "else no partition could ever be read on"
            ),
        ),
        (
            "models: [{task: binary}]",
            "models[0]: found no name, expected one: What predictions call the model.",
        ),
        (
            "models: [{name: __other__}]",
            (
                'models[0].name: found "__other__", expected the name of a model that does not begin and end with __; '
                "such names are the monitor's own"
            ),
        ),
        ("models: [{name: a}, {name: a}]", 'models[1]: found "a" a second time, expected each once'),
        (
            "models: [{name: a, task: binry}]",
            (
                'models[0].task: found "binry", expected one of binary, multiclass, regression, multilabel, ranking; '
                'did you mean "binary"?'
            ),
        ),
        (
            "models: [{name: a, task: binary, at_k: 5}]",
            "models[0].task: found binary, expected ranking, since at_k is given; or no at_k",
        ),
        (
            "models: [{name: a, task: ranking, beta: 1}]",
            "models[0].task: found ranking, expected binary, since beta is given; or no beta",
        ),
        (
            "models: [{name: a, task: binary, positive_class: bad, classes: {names: [good, evil]}}]",
            'models[0].positive_class: found "bad", expected one of classes.names: good, evil',
        ),
        (
            "models: [{name: a, report_windows: [5m, 7m]}]",
            (
                "models[0].report_windows: found 5m, which does not divide 7m, expected base_window to divide every "
                "report window, as 1m does"
            ),
        ),
        (
            "models: [{name: a, base_window: 2m}]",
            (
                "models[0].base_window: found 2m, which does not divide 5m, expected base_window to divide every "
                "report window, as 5m does"
            ),
        ),
        (
            "models: [{name: a, base_window: 1500ms}]",
            'models[0].base_window: found "1500ms", expected a multiple of 1s',
        ),
        (
            "models: [{name: a, segments: [b], cross: [[b, c]]}]",
            'models[0].cross: found "c", expected segments that `segments` declares',
        ),
        (
            "models: [{name: a, segments: [b, b]}]",
            'models[0].segments[1]: found "b" a second time, expected each once',
        ),
        (
            "kafka: {security: {protocol: SASL_SSL, mechanism: PLAIN, username: u}}",
            'kafka.security.protocol: found "SASL_SSL", expected password_file (or password) to be given',
        ),
        (
            "kafka: {security: {username: u}}",
            'kafka.security.username: found "u", expected SASL_SSL or SASL_PLAINTEXT, since a user is given',
        ),
    ],
)
def test_mistake_names_what_was_found_and_what_was_expected(text: str, expected: str, tmp_path: Path) -> None:
    assert [f"file:1: {expected}"] == mistakes(text, folder=tmp_path)


def test_a_key_that_stands_twice_is_a_mistake_at_its_second_place(tmp_path: Path) -> None:
    expected = 'file:3: idle_after: found "idle_after" a second time, expected it once; it already stands in line 1'
    assert [expected] == mistakes("idle_after: 1m\nkeep_windows: 1d\nidle_after: 2m\n", folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "line"), [("kafka: {brokers: [a\nredis: x: y\n", 2), ("a: 1\n\tb: 2\n", 2), ("kafka: *nowhere\n", 1)]
)
def test_what_is_no_yaml_is_told_with_its_line(text: str, line: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(text, folder=tmp_path)
    assert [line] == [mistake.line for mistake in raised.value.mistakes]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"/absent\.yaml: found no readable file"):
        load_settings(tmp_path / "absent.yaml", {})


@given(st.binary(max_size=60))
def test_whatever_the_file_holds_nothing_but_mistakes_is_raised(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(content)
        file.flush()
        with contextlib.suppress(ConfigurationError):
            load_settings(Path(file.name), {})


ODD_VALUES = (
    *(
        "null",
        "",
        "[]",
        "{}",
        "[[]]",
        "{a: b}",
        "true",
        "-1",
        "1e999",
        ".inf",
        "!!float x",
        "!!bool yes",
        "!!binary aGk=",
    ),
    *("&a [*a]", "? x", "<<", "é" * 200, "9" * 5000, '"\\0"', '"\\ud800"', "__x__", "2026-01-01", "|\n  abc"),
)


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: ascii(value[:20]))
def test_odd_value_in_any_place_is_read_or_told(value: str, tmp_path: Path) -> None:
    lines = (ROOT / "latelabel.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        changed = [*lines[:number], re.sub(r": .*$", lambda _: f": {value}", line), *lines[number + 1 :]]
        with contextlib.suppress(ConfigurationError):
            repr(load("\n".join(changed), folder=tmp_path))


def test_variable_that_is_no_setting_is_told_with_a_likely_one() -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_settings(None, {"LATELABEL_WEB__PROT": "1", "LATELABEL_IDLE_AFTR": "1m", "LATELABEL_MODELS": "x"})
    assert [
        "LATELABEL_MODELS",
        "LATELABEL_IDLE_AFTR",
        "LATELABEL_WEB__PROT",
    ] == [mistake.path for mistake in raised.value.mistakes]
    assert raised.value.mistakes[2].remedy.endswith('did you mean "LATELABEL_WEB__PORT"?')


# --- secrets ---------------------------------------------------------------------------------------------------------

SECRETS = {
    "LATELABEL_REDIS__URL": "rediss://monitor:s3cret@redis.example:6380/1",
    "LATELABEL_KAFKA__SECURITY__PROTOCOL": "SASL_SSL",
    "LATELABEL_KAFKA__SECURITY__MECHANISM": "PLAIN",
    "LATELABEL_KAFKA__SECURITY__USERNAME": "monitor",
    "LATELABEL_KAFKA__SECURITY__PASSWORD": "s3cret",
}


def test_secrets_appear_neither_in_repr_nor_when_shown() -> None:
    settings = load_settings(None, SECRETS)
    assert "s3cret" == settings.kafka.security.password
    assert "s3cret" not in repr(settings) + resolved_yaml(settings) + settings.redis.address
    assert "url: rediss://monitor:***@redis.example:6380/1" in resolved_yaml(settings)


def test_secret_that_cannot_be_used_is_not_quoted(tmp_path: Path) -> None:
    text = "kafka: {security: {password: 53713371}}\nredis: {url: 'redis://:s3cret@a:b'}"
    told = "\n".join(mistakes(text, folder=tmp_path))
    assert "kafka.security.password" in told
    assert "redis.url" in told
    assert "s3cret" not in told
    assert "53713371" not in told


# --- what is written -------------------------------------------------------------------------------------------------


def test_what_is_shown_reads_as_the_same_configuration(tmp_path: Path) -> None:
    settings = load(CONTRACT_MODEL.replace("[fraud, ok]", '[fraud, ok, "1e3", "null", "0x1F"]'), folder=tmp_path)
    assert settings == load(resolved_yaml(settings), folder=tmp_path)


def test_every_setting_has_a_meaning_and_a_line_in_the_table() -> None:
    rows = list(settings_rows())
    assert len(rows) == len({row.path for row in rows})
    assert all(row.meaning.help.endswith((".", ":")) for row in rows)
    table = settings_table()
    assert [] == [row.path for row in rows if f"| `{row.path}` |" not in table]


def test_only_what_figures_depend_on_changes_the_configuration_hash() -> None:
    settings = Settings()
    assert config_hash(settings) == config_hash(dataclasses.replace(settings, kafka=KafkaSettings(group="other")))
    for change in ({"confidence_level": 0.9}, {"models": (MonitoredModel(name="a"),)}, {"allowed_lateness_ms": 1}):
        assert config_hash(settings) != config_hash(dataclasses.replace(settings, **change))


def test_order_of_models_does_not_change_the_configuration_hash() -> None:
    first, second = MonitoredModel(name="a"), MonitoredModel(name="b")
    assert config_hash(Settings(models=(first, second))) == config_hash(Settings(models=(second, first)))


@given(st.integers(min_value=0, max_value=10**14))
def test_duration_reads_as_it_was_written(milliseconds: int) -> None:
    assert milliseconds == duration_ms(duration_text(milliseconds))


@pytest.mark.parametrize("text", ["", "5", "m", "1m1h", "1s1s", "1.5h", "-1s", " 1s", "1S", "1s\n", "٣s"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration_ms(text)
