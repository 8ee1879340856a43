"""The machine's memory: how much there is, how much is free, and giving some back."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path


def total_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_mib() -> int:
    """What the machine can still give to processes; plenty where Linux does not say."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    except FileNotFoundError:
        return 2**31
    return int(fields["MemAvailable"].split()[0]) // 1024


def give_back() -> None:
    """Have the system get the memory that was freed: glibc keeps what lies below any that is used.

    Without any it takes 10 µs; with gigabytes, others who want memory wait for it.
    """
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
