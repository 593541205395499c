"""A control group of Linux, of version 2 or 1: memory, its limit, CPU, throttling, pressure and kills.

psutil tells of the host also inside a container; these files tell of the container. A group's limit is the least of its
own and its ancestors'. The working set is what the limit is held against: memory in use less the files that the kernel
can drop at once, as cAdvisor has it.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

from agents.probe.readings import CpuUse, Reading, Trouble, TroubleReason
from schemas.resource_sample import Pressure

__all__ = ["Cgroup", "cgroup_at", "cgroup_of"]

PROC = Path("/proc")
ROOT = Path("/sys/fs/cgroup")
_UNLIMITED_BYTES = 1 << 60
"""Version 1 writes no limit as the largest number of pages."""
_Number = TypeVar("_Number", int, float)
_MICROSECONDS = 1e-6
_NANOSECONDS = 1e-9


@dataclasses.dataclass(frozen=True, slots=True)
class Cgroup:
    """The folders of one group.

    `unified` is that of version 2 if it has the memory or CPU of the group, `memory`, `cpu` and `cpuacct` are those of
    version 1. `root` bounds the ancestors that are looked at.
    """

    unified: Path | None = None
    memory: Path | None = None
    cpu: Path | None = None
    cpuacct: Path | None = None
    root: Path = ROOT

    def read(self) -> Reading:
        """Look once.

        Raises: Trouble if the group is gone.
        """
        folders = [folder for folder in (self.unified, self.memory, self.cpu) if folder is not None]
        if not any(folder.is_dir() for folder in folders):
            gone = ", ".join(map(str, folders))
            raise Trouble(TroubleReason.NO_CGROUP, f"the control group {gone} is gone")
        return self._read_unified(self.unified) if self.unified is not None else self._read_version_1()

    def pids(self) -> list[int]:
        """The processes of the group, those of its descendants included."""
        folder = self.unified or self.memory or self.cpu
        found: set[int] = set()
        for file in [] if folder is None else folder.rglob("cgroup.procs"):
            found.update(int(line) for line in (_text(file) or "").split())
        return sorted(found)

    def _read_unified(self, folder: Path) -> Reading:
        memory, cpu = _table(folder / "memory.stat"), _table(folder / "cpu.stat")
        current = _number(folder / "memory.current")
        used = cpu.get("usage_usec")
        return Reading(
            cpu=None if used is None else CpuUse({str(folder): used * _MICROSECONDS}),
            cpu_limit_cores=_least(_quota(each / "cpu.max") for each in self._line(folder)),
            periods=cpu.get("nr_periods"),
            throttled=cpu.get("nr_throttled"),
            rss_bytes=memory.get("anon"),
            working_set_bytes=_working_set(current, memory.get("inactive_file")),
            memory_limit_bytes=_least(_number(each / "memory.max") for each in self._line(folder)),
            oom_kills=_table(folder / "memory.events").get("oom_kill"),
            pressure=_pressure(folder),
        )

    def _read_version_1(self) -> Reading:
        memory: Mapping[str, int] = {}
        current = kills = None
        if self.memory is not None:
            memory = _table(self.memory / "memory.stat")
            current = _number(self.memory / "memory.usage_in_bytes")
            kills = _table(self.memory / "memory.oom_control").get("oom_kill")
        limit = memory.get("hierarchical_memory_limit")
        cpu = {} if self.cpu is None else _table(self.cpu / "cpu.stat")
        used = None if self.cpuacct is None else _number(self.cpuacct / "cpuacct.usage")
        return Reading(
            cpu=None if used is None else CpuUse({str(self.cpuacct): used * _NANOSECONDS}),
            cpu_limit_cores=None if self.cpu is None else _least(_quota_1(each) for each in self._line(self.cpu)),
            periods=cpu.get("nr_periods"),
            throttled=cpu.get("nr_throttled"),
            rss_bytes=memory.get("total_rss"),
            working_set_bytes=_working_set(current, memory.get("total_inactive_file")),
            memory_limit_bytes=None if limit is None or limit >= _UNLIMITED_BYTES else limit,
            oom_kills=kills,
        )

    def _line(self, folder: Path) -> Iterator[Path]:
        """A folder and its ancestors up to the root, which in a container is the folder itself."""
        yield folder
        while folder != self.root and folder.is_relative_to(self.root):
            folder = folder.parent
            yield folder


def cgroup_of(pid: int, *, proc: Path = PROC) -> Cgroup | None:
    """The group of a process; None on a bare host, or where its files are not to be seen.

    A process that stands in the topmost group has none of its own, unless that is a container's.
    """
    memberships = _memberships(_text(proc / str(pid) / "cgroup") or "")
    mounts = list(_mounts(_text(proc / "self" / "mountinfo") or ""))
    folders: dict[str, Path] = {}
    top_unified = ROOT
    for controllers, top, point in mounts:
        for controller in controllers:
            if controller in memberships:
                folder = _inside(memberships[controller], top, point)
                if folder is not None and controller not in folders:
                    folders[controller] = folder
                    top_unified = point if controller == "" else top_unified
    unified = folders.get("")
    if unified is not None and (unified / "memory.current").exists():
        # The topmost group of a host has no such file.
        return Cgroup(unified=unified, root=top_unified)
    version_1 = {name: folder for name, folder in folders.items() if name and _is_bounded(folder, memberships[name])}
    if not version_1:
        return None
    return Cgroup(memory=version_1.get("memory"), cpu=version_1.get("cpu"), cpuacct=version_1.get("cpuacct"))


def cgroup_at(path: Path, *, root: Path = ROOT) -> Cgroup:
    """The group of a path: a folder of version 2, or one below a controller of version 1, or relative to either.

    Raises: Trouble if there is no such group.
    """
    relative = path.relative_to(root) if path.is_relative_to(root) else Path(*path.parts[path.is_absolute() :])
    parts = relative.parts
    controllers = ("memory", "cpu", "cpuacct", "cpu,cpuacct")
    if parts and parts[0] in (*controllers, "unified"):
        relative = Path(*parts[1:])
    for top in (root, root / "unified"):
        if (top / relative / "memory.current").exists():
            return Cgroup(unified=top / relative, root=top)
    found = {name: root / name / relative for name in controllers if (root / name / relative).is_dir()}
    if not found or relative == Path():
        raise Trouble(TroubleReason.NO_CGROUP, f"there is no control group {path} below {root}")
    both = found.get("cpu,cpuacct")
    return Cgroup(memory=found.get("memory"), cpu=found.get("cpu", both), cpuacct=found.get("cpuacct", both), root=root)


def _is_bounded(folder: Path, membership: str) -> bool:
    """Whether a group of version 1 is one of its own. In a container the topmost one is, which its limit shows."""
    if membership != "/":
        return True
    limit = _table(folder / "memory.stat").get("hierarchical_memory_limit")
    return limit is not None and limit < _UNLIMITED_BYTES


def _memberships(text: str) -> dict[str, str]:
    """Path by controller; that of version 2 has no name."""
    found = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def _mounts(text: str) -> Iterator[tuple[list[str], str, Path]]:
    """Controllers, the group that is the top, and where it is mounted."""
    for line in text.splitlines():
        before, _, behind = line.partition(" - ")
        fields, kinds = before.split(), behind.split()
        if kinds and kinds[0] == "cgroup2":
            yield [""], fields[3], Path(fields[4])
        elif kinds and kinds[0] == "cgroup":
            yield kinds[-1].split(","), fields[3], Path(fields[4])


def _inside(membership: str, top: str, point: Path) -> Path | None:
    """Where a group's files are, if they can be seen from here."""
    path = PurePosixPath(membership)
    if path.is_relative_to(top):
        folder = point / path.relative_to(top)
    elif membership == "/":
        folder = point
    else:
        return None
    return folder if ".." not in folder.parts and folder.is_dir() else None


def _text(file: Path) -> str | None:
    """A file's content; None if it is not there or may not be read: a group may vanish between two files."""
    try:
        return file.read_text()
    except OSError:
        return None


def _number(file: Path) -> int | None:
    text = (_text(file) or "").strip()
    return int(text) if text.isdecimal() else None


def _table(file: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    rows = (line.split() for line in (_text(file) or "").splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}


def _quota(file: Path) -> float | None:
    fields = (_text(file) or "").split()
    return int(fields[0]) / int(fields[1]) if len(fields) == 2 and fields[0].isdecimal() else None


def _quota_1(folder: Path) -> float | None:
    quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota / period if quota and period else None


def _least(values: Iterator[_Number | None]) -> _Number | None:
    return min((value for value in values if value is not None), default=None)


def _working_set(current: int | None, inactive: int | None) -> int | None:
    return None if current is None or inactive is None else max(0, current - inactive)


def _pressure(folder: Path) -> Pressure | None:
    cpu, memory, io = (_some_ratio(folder / f"{name}.pressure") for name in ("cpu", "memory", "io"))
    if cpu is memory is io is None:
        return None
    return Pressure(cpu_ratio=cpu, memory_ratio=memory, io_ratio=io)


def _some_ratio(file: Path) -> float | None:
    """`some avg10=1.53 avg60=...`, in percent."""
    for line in (_text(file) or "").splitlines():
        if line.startswith("some avg10="):
            return min(1.0, round(float(line.split()[1].removeprefix("avg10=")) / 100, 6))
    return None
