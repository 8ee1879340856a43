"""Measures events: how fast they are accepted, when they run, and how a backlog drains.

python -m tests.bench.events [--events 10000]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

import click

from tests.bench.event_probe import Probed, Reports, probed, put_event

_CONNECTIONS = 16
_IDLE_EVENTS = 100
_PARTS = 4
_POLL_SECONDS = 0.02


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--events", type=int, default=10_000)
    count: int = parser.parse_args().events
    with (
        tempfile.TemporaryDirectory(prefix="fnbox-bench-") as folder,
        probed(Path(folder)) as (instance, reports),
    ):
        idle = latencies(instance, reports)
        quantiles = statistics.quantiles(idle, n=100)
        click.echo(
            f"idle: from sending an event to its run, p50 {quantiles[49] * 1000:.1f} ms, "
            f"p99 {quantiles[98] * 1000:.1f} ms"
        )
        before = instance.memory_mib()
        began = time.perf_counter()
        accept(instance, count)
        seconds = time.perf_counter() - began
        click.echo(
            f"accepted: {count / seconds:,.0f} a second, {_CONNECTIONS} connections, running too"
        )
        backlog = instance.metric("fnbox_events_queued")
        peak = instance.memory_mib()
        moments = [(time.perf_counter(), backlog)]
        for part in range(_PARTS - 1, -1, -1):
            while (left := instance.metric("fnbox_events_queued")) > backlog * part / _PARTS:
                peak = max(peak, instance.memory_mib())
                time.sleep(_POLL_SECONDS)
            moments.append((time.perf_counter(), left))
        rates = [(a[1] - b[1]) / (b[0] - a[0]) for a, b in pairwise(moments)]
        shown = ", ".join(f"{rate:,.0f}" for rate in rates)
        click.echo(f"drained: a backlog of {backlog:,.0f}, by quarters {shown} a second")
        click.echo(f"memory: {before:.0f} MiB before, {peak:.0f} MiB at most")
    return 0


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


def accept(instance: Probed, count: int) -> None:
    def put() -> None:
        connection = instance.connection()
        for _ in range(count // _CONNECTIONS):
            put_event(connection)
        connection.close()

    threads = [threading.Thread(target=put) for _ in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
