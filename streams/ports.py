"""What the core asks of the world. Each port has an adapter in `agents` and a fake that obeys the same tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from streams.alerting.record import AlertRecord
from streams.dead_letter_limits import Stop
from streams.ledger.founding import Charter
from streams.ledger.parts import CommitReply, Definitions, Gap, NameList, Part, ShardState, Source

__all__ = [
    "NEVER_DUE_MS",
    "AlertStore",
    "Cell",
    "ChangedWindow",
    "Claim",
    "Clock",
    "LastReport",
    "Ledger",
    "OutgoingMessage",
    "Publisher",
    "ReportStore",
    "Shape",
    "StopStore",
    "StoredAlerts",
    "WindowCells",
    "WindowQuery",
]

Cell = tuple[bytes, bytes, bytes]
"""Slice, label and prediction hashes of one count; with the label `SUM`, slice and name of a sum."""

WindowCells = Mapping[Cell, int]

NEVER_DUE_MS = 2**62
"""Of a report that no watermark makes due again."""


@dataclasses.dataclass(frozen=True, slots=True)
class ChangedWindow:
    """A base window whose counts changed since it was last published. `mark` names the change, so that
    clearing it does not clear a later one."""

    model_version: bytes
    start_ms: int
    mark: int


class Clock(Protocol):
    """Wall and monotonic time. Read in the shell only; the core is told the time."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""

    def monotonic_seconds(self) -> float:
        """Seconds that never go back."""


class Ledger(Protocol):
    """Counts, held records and source offsets that move together, in `shards` parts.

    Every method may block on the network and raises `streams.errors.TemporaryFailure` when the store does not answer or
    will not write now; nothing is known then about what was applied, and every call may be repeated.
    """

    @property
    def shards(self) -> int:
        """How many shards; fixed when the ledger is created."""

    async def charter(self) -> Charter | None:
        """What all shards have in common; None when there is no ledger."""

    async def found(self, charter: Charter) -> Charter:
        """Write the charter if there is none; returns the one that is stored. Idempotent."""

    async def finish_founding(self) -> None:
        """Say in the charter that every shard is there."""

    async def amend_charter(self, before: Charter, after: Charter) -> bool:
        """Write format, agreements, edition and proposal, unless somebody else has amended the charter since it was
        read. Returns whether they were written; not idempotent, so read it again where nothing is known."""

    async def hold_edition(self, shard: int, edition: int) -> int:
        """Have the shard take rows of predictions of this edition alone, unless it has a later one already. Returns the
        one that it has. Idempotent."""

    async def state(self, shard: int) -> ShardState | None:
        """The shard's offsets and watermarks; None when it belongs to no ledger.

        The ledger seen first is the one this object writes to from then on.
        """

    async def create(self, shard: int, *, ledger_id: str, sources: Mapping[Source, int]) -> None:
        """Register the shard with its start offsets, if it belongs to no ledger yet. Idempotent."""

    async def drop(self, shard: int, *, shards: int) -> None:
        """Remove the shard and everything in it, of a ledger of so many `shards`: perhaps another number than ours."""

    async def drop_charter(self) -> None:
        """Remove the charter and the registry of names."""

    async def commit(
        self, shard: int, parts: Sequence[Part], definitions: Definitions, *, forget_limit: int
    ) -> CommitReply:
        """Apply each part whose expected offset is the stored one, and forget up to `forget_limit` ids.

        Atomic. Idempotent by the compare-and-set: a repeated part is refused with its own end as `stored`. Rows of
        predictions are not taken if they were packed by another edition of the agreements than the shard has. Raises
        `streams.errors.PermanentFailure` when the shard no longer belongs to the ledger.
        """

    async def forget(self, shard: int, *, limit: int) -> int:
        """Forget overdue ids, up to `limit` of them, down to the watermark itself (a commit forgets in whole
        minutes), and drop windows that are no longer kept. Returns how many ids were visited."""

    async def admit(self, group: bytes, names: Sequence[bytes], *, limit: int, known: NameList) -> NameList:
        """Decide which names of a group get cells of their own: first come, up to `limit`. `known` is what some
        shard already uses and is admitted regardless. Decided once for all shards."""

    async def registry(self) -> Mapping[bytes, NameList]:
        """What was decided about every group."""

    async def name_lists(self, shard: int) -> Mapping[bytes, NameList]:
        """What the shard was told of such decisions, which its counts rest on: every group's list that came with a
        commit. Never ahead of the registry, unless that has lost its tail."""

    async def changed_windows(self, shard: int) -> Sequence[ChangedWindow]:
        """Base windows changed since they were last cleared, oldest start first."""

    async def clear_changed(self, shard: int, windows: Sequence[ChangedWindow]) -> None:
        """Forget the marks, each only if its window has not changed since."""

    async def note_reported(self, shard: int, watermarks: Mapping[bytes, int]) -> None:
        """Note, by model version, the watermark at which all its reports that were due have been published.

        Windows are dropped only behind it, so that a watermark that leaps takes none before its final report.
        """

    async def cells(self, shard: int, windows: Sequence[tuple[bytes, int]]) -> Sequence[WindowCells]:
        """The counts of (model version, base window start) pairs, in order."""

    async def sums(self, groups: Sequence[Sequence[tuple[bytes, int]]]) -> Sequence[WindowCells]:
        """The counts of each group of such pairs together, over all shards, without zeros."""

    async def windows(self, shard: int) -> Sequence[tuple[bytes, int]]:
        """Every (model version, base window start) that has counts."""

    async def names(self, shard: int) -> Mapping[bytes, str]:
        """The whole table hash -> name."""

    async def gaps(self, shard: int) -> Sequence[Gap]:
        """What was lost before it could be read, in the order of finding."""

    async def fates(self, shard: int) -> Mapping[str, int]:
        """`predictions:<fate>`, `labels:<fate>`, and beside the fates `<role>:read` and `<role>:lost`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMessage:
    """A record to be written to Kafka; `timestamp_ms` None is the moment of sending, `partition` None lets the
    key decide."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int | None = None
    partition: int | None = None


class Publisher(Protocol):
    """Writes records for others to read. Not idempotent: what is sent twice stands there twice."""

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        """Write all messages; return when every one is acknowledged. Those of one key stay in order.

        Raises:
            TemporaryFailure: some may not have been written; send all of them again.
            PermanentFailure: one is too large, or writing to its topic is not allowed.
        """


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LastReport:
    """What was last published under a key, and when its window has to be looked at again.

    `published_ms` is wall time, `watermark_ms` the watermark it was made at, `due_ms` the watermark from
    which its status changes or it need not be kept. `contested`: another evaluator may have published
    something else under this key, so its content is to be published once more.
    """

    key: bytes
    value: bytes
    revision: int
    published_ms: int
    watermark_ms: int
    due_ms: int
    contested: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The answer to a claim: whether nobody else claimed since the same evaluator did, the largest
    watermark a report was made at, the keys of the reports that are due, and how often evaluators have saved something
    new: less than the last one was told, if the store has gone back since."""

    undisturbed: bool
    watermark_ms: int
    due: tuple[bytes, ...] = ()
    saves: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What reports have in common that stand side by side: their kind, and the size of their windows."""

    kind: str
    size_seconds: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WindowQuery:
    """Reports of one shape on one model version, newest window first.

    Windows start in `[since_ms, until_ms)`; None does not bound. `most` reports are found at most. `of_segments` asks
    for the reports about segments instead of those about all predictions.
    """

    model_version: bytes
    shape: Shape
    since_ms: int | None = None
    until_ms: int | None = None
    most: int
    of_segments: bool = False


class ReportStore(Protocol):
    """The last report under each key, by model version. Survives restarts.

    One evaluator at a time may save for a model version: the last one that claimed it. Every method may
    block on the network and raises `TemporaryFailure` when the store does not answer; every call may be repeated.
    """

    async def model_versions(self) -> Mapping[bytes, str]:
        """Hash and name of every model version that has reports."""

    async def keys(self, model_version: bytes) -> Sequence[bytes]:
        """The keys of all its reports."""

    async def shapes(self, model_versions: Sequence[bytes]) -> Sequence[Collection[Shape]]:
        """The shapes that each model version ever had reports of."""

    async def find(self, queries: Sequence[WindowQuery]) -> Sequence[Sequence[bytes]]:
        """The keys that answer each query. A key may stand there for a moment before its report does."""

    async def changes(self) -> int:
        """A number that is another one after anything has been saved or forgotten."""

    async def claim(self, model_versions: Sequence[bytes], *, evaluator: bytes, watermark_ms: int) -> Sequence[Claim]:
        """Make `evaluator` the one that may save, and find the reports due at the watermark, earliest first."""

    async def count_due(self, model_versions: Sequence[bytes], *, watermark_ms: int) -> int:
        """How many reports of these model versions are due at the watermark, without claiming anything."""

    async def last(self, wanted: Mapping[bytes, Sequence[bytes]]) -> Mapping[bytes, LastReport]:
        """The last reports of the keys wanted of each model version; keys without one are left out."""

    async def save(
        self,
        model_version: bytes,
        name: str,
        reports: Sequence[LastReport],
        *,
        evaluator: bytes,
        watermark_ms: int,
    ) -> int:
        """Keep what was published, and the watermark if it is the largest so far.

        Returns how often evaluators have saved something new by now, the first time anything; 0 if another evaluator
        has claimed the model version since, or has published a higher revision: those reports are then contested, and
        due at once. `name` is for `model_versions`.
        """

    async def keep(self, model_version: bytes, name: str | None, reports: Sequence[LastReport]) -> None:
        """Keep reports that only one worker publishes, without a claim, and that are never due.

        Of those under one key the highest revision holds. Without a name they are not about a model, and
        `model_versions` and `changes` do not tell of them.
        """

    async def forget(self, model_version: bytes, keys: Sequence[bytes]) -> None:
        """Drop reports that need not be kept any longer."""

    async def reference(self, model_version: bytes, name: str) -> bytes | None:
        """What figures of a model version are compared with, as it was kept; None if nothing is."""

    async def keep_reference(self, model_version: bytes, name: str, content: bytes) -> bytes:
        """Keep a reference for good unless one of that name is kept, and return what is kept."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredAlerts:
    """The alerts of one model version by their names, and the reports that no rule has looked at yet.

    `version` names this state of the alerts for the compare-and-set. `news` holds revisions by report key.
    """

    version: int = 0
    alerts: Mapping[str, AlertRecord] = dataclasses.field(default_factory=dict)
    news: Mapping[bytes, int] = dataclasses.field(default_factory=dict)


class AlertStore(Protocol):
    """The state of every alert, by model version, and which reports are news to the rules. Survives restarts.

    Reports become news when a `ReportStore` saves a higher revision. Every method may block on the network and raises
    `TemporaryFailure` when the store does not answer; every call may be repeated.
    """

    async def load(self, model_versions: Sequence[bytes]) -> Sequence[StoredAlerts]:
        """What is stored of each model version, in order."""

    async def look(self, model_versions: Sequence[bytes]) -> Sequence[StoredAlerts]:
        """As `load`, without the alerts: cheap enough for every round."""

    async def save(
        self,
        model_version: bytes,
        changes: Mapping[str, AlertRecord | None],
        *,
        expected: int,
        judged: Mapping[bytes, int],
    ) -> bool:
        """Change alerts (None drops one) and take the judged revisions from the news, if the version is as expected.

        The version rises by one. False if another evaluator has changed it, or a repeated call has been applied; the
        caller loads again and sees which.
        """

    async def every_alert(self) -> Sequence[AlertRecord]:
        """All that is stored, of every model version."""


class StopStore(Protocol):
    """Which partitions are stopped by the limits of dead letters, and what an operator lets through.

    Survives restarts; the owner of a partition writes its stop, anybody may accept. Every method may block on the
    network and raises `TemporaryFailure` when the store does not answer; every call may be repeated.
    """

    async def stops(self) -> Mapping[Source, Stop]:
        """All stopped partitions."""

    async def stop(self, source: Source, stop: Stop) -> None:
        """Say that a partition is stopped, or was tried again without success."""

    async def release(self, source: Source) -> None:
        """Say that a partition is not stopped any longer."""

    async def forget(self, source: Source) -> None:
        """Drop all that is known of a partition, because its offsets are of another log now."""

    async def accept(self, source: Source, *, until: int) -> None:
        """Let all records of a partition before an offset through."""

    async def accepted_until(self, source: Source) -> int:
        """The offset before which all records are let through; 0 if nobody ever accepted any."""
