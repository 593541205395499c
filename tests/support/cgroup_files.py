"""Files of control groups as kernels write them, recorded from machines of each version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["UNIFIED", "VERSION_1", "write_files"]

UNIFIED: Mapping[str, str] = {
    "cgroup.controllers": "cpu io memory pids\n",
    "kubepods.slice/memory.max": "8589934592\n",
    "kubepods.slice/cpu.max": "max 100000\n",
    "kubepods.slice/pod1.slice/memory.max": "2147483648\n",
    "kubepods.slice/pod1.slice/cpu.max": "150000 100000\n",
    "kubepods.slice/pod1.slice/cri.scope/memory.current": "901775360\n",
    "kubepods.slice/pod1.slice/cri.scope/memory.max": "max\n",
    "kubepods.slice/pod1.slice/cri.scope/memory.stat": """\
anon 812646400
file 77594624
kernel 8318976
inactive_anon 812531712
active_anon 90112
inactive_file 56519104
active_file 21075520
workingset_refault_file 0
""",
    "kubepods.slice/pod1.slice/cri.scope/memory.events": "low 0\nhigh 0\nmax 311\noom 2\noom_kill 2\n",
    "kubepods.slice/pod1.slice/cri.scope/cpu.max": "200000 100000\n",
    "kubepods.slice/pod1.slice/cri.scope/cpu.stat": """\
usage_usec 5230118000
user_usec 4890000000
system_usec 340118000
nr_periods 41200
nr_throttled 1236
throttled_usec 98000111
""",
    "kubepods.slice/pod1.slice/cri.scope/cpu.pressure": """\
some avg10=1.53 avg60=0.87 avg300=0.22 total=12345678
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
""",
    "kubepods.slice/pod1.slice/cri.scope/memory.pressure": """\
some avg10=0.25 avg60=0.00 avg300=0.00 total=55
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
""",
    "kubepods.slice/pod1.slice/cri.scope/io.pressure": """\
some avg10=100.00 avg60=0.00 avg300=0.00 total=55
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
""",
    "kubepods.slice/pod1.slice/cri.scope/cgroup.procs": "4242\n4250\n",
    "kubepods.slice/pod1.slice/cri.scope/child/cgroup.procs": "4300\n",
}
"""Version 2: a container of a pod, below the root of the mount."""

VERSION_1: Mapping[str, str] = {
    "memory/docker/abc/memory.usage_in_bytes": "734003200\n",
    "memory/docker/abc/memory.stat": """\
cache 104857600
rss 524288000
inactive_file 73400320
active_file 31457280
hierarchical_memory_limit 1073741824
hierarchical_memsw_limit 9223372036854771712
total_cache 104857600
total_rss 524288000
total_inactive_file 73400320
""",
    "memory/docker/abc/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "memory/docker/abc/cgroup.procs": "4242\n",
    "memory/memory.stat": "hierarchical_memory_limit 9223372036854771712\ntotal_rss 1\n",
    "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "50000\n",
    "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
    "cpu,cpuacct/docker/abc/cpu.stat": "nr_periods 900\nnr_throttled 90\nthrottled_time 4500000000\n",
    "cpu,cpuacct/docker/abc/cpuacct.usage": "93000000000\n",
    "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
}
"""Version 1: a container of Docker."""


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Lay the files down below a folder, which is returned."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder
