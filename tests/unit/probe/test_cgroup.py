"""Control groups of both versions from recorded files: what they tell, where they are found, and when they vanish."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agents.probe.cgroup import cgroup_at, cgroup_of
from agents.probe.readings import CpuUse, Trouble, TroubleReason
from schemas.resource_sample import Pressure
from tests.support.cgroup_files import UNIFIED, VERSION_1, write_files

SCOPE = "kubepods.slice/pod1.slice/cri.scope"


@pytest.fixture
def unified(tmp_path: Path) -> Path:
    return write_files(tmp_path / "cgroup", UNIFIED)


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    return write_files(tmp_path / "cgroup", VERSION_1)


def proc(folder: Path, *, memberships: str, mounts: str) -> Path:
    return write_files(folder / "proc", {"4242/cgroup": memberships, "self/mountinfo": mounts})


def test_version_2_is_read_with_the_least_limit_of_the_line(unified: Path) -> None:
    reading = cgroup_at(Path(SCOPE), root=unified).read()
    assert 901775360 - 56519104 == reading.working_set_bytes
    assert 2147483648 == reading.memory_limit_bytes
    assert 1.5 == reading.cpu_limit_cores
    assert (812646400, 2, 41200, 1236) == (reading.rss_bytes, reading.oom_kills, reading.periods, reading.throttled)
    assert reading.cpu is not None
    assert pytest.approx(5230.118) == reading.cpu.since(CpuUse({}))
    assert Pressure(cpu_ratio=0.0153, memory_ratio=0.0025, io_ratio=1.0) == reading.pressure


def test_version_1_is_read(version_1: Path) -> None:
    reading = cgroup_at(Path("docker/abc"), root=version_1).read()
    assert 734003200 - 73400320 == reading.working_set_bytes
    assert (1073741824, 0.5, 524288000, 3) == (
        reading.memory_limit_bytes, reading.cpu_limit_cores, reading.rss_bytes, reading.oom_kills
    )  # fmt: skip
    assert (900, 90, None) == (reading.periods, reading.throttled, reading.pressure)
    assert reading.cpu is not None
    assert pytest.approx(93.0) == reading.cpu.since(CpuUse({}))


@pytest.mark.parametrize("name", [SCOPE, f"/{SCOPE}", "{root}/" + SCOPE])
def test_a_path_may_be_relative_absolute_or_that_of_the_mount(unified: Path, name: str) -> None:
    assert 2 == cgroup_at(Path(name.format(root=unified)), root=unified).read().oom_kills


@pytest.mark.parametrize("name", ["docker/abc", "{root}/memory/docker/abc", "memory/docker/abc", "/docker/abc"])
def test_a_path_of_version_1_may_name_a_controller(version_1: Path, name: str) -> None:
    assert 3 == cgroup_at(Path(name.format(root=version_1)), root=version_1).read().oom_kills


def test_processes_of_descendants_belong_to_a_group(unified: Path) -> None:
    assert [4242, 4250, 4300] == cgroup_at(Path(SCOPE), root=unified).pids()


@pytest.mark.parametrize("name", ["nowhere", "/", ""])
def test_a_group_that_is_not_there_is_a_named_trouble(unified: Path, name: str) -> None:
    with pytest.raises(Trouble, match="no control group") as caught:
        cgroup_at(Path(name), root=unified)
    assert TroubleReason.NO_CGROUP is caught.value.reason


@pytest.mark.parametrize("gone", ["whole", "file by file"])
def test_a_group_that_vanishes_is_a_named_trouble_or_tells_less(unified: Path, gone: str) -> None:
    cgroup = cgroup_at(Path(SCOPE), root=unified)
    if gone == "whole":
        shutil.rmtree(unified / SCOPE)
        with pytest.raises(Trouble, match="is gone"):
            cgroup.read()
    else:
        for file in sorted((unified / SCOPE).glob("*.*")):
            file.unlink()
            cgroup.read()
        assert None is cgroup.read().working_set_bytes


def test_group_of_a_process_in_a_container_of_version_2_is_found_through_the_mount(
    tmp_path: Path, unified: Path
) -> None:
    mounts = f"31 23 0:28 / {unified} rw,relatime - cgroup2 cgroup2 rw\n"
    found = cgroup_of(4242, proc=proc(tmp_path, memberships=f"0::/{SCOPE}\n", mounts=mounts))
    assert found is not None
    assert (2, 2147483648) == (found.read().oom_kills, found.read().memory_limit_bytes)


def test_inside_a_container_of_version_2_the_topmost_group_is_its_own(tmp_path: Path, unified: Path) -> None:
    inside = unified / SCOPE
    (inside / "memory.max").write_text("1073741824\n")
    mounts = f"31 23 0:28 / {inside} rw - cgroup2 cgroup rw\n"
    found = cgroup_of(4242, proc=proc(tmp_path, memberships="0::/\n", mounts=mounts))
    assert found is not None
    assert (1073741824, 2.0) == (found.read().memory_limit_bytes, found.read().cpu_limit_cores)


def test_inside_a_container_of_version_1_the_mount_shows_its_own_group(tmp_path: Path, version_1: Path) -> None:
    mounts = (
        f"33 32 0:30 /docker/abc {version_1}/memory/docker/abc ro - cgroup cgroup rw,memory\n"
        f"34 32 0:31 /docker/abc {version_1}/cpu,cpuacct/docker/abc ro - cgroup cgroup rw,cpu,cpuacct\n"
    )
    memberships = "9:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n"
    found = cgroup_of(4242, proc=proc(tmp_path, memberships=memberships, mounts=mounts))
    assert found is not None
    reading = found.read()
    assert (3, 1073741824, 90) == (reading.oom_kills, reading.memory_limit_bytes, reading.throttled)
    assert reading.cpu is not None


def test_a_bare_host_has_no_group_of_a_process(tmp_path: Path, version_1: Path, unified: Path) -> None:
    (unified / "memory.stat").write_text("anon 1\n")  # which the topmost group of a host has, unlike memory.current
    for mounts, memberships in (
        (f"31 23 0:28 / {unified} rw - cgroup2 cgroup2 rw\n", "0::/\n"),
        (f"33 32 0:30 / {version_1}/memory rw - cgroup cgroup rw,memory\n", "9:memory:/\n"),
        ("", "0::/elsewhere\n"),
        ("", ""),
    ):
        assert None is cgroup_of(4242, proc=proc(tmp_path, memberships=memberships, mounts=mounts))
    assert None is cgroup_of(1, proc=tmp_path / "proc")


def test_a_group_that_is_mounted_elsewhere_is_not_guessed(tmp_path: Path, unified: Path) -> None:
    mounts = f"31 23 0:28 /other {unified} rw - cgroup2 cgroup2 rw\n"
    assert None is cgroup_of(4242, proc=proc(tmp_path, memberships="0::/../sibling\n", mounts=mounts))
