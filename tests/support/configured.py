"""An installation with a file beside its environment, for tests that change it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.support.topics import read_topic
from tests.support.traffic import Traffic, produce
from tests.support.workers import Installation

__all__ = ["Configured"]


class Configured(Installation):
    """An installation with a file beside its environment."""

    port = 0

    @classmethod
    def within(cls, folder: Path, *, brokers: str, redis_url: str) -> Self:
        """A new one whose file and working folder lie in a folder, with topics of its own."""
        (folder / "work").mkdir()
        installation = cls(folder / "work", brokers=brokers, redis_url=redis_url)
        installation.create_topics()
        return installation

    @property
    def environment(self) -> Mapping[str, str]:
        names = {name: value for name, value in super().environment.items() if name != "LATELABEL_EVALUATION_INTERVAL"}
        return {**names, "LATELABEL_CONFIG": str(self.file), "LATELABEL_WEB__PORT": str(self.port)}

    @property
    def file(self) -> Path:
        return self.folder.parent / f"{self.name}.yaml"

    def configure(self, models: str, interval: str = "200ms", others: str = "") -> None:
        self.file.write_text(f"evaluation_interval: {interval}\nmodels: [{models}]\n{others}\n")

    def send(self, traffic: Traffic) -> None:
        for role, records in (("predictions", traffic.predictions), ("labels", traffic.labels)):
            produce(self.brokers, self.topics[role], records, partitions=self.partitions)

    def newest_reports(self) -> list[dict[str, Any]]:
        """On quality."""
        newest: dict[bytes | None, dict[str, Any]] = {}
        for key, value in read_topic(self.brokers, self.topics["metrics"]):
            newest[key] = json.loads(value or b"{}")
        return [report for report in newest.values() if report["kind"] == "quality"]

    async def records_read(self) -> int:
        _, fates = await self.counts()
        return fates.get("predictions:read", 0) + fates.get("labels:read", 0)

    @property
    def charter(self) -> str:
        return "{" + self.name + "}:charter"
