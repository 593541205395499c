"""The configuration: every setting with its default, reason and meaning, and where it is found.

    --config FILE  >  LATELABEL_CONFIG  >  ./latelabel.yaml  >  defaults alone
    on top of it:  LATELABEL_KAFKA__BROKERS=a:9092,b:9092, LATELABEL_EVALUATION_INTERVAL=5s, ...

The only module that reads the environment. Durations are whole milliseconds here and Prometheus' in the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from agents.durations import duration_text
from agents.explain_settings import ExplainerSettings
from agents.kafka_settings import KafkaSettings, SecuritySettings, TopicSettings
from agents.log_settings import CONTAINER_VARIABLE, LogSettings
from agents.model_settings import MOST_SIGNALS, model_section
from agents.receiver_settings import ReceiverSettings
from agents.redis_url import RedisUrl
from agents.settings_fields import (
    ENVIRONMENT_PREFIX,
    Applies,
    Conflict,
    Overrides,
    read_section,
    reads,
    section,
    setting,
)
from agents.settings_file import LARGEST_BYTES, ConfigurationError, Found, Mistake, Unreadable, parse
from agents.settings_readers import duration, each, file_name, flag, number, optional, text, whole_number
from streams.errors import PermanentFailure
from streams.ledger.join import MAX_LABELS, MAX_LABELS_OF_RANKINGS
from streams.monitored_model import DAY_MS, HOUR_MS, MINUTE_MS, MonitoredModel, Task

__all__ = [
    "ConfigurationError",
    "DeadLetterSettings",
    "KafkaSettings",
    "LimitSettings",
    "LogSettings",
    "Mistake",
    "ReceiverSettings",
    "RedisSettings",
    "ResourceSettings",
    "SecuritySettings",
    "Settings",
    "TopicSettings",
    "WebSettings",
    "config_hash",
    "configuration_file",
    "environment",
    "load_settings",
    "read_settings",
]

CONFIG_VARIABLE = f"{ENVIRONMENT_PREFIX}CONFIG"
DEFAULT_FILE = Path("latelabel.yaml")
SECOND_MS = 1000
MOST_MODELS = 100_000
PAGE_URL = r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?"


@reads({"type": "string", "minLength": 1})
def _redis_url(found: Found) -> str:
    url = found.text
    if not url:
        found.fail("a URL such as redis://localhost:6379/0")
    try:
        RedisUrl.parse(url)
    except PermanentFailure as failure:
        # Not quoted: a password may stand in any part of it.
        found.complain("a URL that cannot be used", f"{failure}")
        raise Unreadable from failure
    return url


_models = each(model_section, "a list of models", most=MOST_MODELS, name="name")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """Where the ledger is."""

    url: str = setting(
        "redis://localhost:6379/0",
        _redis_url,
        "`redis://`, `rediss://` (TLS), `unix://`, `redis+cluster://host:port,host:port` or `rediss+cluster://`; with"
        " `?password_file=FILE` the password stands in a file.",
        secret=True,
    )
    prefix: str = setting(
        "latelabel",
        text("letters, digits, dots, dashes, colons and underscores, at most 64", pattern=r"[\w.:-]{1,64}"),
        "First part of every key, so that two ledgers can share one Redis.",
        Applies.NEW_LEDGER,
    )
    shards: int = setting(
        8,
        whole_number(1, 1024),
        "Parts of the ledger, by request id: so many commits run beside each other, and on a cluster so many"
        " nodes share the load.",
        Applies.NEW_LEDGER,
    )

    @property
    def address(self) -> str:
        """The URL without secrets, for messages."""
        return RedisUrl.parse(self.url).address


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSettings:
    """When a source partition is stopped instead of being emptied into the dead letters."""

    max_invalid_ratio: float = setting(
        0.5, number(0, 1), "Largest share of bad records among a partition's last 1,000: a broken producer stops here."
    )
    max_consecutive: int = setting(100, whole_number(1, 1_000_000), "Most bad records in a row in one partition.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """How many names of a kind get cells of their own; further ones share `__other__`."""

    models: int = setting(1000, whole_number(1, 1_000_000), "Model versions in all.", Applies.LATER_RECORDS)
    classes: int = setting(200, whole_number(2, 10_000), "Classes of one model.", Applies.LATER_RECORDS)
    segment_values: int = setting(200, whole_number(1, 10_000), "Values of one segment.", Applies.LATER_RECORDS)
    signals: int = setting(
        20,
        whole_number(1, MOST_SIGNALS),
        "Signals of one model. Values of further ones are only counted, as `left_out`.",
        Applies.LATER_RECORDS,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSettings:
    """How the samples of probes are judged."""

    leak_block_ms: int = setting(
        MINUTE_MS, duration(SECOND_MS, HOUR_MS), "Shortest block of the leak rule: the least memory of each is looked"
        " at, so it has to span the collections of garbage. A verdict needs 20 of them.",
        Applies.RESTART,
    )  # fmt: skip
    targets: int = setting(
        1000, whole_number(1, 100_000), "Most targets, by model version, whose samples are counted.", Applies.RESTART
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The worker's HTTP server: page, API, health, Prometheus metrics. A worker with `--until-caught-up` has none."""

    host: str = setting("127.0.0.1", text("a host name or address"), "Address to listen on; local by default, "
                        "since without `token_file` whoever reaches it may read.")  # fmt: skip
    port: int = setting(6066, whole_number(0, 65535), "Port to listen on. 0, or 6066 where it is in use: any that"
                        " is free; the log says which.")  # fmt: skip
    external_url: str | None = setting(
        None,
        optional(
            text("http:// or https:// with a host, without a path, such as https://latelabel.example", pattern=PAGE_URL)
        ),
        "Where people find the page if a proxy or an ingress stands before it: alerts link there (`generatorURL`). No"
        " path, as the page is served at the root. None: `host`, or this machine's name, and `port`.",
    )
    token_file: Path | None = setting(
        None,
        optional(file_name),
        "A file that holds the bearer token callers must show; `/healthz` and"
        " `/readyz` need none. None: no token is asked for, and page and API are served only if `host` is local or"
        " `open` is true.",
    )
    open: bool = setting(
        False,
        flag,
        "Serve page and API without a token although `host` is not local: whoever reaches the port reads everything.",
    )
    records: bool = setting(
        True,
        flag,
        "Whether page and API show single records to whoever may read: inputs of explained predictions, as far as"
        " `explain.shown` lets them out, and dead letters as they came. `false`: figures alone.",
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be configured; `Settings()` is what holds without a file."""

    kafka: KafkaSettings = section(KafkaSettings, "Kafka.")
    redis: RedisSettings = section(RedisSettings, "The ledger's store.")
    evaluation_interval_ms: int = setting(
        10 * SECOND_MS, duration(10, DAY_MS), "Between two looks at changed windows, and the least time between two"
        " revisions of a young window's report. Shorter shows figures sooner and costs CPU.", Applies.AT_ONCE,
    )  # fmt: skip
    startup_timeout_ms: int = setting(
        2 * MINUTE_MS, duration(0, DAY_MS), "How long a starting worker waits for Kafka and Redis before it gives up."
    )
    idle_after_ms: int = setting(
        MINUTE_MS, duration(SECOND_MS, DAY_MS), "A partition read to its end and silent for so long no longer holds"
        " windows open.",
    )  # fmt: skip
    allowed_lateness_ms: int = setting(
        10 * MINUTE_MS, duration(0), "How far event times within one partition may be out of order. Windows close,"
        " and memory is freed, so much later.",
    )  # fmt: skip
    max_future_skew_ms: int = setting(
        5 * MINUTE_MS, duration(0, 366 * DAY_MS), "How far an event time may be ahead of the record's Kafka timestamp"
        " and of the reader's clock; beyond it the record is a dead letter.",
    )  # fmt: skip
    max_read_ahead_ms: int = setting(
        HOUR_MS, duration(1), "A partition whose event times are further ahead of the slowest one's is paused, so that"
        " catching up needs little memory. More than `allowed_lateness`.",
    )  # fmt: skip
    confidence_level: float = setting(0.95, number(0.5, 0.9999), "Of the intervals in reports.", Applies.AT_ONCE)
    keep_windows_ms: int = setting(
        30 * DAY_MS,
        duration(0),
        "How long counts and last reports stay in Redis after a window is final. At least the largest report window.",
    )
    dead_letters: DeadLetterSettings = section(DeadLetterSettings, "When a partition full of bad records is stopped.")
    limits: LimitSettings = section(LimitSettings, "Bounds of what is counted apart.")
    resources: ResourceSettings = section(ResourceSettings, "What models take.")
    explainer: ExplainerSettings = section(ExplainerSettings, "The processes that explain predictions.")
    web: WebSettings = section(WebSettings, "The worker's HTTP server.")
    receivers: ReceiverSettings = section(ReceiverSettings, "Where `latelabel alerts forward` sends alerts.")
    log: LogSettings = section(LogSettings, "What is logged, and how.")
    models: tuple[MonitoredModel, ...] = setting(
        (), _models, "Models that need other than the defaults; one that is not listed is monitored as multiclass.",
        Applies.LATER_RECORDS,
    )  # fmt: skip
    rule_files: tuple[Path, ...] = setting(
        (), each(file_name, 'a list of files such as ["rules/*.yaml"]'), "Alert rules; patterns are allowed.",
        Applies.AT_ONCE,
    )  # fmt: skip

    def model(self, name: str) -> MonitoredModel:
        """The settings of a model; all defaults if it is not listed."""
        for model in self.models:
            if model.name == name:
                return model
        return MonitoredModel(name=name)

    @property
    def every_model(self) -> tuple[MonitoredModel, ...]:
        """The listed models and, nameless, the one that is not listed."""
        return (*self.models, MonitoredModel(name=""))

    @property
    def label_hold_ms(self) -> int:
        """How long after its own time a label may meet a prediction of some model."""
        return max(model.allowed_skew_ms for model in self.every_model)

    @property
    def max_labels(self) -> int:
        """How many labels of one id are kept."""
        has_rankings = any(model.task is Task.RANKING for model in self.models)
        return MAX_LABELS_OF_RANKINGS if has_rankings else MAX_LABELS

    @property
    def takes_lists(self) -> bool:
        """Whether predictions of some model are lists."""
        return any(model.task.takes_lists for model in self.models)

    @property
    def largest_horizon_ms(self) -> int:
        """The largest label horizon or allowed skew of any model."""
        return max(max(model.label_horizon_ms, model.allowed_skew_ms) for model in self.every_model)

    def conflicts(self) -> Iterator[Conflict]:
        """What cannot hold together, although each value could."""
        if self.max_read_ahead_ms <= self.allowed_lateness_ms:
            yield Conflict(
                ("max_read_ahead", "allowed_lateness"),
                "max_read_ahead to be longer than allowed_lateness, else no partition could ever be read on",
            )
        largest_ms = max(size_ms for model in self.every_model for size_ms in model.report_windows_ms)
        if self.keep_windows_ms < largest_ms:
            yield Conflict(
                ("keep_windows",),
                f"{duration_text(largest_ms)} or more, the largest report window, else its first counts would leave"
                " before it is final",
            )


def environment() -> Mapping[str, str]:
    """The environment of this process."""
    return os.environ


def configuration_file(given: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: as given, as `LATELABEL_CONFIG` says, or `./latelabel.yaml`; None if there is none."""
    if given is not None:
        return given
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE])
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the configuration; arguments as of `read_settings`.

    Raises: ConfigurationError with every mistake of file and environment.
    """
    settings, error = read_settings(path, environ)
    if error is not None:
        raise error
    return settings


def read_settings(path: Path | None, environ: Mapping[str, str]) -> tuple[Settings, ConfigurationError | None]:
    """Read as much of the configuration as can be read.

    Args:
        path: the file given on the command line; None to search as described above.
        environ: the environment, `environment()`.

    Returns: the settings, in which what cannot be read has its default, and every mistake of file and environment.

    Raises: ConfigurationError if there is no such file, or it is not YAML.
    """
    file = configuration_file(path, environ)
    mistakes: list[Mistake] = []
    overrides = Overrides(environ, mistakes, reserved=(CONFIG_VARIABLE, CONTAINER_VARIABLE))
    found = _read(file, mistakes) if file is not None else None
    settings = read_section(Settings, found, mistakes, overrides)
    overrides.complain_about_unused()
    return settings, ConfigurationError(mistakes, file=str(file)) if mistakes else None


def _read(file: Path, mistakes: list[Mistake]) -> Found | None:
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_BYTES + 1)
    except OSError as error:
        found = f"no readable file ({error.strerror})"
        mistake = Mistake(None, str(file), found, "expected the configuration; see --config and LATELABEL_CONFIG")
        raise ConfigurationError([mistake]) from error
    root = parse(content, file=str(file))
    return None if root is None else Found(root, "", mistakes, file.parent)


def config_hash(settings: Settings) -> str:
    """Names the settings that figures depend on: 12 hexadecimal digits of a SHA-256."""
    relevant = {
        "allowed_lateness_ms": settings.allowed_lateness_ms,
        "confidence_level": settings.confidence_level,
        "limits": settings.limits,
        "max_future_skew_ms": settings.max_future_skew_ms,
        # References decide about alerts, not about figures; explanations tell why, not how many.
        "models": [
            {
                name: value
                for name, value in dataclasses.asdict(model).items()
                if name not in ("references", "explanation")
            }
            for model in sorted(settings.models, key=lambda model: model.name)
        ],
    }
    return hashlib.sha256(orjson.dumps(relevant, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
