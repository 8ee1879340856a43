"""What is measured, one round at a time.

A round is a flat dict of figures: `fnbox.…` and `rie.…` under the same name are the
same thing measured on both, right after one another. Times are milliseconds, rates
calls a second.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.bench import rie
from tests.bench.client import (
    Address,
    Connection,
    call,
    invoke_request,
    latencies,
    throughput,
)
from tests.bench.instance import Instance

Round = dict[str, float]

CLIENTS = (1, 8, 32)
SMALL = b'{"name": "Bob", "number": 1}'
_BLOCKS = 4
_WARM_UP_CALLS = 30


class Effort(NamedTuple):
    """How much is done in one round."""

    calls: int
    seconds: float
    calls_100_kb: int
    calls_6_mb: int
    colds: int


FULL = Effort(calls=1000, seconds=2.0, calls_100_kb=100, calls_6_mb=10, colds=3)
QUICK = Effort(calls=200, seconds=0.5, calls_100_kb=20, calls_6_mb=3, colds=1)


def payload(size: int) -> bytes:
    """A JSON document of `size` bytes."""
    frame = b'{"data": "%s"}'
    return frame % (b"x" * (size - len(frame) + 2))


_PAYLOADS = {"100_kb": payload(100_000), "6_mb": payload(6_000_000)}


@dataclass(frozen=True)
class Subject:
    """One of the two: where each client asks, and for which function."""

    name: str
    function: str
    addresses: Sequence[Address]
    connections: Sequence[Connection]

    def request(self, client: int, event: bytes, *headers: tuple[str, str]) -> bytes:
        return invoke_request(self.addresses[client], self.function, event, *headers)

    def warm_up(self) -> None:
        """Every client has an environment, and every payload comes back as it was sent."""
        clients = [
            (connection, self.request(client, SMALL))
            for client, connection in enumerate(self.connections)
        ]
        for _ in range(_WARM_UP_CALLS):
            throughput(clients, 0)
        for event in (SMALL, *_PAYLOADS.values()):
            call(self.connections[0], self.request(0, event))
            if self.connections[0].body() != event:
                raise ValueError(f"{self.name} did not return the event of {len(event)} bytes")


def warm(subjects: Sequence[Subject], effort: Effort) -> Round:
    """Latency of one client, and calls a second of several; small events, then large ones."""
    figures = _latency(subjects, SMALL, "warm", effort.calls)
    for clients in CLIENTS:
        for subject in subjects:
            asking = [
                (subject.connections[client], subject.request(client, SMALL))
                for client in range(clients)
            ]
            figures[f"{subject.name}.rate_{clients}"] = throughput(asking, effort.seconds)
    for name, calls in (("100_kb", effort.calls_100_kb), ("6_mb", effort.calls_6_mb)):
        figures |= _latency(subjects, _PAYLOADS[name], name, calls)
    return figures


def tail(subject: Subject, effort: Effort) -> Round:
    """What it costs to ask for the end of the log."""
    requests = {
        "without_tail": subject.request(0, SMALL),
        "with_tail": subject.request(0, SMALL, ("X-Amz-Log-Type", "Tail")),
    }
    times: dict[str, list[float]] = {name: [] for name in requests}
    for _ in range(_BLOCKS):
        for name, request in requests.items():
            times[name] += latencies(subject.connections[0], request, effort.calls // _BLOCKS)
    return {f"{subject.name}.{name}": 1000 * statistics.median(times[name]) for name in times}


def _latency(subjects: Sequence[Subject], event: bytes, name: str, calls: int) -> Round:
    """p50 and p99 of calls one after another, in blocks that take turns."""
    times: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    for block in range(_BLOCKS):
        count = (calls + block) // _BLOCKS
        for subject in subjects:
            request = subject.request(0, event)
            times[subject.name] += latencies(subject.connections[0], request, count)
    figures: Round = {}
    for whose, found in times.items():
        found.sort()
        figures[f"{whose}.{name}_p50"] = 1000 * statistics.median(found)
        figures[f"{whose}.{name}_p99"] = 1000 * found[len(found) * 99 // 100]
    return figures


@dataclass(frozen=True)
class Cold:
    """What cold starts need: two instances that have nothing else to do, and a function."""

    with_spare: Instance
    without_spare: Instance
    containers: rie.Containers
    emulator: Path
    task: Path
    handler: str
    package: bytes

    def measure(self, effort: Effort) -> Round:
        """From nothing to a function's first answer; and the engine's share of it."""
        ways: dict[str, Callable[[str], float]] = {
            "fnbox.cold_with_spare": lambda name: self._fnbox(self.with_spare, name),
            "rie.cold": lambda _: self._rie(),
            "fnbox.cold_without_spare": lambda name: self._fnbox(self.without_spare, name),
            "engine.start": lambda _: self._engine(),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(effort.colds):
            for way, measure in ways.items():
                times[way].append(measure(f"cold-{number}"))
        return {way: 1000 * statistics.median(found) for way, found in times.items()}

    def _fnbox(self, instance: Instance, name: str) -> float:
        instance.create(name, self.package, self.handler)
        instance.settle(environments=0)
        seconds = _first_answer(instance.address, name)
        instance.delete(name)
        instance.settle(environments=0)
        return seconds

    def _rie(self) -> float:
        began = time.perf_counter()
        container, address = self.containers.start_rie(self.emulator, self.task, self.handler)
        rie.wait_until_listening(address)
        _first_answer(address, "function")
        seconds = time.perf_counter() - began
        self.containers.remove(container)
        return seconds

    def _engine(self) -> float:
        began = time.perf_counter()
        container = self.containers.start_bare()
        seconds = time.perf_counter() - began
        self.containers.remove(container)
        return seconds


def _first_answer(address: Address, function: str) -> float:
    began = time.perf_counter()
    connection = Connection(address)
    try:
        call(connection, invoke_request(address, function, SMALL))
    finally:
        connection.close()
    return time.perf_counter() - began
