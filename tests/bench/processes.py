"""What processes and containers use, as the kernel counts it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_MIB = 2**20
_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += tree(int(child))
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of these processes, those that have ended left out."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def microseconds(call: Callable[[], object], calls: int) -> float:
    """A call's share of the CPU time of many: other processes do not count."""
    began = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - began) / calls * 1e6


def memory_mib(pids: list[int], field: str = "Pss") -> float:
    """Their memory; with Pss what several share is counted once."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{field}:"):
                total += int(line.split()[1])
    return total / 1024


def status(pid: int, field: str) -> int:
    """A number of /proc/PID/status; memory is in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise KeyError(field)


def descriptors(pids: list[int]) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


@dataclass(frozen=True)
class ContainerMemory:
    """Of one container, in MiB."""

    used: float
    """All that its cgroup is charged with."""
    cache: float
    """Of that: page cache and tmpfs."""
    kernel: float
    """Of that: what the kernel holds for it."""
    runtime: float
    """Anonymous memory of all processes but the first."""
    init: float
    """Anonymous memory of the first, the init."""

    @property
    def beyond(self) -> float:
        """What is there besides the runtime's own."""
        return self.used - self.runtime


def container_memory(init: int) -> ContainerMemory:
    """By the pid of its init."""
    directory = _memory_cgroup(init)
    stat = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
    if "anon" in stat:
        used, cache, kernel = "memory.current", int(stat["file"]), int(stat["kernel"])
    else:
        used, cache = "memory.usage_in_bytes", int(stat["total_cache"])
        kernel = int((directory / "memory.kmem.usage_in_bytes").read_text())
    others = [pid for pid in tree(init) if pid != init]
    return ContainerMemory(
        used=int((directory / used).read_text()) / _MIB,
        cache=cache / _MIB,
        kernel=kernel / _MIB,
        runtime=sum(status(pid, "RssAnon") for pid in others) / 1024,
        init=status(init, "RssAnon") / 1024,
    )


def _memory_cgroup(pid: int) -> Path:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return Path("/sys/fs/cgroup/memory" + path)
        if not controllers and Path(f"/sys/fs/cgroup{path}/memory.current").exists():
            return Path("/sys/fs/cgroup" + path)
    raise FileNotFoundError(f"the memory cgroup of process {pid}")
