"""Control groups made on this machine, of whichever version it has; needs root, and groups that may be written."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

__all__ = ["RealGroup", "real_group"]

ROOT = Path("/sys/fs/cgroup")


@dataclasses.dataclass(frozen=True, slots=True)
class RealGroup:
    """One group; `folder` is where its files of a controller are."""

    folder: Path
    is_unified: bool

    def add(self, pid: int) -> None:
        """Move a process into it."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def limit_memory(self, limit_bytes: int) -> None:
        """So much and no more."""
        (self.folder / ("memory.max" if self.is_unified else "memory.limit_in_bytes")).write_text(str(limit_bytes))
        swap = self.folder / "memory.swap.max"
        if swap.exists():
            swap.write_text("0")

    def limit_cpu(self, *, quota_us: int) -> None:
        """Of each tenth of a second."""
        if self.is_unified:
            (self.folder / "cpu.max").write_text(f"{quota_us} 100000")
        else:
            (self.folder / "cpu.cfs_quota_us").write_text(str(quota_us))

    def working_set(self) -> int:
        """As its files say."""
        stat = self.table("memory.stat")
        current, inactive = (
            ("memory.current", "inactive_file") if self.is_unified else ("memory.usage_in_bytes", "total_inactive_file")
        )
        return int((self.folder / current).read_text()) - stat[inactive]

    def table(self, name: str) -> dict[str, int]:
        """A file of names and numbers."""
        lines = (line.split() for line in (self.folder / name).read_text().splitlines())
        return {line[0]: int(line[1]) for line in lines}


@contextlib.contextmanager
def real_group(controller: str) -> Iterator[RealGroup]:
    """A group with the memory or cpu controller, removed at the end; it fails where none can be made."""
    name = f"latelabel-{uuid.uuid4().hex[:8]}"
    is_unified = (ROOT / "cgroup.controllers").exists()
    folder = ROOT / name if is_unified else ROOT / controller / name
    try:
        if is_unified:
            (ROOT / "cgroup.subtree_control").write_text("+memory +cpu")
        folder.mkdir()
    except OSError as error:
        pytest.fail(f"needs root, and a control group that can be made at {folder}: {error}")
    yield RealGroup(folder, is_unified)
    if folder.exists():
        wait_until(lambda: not (folder / "cgroup.procs").read_text(), what="the group's last process to end")
        folder.rmdir()
