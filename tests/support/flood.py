"""A function that floods its log, what another's calls meet meanwhile, and what it costs."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests.support.instance import Function, Instance
from tests.support.memory import resident

KINDS = ("lines", "endless", "binary", "records")
"""Lines of 100 bytes; no line feed at all; every byte, NUL and invalid UTF-8; log records of
two short lines, the dearest there are."""

SOURCE = r"""
import os

KINDS = {
    "lines": b"x" * 99 + b"\n",
    "endless": b"x" * 100,
    "binary": bytes(range(256)),
    "records": b"\xa5\x5a\x00\x0f\x00\x00\x00\x03" + bytes(8) + b"a\nb",
}

def handler(event, context):
    line = KINDS[event["kind"]]
    block = line * (65536 // len(line))
    for _ in range(event["mib"] * 2**20 // len(block)):
        os.write(1, block)
"""

QUIET = "def handler(event, context):\n    return event\n"


class Flood(NamedTuple):
    """What was seen while one function flooded its log."""

    seconds: float
    alone: list[float]
    """Of the other function's calls before, in seconds, the shortest first."""
    latencies: list[float]
    """Of the other function's calls meanwhile, likewise."""
    grown: int
    """Bytes of memory by which the control plane grew at most."""
    kept: int
    """Bytes of log on the disk."""


def flood(instance: Instance, kind: str, mib: int, timeout: int = 900) -> Flood:
    """Deploy both functions, and call them at the same time."""
    loud = instance.deploy(SOURCE, Timeout=timeout)
    quiet = instance.deploy(QUIET)
    _call(loud, {"mib": 1, "kind": kind})
    alone = [_call(quiet, None) for _ in range(100)]
    before = highest = resident(instance.worker)
    latencies = []
    began = time.perf_counter()
    thread = threading.Thread(target=_call, args=(loud, {"mib": mib, "kind": kind}))
    thread.start()
    while thread.is_alive():
        latencies.append(_call(quiet, None))
        highest = max(highest, resident(instance.worker))
    seconds = time.perf_counter() - began
    kept = sum(map(_size, (instance.state_dir / "logs").rglob("*.log")))
    # The first of those alone was a cold start.
    return Flood(seconds, sorted(alone[1:]), sorted(latencies), highest - before, kept)


def _call(function: Function, event: object) -> float:
    """How many seconds it took."""
    began = time.perf_counter()
    answer = function.invoke(event)
    assert answer.error is None, answer
    return time.perf_counter() - began


def _size(path: Path) -> int:
    """Of a file that may be removed meanwhile, in bytes."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
