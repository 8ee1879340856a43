"""How much memory a process takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 2**20


@contextmanager
def grows_by_less_than(mib: int) -> Iterator[None]:
    """Assert that meanwhile no more memory was resident than before, and so much."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident now
    before = _peak()
    yield
    grown = (_peak() - before) // MIB
    assert grown < mib, f"{grown} MiB more"


def resident(process: int | None = None) -> int:
    """Bytes of a process that are in memory; this one unless told."""
    return _told("VmRSS", process)


def _peak() -> int:
    return _told("VmHWM")


def _told(name: str, process: int | None = None) -> int:
    for line in Path(f"/proc/{process or 'self'}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("Linux says it of a process that runs")
