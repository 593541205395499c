"""The alert store in Redis, beside the reports of each model version.

Keys share the hash tag of its reports, `{<prefix>:reports:<hash in hex>}` (`agents.redis_reports`), followed by

    :alerts    hash         name of an alert -> JSON of its `AlertRecord`
    :version   string       rises with every change of them
    :news      sorted set   report key by the revision that no rule has looked at yet; written with the report
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from agents.redis_connection import RedisClient, execute, redis_failures
from agents.redis_script import RedisScript
from agents.redis_store import RedisStore
from streams.alerting.record import MONITOR, AlertRecord
from streams.ports import StoredAlerts

__all__ = ["RedisAlerts"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AlertRecord).decode


class RedisAlerts(RedisStore):
    """The port `AlertStore` on Redis 7.0 or Valkey, alone or as a cluster."""

    def __init__(self, client: RedisClient, *, address: str, prefix: str) -> None:
        super().__init__(client, address=address, prefix=prefix)
        self._save = RedisScript("alerts_save")

    async def load(self, model_versions: Sequence[bytes]) -> Sequence[StoredAlerts]:
        looked = await self.look(model_versions)
        if not model_versions:
            return looked
        async with redis_failures(self._address):
            # The version first: what changes in between fails the compare-and-set, and is read again.
            pipeline = self._client.pipeline(transaction=False)
            for model_version in model_versions:
                pipeline.hgetall(f"{self._key(model_version)}:alerts")
            replies = await execute(pipeline)
        return [
            StoredAlerts(
                version=at.version,
                news=at.news,
                alerts={name.decode(): _decode(packed) for name, packed in alerts.items()},
            )
            for at, alerts in zip(looked, replies, strict=True)
        ]

    async def look(self, model_versions: Sequence[bytes]) -> Sequence[StoredAlerts]:
        if not model_versions:
            return []
        async with redis_failures(self._address):
            pipeline = self._client.pipeline(transaction=False)
            for model_version in model_versions:
                pipeline.get(f"{self._key(model_version)}:version")
                pipeline.zrange(f"{self._key(model_version)}:news", 0, -1, withscores=True)
            replies = await execute(pipeline)
        return [
            StoredAlerts(version=int(version or 0), news={key: int(revision) for key, revision in news})
            for version, news in zip(replies[::2], replies[1::2], strict=True)
        ]

    async def save(
        self,
        model_version: bytes,
        changes: Mapping[str, AlertRecord | None],
        *,
        expected: int,
        judged: Mapping[bytes, int],
    ) -> bool:
        key = self._key(model_version)
        keys = [f"{key}:alerts", f"{key}:version", f"{key}:news"]
        arguments: list[str | bytes | int] = [expected, len(changes)]
        for name, record in changes.items():
            arguments += (name, b"" if record is None else _encode(record))
        for report, revision in judged.items():
            arguments += (report, revision)
        async with redis_failures(self._address):
            saved = bool(await self._save.run(self._client, keys, *arguments))
            if saved and changes:
                # As `agents.redis_reports` does, for whoever shows both.
                await self._client.incrby(f"{{{self._prefix}}}:reports:changes", 1)
        return saved

    async def every_alert(self) -> Sequence[AlertRecord]:
        async with redis_failures(self._address):
            model_versions = [MONITOR, *await self._client.hgetall(f"{self._prefix}:reported")]
            pipeline = self._client.pipeline(transaction=False)
            for model_version in model_versions:
                pipeline.hvals(f"{self._key(model_version)}:alerts")
            replies = await execute(pipeline)
        return [_decode(packed) for records in replies for packed in records]

    def _key(self, model_version: bytes) -> str:
        return f"{{{self._prefix}:reports:{model_version.hex()}}}"
