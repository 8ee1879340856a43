"""Kills fnbox again and again while it accepts and runs events; counts what was lost or repeated.

    python -m tests.bench.event_kill [--rounds 20] [--events 500] [--seed N]

In each round so many events are accepted, over eight connections, and at a random moment of that
round the control plane gets SIGKILL and is started again. Every event that was answered with 202
has to run; those that were running at the kill run again. Exit status 1 when an event is lost.
"""

from __future__ import annotations

import argparse
import http.client
import queue
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import click

from tests.bench.event_probe import Probed, Reports, probed, put_event

_CONNECTIONS = 8
_DRAIN_SECONDS = 120.0
_POLL_SECONDS = 0.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    accepted: list[str] = []
    killed_amid: list[int] = []
    with (
        tempfile.TemporaryDirectory(prefix="fnbox-bench-") as folder,
        probed(Path(folder)) as (instance, reports),
    ):
        length = 1.0  # of a round: measured anew, without the kill, each time
        for number in range(given.rounds):
            began = time.perf_counter()
            clients = Clients(instance, given.events)
            time.sleep(draw.uniform(0, length))  # the one thing here that is to be by chance
            killed_amid.append(len(clients.accepted))
            instance.kill()
            outage = time.perf_counter()
            instance.start()
            clients.connect_again.set()
            accepted += clients.join()
            drain(instance)
            length = max(0.5, time.perf_counter() - began - (time.perf_counter() - outage) / 2)
            length = min(length, 3.0)
            click.echo(f"round {number + 1}: {told(accepted, reports)}")
        dead = instance.metric("fnbox_events_dead")
    lost = [one for one in accepted if one not in reports.runs]
    click.echo(f"{given.rounds} kills: {told(accepted, reports)}; {dead:.0f} dead")
    click.echo(f"accepted when killed: {killed_amid}")
    return 1 if lost or dead else 0


def told(accepted: list[str], reports: Reports) -> str:
    ran = [len(reports.runs.get(one, ())) for one in accepted]
    again = sum(1 for count in ran if count > 1)
    return (
        f"{sum(1 for count in ran if count)} of {len(ran)} events ran, "
        f"{again} more than once ({again / len(ran):.2%})"
    )


class Clients:
    """Have events accepted; a connection that breaks is made again after the outage."""

    def __init__(self, instance: Probed, count: int) -> None:
        self.accepted: list[str] = []
        self.connect_again = threading.Event()
        self._instance = instance
        self._left: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(count):
            self._left.put(number)
        self._threads = [threading.Thread(target=self._put) for _ in range(_CONNECTIONS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> list[str]:
        for thread in self._threads:
            thread.join()
        return self.accepted

    def _put(self) -> None:
        connection = self._instance.connection()
        while True:
            try:
                number = self._left.get_nowait()
            except queue.Empty:
                connection.close()
                return
            try:
                self.accepted.append(put_event(connection))
            except (OSError, http.client.HTTPException):
                # nobody knows whether that one was accepted; another takes its place
                self._left.put(number)
                connection.close()
                self.connect_again.wait()


def drain(instance: Probed) -> None:
    deadline = time.monotonic() + _DRAIN_SECONDS
    while instance.metric("fnbox_events_queued"):
        if time.monotonic() > deadline:
            raise TimeoutError("events are left in the queue")
        time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
