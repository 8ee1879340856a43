"""How soon the control plane is ready, and how much memory it holds.

    python -m tests.bench.startup [--functions 1000] [--calls 1000] [--imports]

Idle, then with so many functions, then with so many calls under way: each waits for one of
a few environments; then with large payloads under way. Targets: ready within 1 s; 120 MiB idle;
250 MiB at most; twice the payloads at most.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import click

from tests.bench.client import Connection, call, invoke_request
from tests.bench.measures import payload
from tests.bench.processes import cpu_seconds, memory_mib, status, tree
from tests.support.instance import Instance, environment, package

_STARTS = 5
_ENVIRONMENTS = 4
_LARGE_CALLS = 20
_LARGE_BYTES = 6_000_000
_SLEEPER = """\
import time
def handler(event, context):
    time.sleep(0.02)
    return event
"""
_IMPORTS_SHOWN = 25


@click.command()
@click.option("--functions", default=1000)
@click.option("--calls", default=1000)
@click.option("--imports", is_flag=True, help="What the time of importing goes to, instead.")
def main(functions: int, calls: int, imports: bool) -> None:
    # As wherever fnbox is installed, modules are compiled once.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if imports:
        show_imports()
        return
    with tempfile.TemporaryDirectory(prefix="fnbox-bench-") as folder:
        instance = Instance(
            Path(folder) / "state",
            spares=0,
            max_environments=_ENVIRONMENTS,
            wait_timeout=600,
            account_concurrency=2 * calls,
        )
        try:
            seconds, cpu = start_often(instance)
            click.echo(f"ready after {seconds:.2f} s, the median of {_STARTS} starts")
            click.echo(f"CPU time until then: {cpu:.2f} s, of the last")
            show_memory(instance, "idle")
            function = instance.deploy(_SLEEPER, "sleeper", MemorySize=128)
            archive = package("def handler(event, context): return event")
            for number in range(functions - 1):
                instance.client.create_function(
                    FunctionName=f"one-of-many-{number}",
                    Role="arn:aws:iam::000000000000:role/lambda-role",
                    Runtime="python3.13",
                    Handler="handler.handler",
                    Code={"ZipFile": archive},
                )
            show_memory(instance, f"{functions:,} functions")
            call_at_once(instance, function.name, calls)
            show_peak(instance, function.name)
        finally:
            instance.stop()


def start_often(instance: Instance) -> tuple[float, float]:
    """Seconds until calls are answered, and the CPU time of the last start; it is left running."""
    found = []
    for number in range(_STARTS):
        if number:
            instance.stop()
        began = time.perf_counter()
        instance.start()
        found.append(time.perf_counter() - began)
    return statistics.median(found), cpu_seconds(tree(instance.pid))


def show_memory(instance: Instance, when: str) -> None:
    pids = tree(instance.pid)
    both, worker = memory_mib(pids), memory_mib(pids[1:], "Rss")
    click.echo(f"{when}: {both:.0f} MiB (Pss of both processes), worker's Rss {worker:.0f} MiB")


def call_at_once(instance: Instance, function: str, calls: int) -> None:
    """Every call on a connection of its own; the memory while all of them wait, and after."""
    address = ("127.0.0.1", instance.port)
    request = invoke_request(address, function, b"{}")
    began = time.perf_counter()
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(Connection(address))) for _ in range(calls)]
        for connection in connections:
            connection.send(request)
        receive(connections[:1])
        show_memory(instance, f"and {calls:,} calls under way")
        receive(connections[1:])
    click.echo(f"all answered after {time.perf_counter() - began:.1f} s")
    show_memory(instance, "after them")


def show_peak(instance: Instance, function: str) -> None:
    """The most memory that the worker takes more, while large events wait and come back."""
    worker = tree(instance.pid)[1]
    address = ("127.0.0.1", instance.port)
    request = invoke_request(address, function, payload(_LARGE_BYTES))
    before = status(worker, "VmRSS")
    Path(f"/proc/{worker}/clear_refs").write_text("5")  # the peak begins anew
    with ExitStack() as stack:
        connections = [
            stack.enter_context(closing(Connection(address))) for _ in range(_LARGE_CALLS)
        ]
        with ThreadPoolExecutor(_LARGE_CALLS) as threads:
            list(threads.map(lambda connection: call(connection, request), connections))
    more = (status(worker, "VmHWM") - before) / 1024
    sent = _LARGE_CALLS * _LARGE_BYTES / 2**20
    click.echo(f"{_LARGE_CALLS} calls of 6 MB: {more:.0f} MiB more, {more / sent:.2f} of them")


def receive(connections: Sequence[Connection]) -> None:
    for connection in connections:
        while not connection.receive():
            pass


def show_imports() -> None:
    """The most expensive of what the master and then the worker import, in ms."""
    for module in ("sandbox.cli.main", "sandbox.serve", "sandbox.control_plane"):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", f"import {module}"],
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
        lines = [line.split("|") for line in done.stderr.splitlines()[1:]]
        found = sorted(((int(line[1]), line[2]) for line in lines), reverse=True)
        click.echo(f"{module}: {found[0][0] / 1000:.0f} ms")
        for micros, name in found[1:_IMPORTS_SHOWN]:
            click.echo(f"  {micros / 1000:7.1f} {name}")


if __name__ == "__main__":
    main()
