"""How much memory this process takes for something, at most."""

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


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("Linux says it")
