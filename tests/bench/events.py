"""Measures events: how fast they are accepted, when they run, and how a backlog drains.

python -m tests.bench.events [--events 10000]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from tests.bench import yardsticks
from tests.bench.client import Connection, invoke_request, throughput
from tests.bench.event_probe import FUNCTION, Probed, Reports, cpu_seconds, probed, put_event
from tests.support.functions import until

_CONNECTIONS = 16
_IDLE_EVENTS = 100
_ROUNDS = 5
_ROUND_SECONDS = 3.0
_PARTS = 10
_POLL_SECONDS = 0.02
_SHARE = 16
"""Events that one function may have running."""
_START_SECONDS = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--events", type=int, default=10_000, help="the backlog that is drained")
    count: int = parser.parse_args().events
    with (
        tempfile.TemporaryDirectory(prefix="fnbox-bench-") as folder,
        probed(Path(folder)) as (instance, reports),
    ):
        tell("idle, from sending an event to its run", latencies(instance, reports))
        rate = throughput(connections(instance), _ROUND_SECONDS)
        click.echo(f"accepted while they run: {rate:,.0f} a second, {_CONNECTIONS} connections")
        drained(instance)
        before = instance.memory_mib()
        with reports.holding() as held:
            block(instance, held)
            acceptance(instance, Path(folder))
            fill(instance, count)
            filled = instance.memory_mib()
        drain(instance, before, filled)
    return 0


def tell(what: str, seconds: Sequence[float]) -> None:
    quantiles = statistics.quantiles(seconds, n=100)
    click.echo(f"{what}: p50 {quantiles[49] * 1000:.1f} ms, p99 {quantiles[98] * 1000:.1f} ms")


def latencies(instance: Probed, reports: Reports) -> list[float]:
    """Seconds from an event's sending to its run, one at a time."""
    connection = instance.connection()
    found = []
    for _ in range(_IDLE_EVENTS + 1):
        began = time.perf_counter()
        request_id = put_event(connection)
        while request_id not in reports.runs or not reports.runs[request_id]:
            time.sleep(0.0005)
        found.append(reports.runs[request_id][0] - began)
    connection.close()
    return found[1:]  # the first one was a cold start


def connections(instance: Probed) -> list[tuple[Connection, bytes]]:
    """Connections, each with the request that it sends: an event."""
    address = ("127.0.0.1", instance.settings.port)
    request = invoke_request(address, FUNCTION, b"{}", ("X-Amz-Invocation-Type", "Event"))
    return [(Connection(address), request) for _ in range(_CONNECTIONS)]


def drained(instance: Probed) -> None:
    until(lambda: instance.metric("fnbox_events_queued") == 0, _START_SECONDS)


def block(instance: Probed, held: Sequence[object]) -> None:
    """Have the function's share of events run and not end: what comes now is accepted alone."""
    connection = instance.connection()
    for _ in range(_SHARE):
        put_event(connection)
    until(lambda: len(held) == _SHARE, _START_SECONDS)
    connection.close()


def acceptance(instance: Probed, folder: Path) -> None:
    """The rate of events that are accepted, beside what else the machine does at the moment."""
    rates, http, cpu, commits, syncs = [], [], [], [], []
    with yardsticks.echo() as echo:
        request = invoke_request(echo.address, FUNCTION, b"{}")
        echoing = [(Connection(echo.address), request) for _ in range(_CONNECTIONS)]
        events = connections(instance)
        for _ in range(_ROUNDS):
            syncs.append(yardsticks.syncs_a_second(folder))
            commits.append(yardsticks.commits_a_second(folder))
            began = cpu_seconds(echo.worker)
            http.append(throughput(echoing, _ROUND_SECONDS))
            echo_cpu = (cpu_seconds(echo.worker) - began) / (http[-1] * _ROUND_SECONDS)
            began = instance.cpu_seconds()
            rates.append(throughput(events, _ROUND_SECONDS))
            event_cpu = (instance.cpu_seconds() - began) / (rates[-1] * _ROUND_SECONDS)
            cpu.append((event_cpu, echo_cpu))
        for connection, _ in [*echoing, *events]:
            connection.close()
    click.echo(
        f"accepted alone: {_range(rates)} a second, {_CONNECTIONS} connections; "
        f"CPU time of the control plane {_range([1e6 * own for own, _ in cpu])} µs an event"
    )
    click.echo(
        f"beside: a server that only answers {_range(http)} a second, "
        f"{_range([1e6 * other for _, other in cpu])} µs; "
        f"single commits {_range(commits)}, waits for the disk {_range(syncs)} a second"
    )
    against = {"server": http, "commits": commits, "waits for the disk": syncs}
    for what, others in against.items():
        ratios = [rate / other for rate, other in zip(rates, others, strict=True)]
        click.echo(f"accepted : {what} = {_range(ratios, '.2f')}")


def _range(figures: Sequence[float], form: str = ",.0f") -> str:
    """The median, and the lowest and highest."""
    median = statistics.median(figures)
    return f"{median:{form}} ({min(figures):{form}} … {max(figures):{form}})"


def fill(instance: Probed, count: int) -> None:
    """Bring the backlog up to so many events."""
    began, asking = instance.metric("fnbox_events_queued"), connections(instance)
    left, started = count - began, time.perf_counter()
    while left > 0:
        throughput(asking, min(_ROUND_SECONDS, 0.1 + left / 5000))
        left = count - instance.metric("fnbox_events_queued")
    seconds = time.perf_counter() - started
    for connection, _ in asking:
        connection.close()
    click.echo(f"filled: {began:,.0f} to {count:,} events in {seconds:.0f} s")


def drain(instance: Probed, before: float, filled: float) -> None:
    backlog = instance.metric("fnbox_events_queued")
    peak, cpu, moment, left = filled, instance.cpu_seconds(), time.perf_counter(), backlog
    began, rates = cpu, []
    for part in range(_PARTS - 1, -1, -1):
        top = left
        while (left := instance.metric("fnbox_events_queued")) > backlog * part / _PARTS:
            peak = max(peak, instance.memory_mib())
            time.sleep(_POLL_SECONDS)
        now, used = time.perf_counter(), instance.cpu_seconds()
        rates.append(((top - left) / (now - moment), 1e6 * (used - cpu) / (top - left)))
        moment, cpu = now, used
    click.echo(
        f"drained: a backlog of {backlog:,.0f}, by tenths "
        f"{', '.join(f'{rate:,.0f}' for rate, _ in rates)} a second; CPU time of the control plane "
        f"{', '.join(f'{micro:,.0f}' for _, micro in rates)} µs an event, "
        f"{1e6 * (cpu - began) / backlog:,.0f} over all"
    )
    click.echo(
        f"memory: {before:.0f} MiB before, {filled:.0f} MiB with the backlog, "
        f"{peak:.0f} MiB at most"
    )


if __name__ == "__main__":
    sys.exit(main())
