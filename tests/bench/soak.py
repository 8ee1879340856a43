"""Many calls, some of which go wrong; and whether anything grows.

    python -m tests.bench.soak [--invokes 5000] [--clients 16]

Of 100 calls 5 crash their runtime, 5 run into their timeout of 1 s and of 5 the client leaves
before the answer; the rest print and return. Each sample shows descriptors, threads and memory
of the control plane's worker, and containers. Ends with status 1 when a call that should do
well does not. The full run of the target is --invokes 50000.
"""

from __future__ import annotations

import collections
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import click

from tests.bench.client import Address, CallFailed, Connection, call, invoke_request
from tests.bench.processes import descriptors, memory_mib, status
from tests.support.instance import Instance

_CODE = """\
import os, time
def handler(event, context):
    print("one line of log")
    if event == "crash":
        os._exit(3)
    if event in ("timeout", "leave"):
        time.sleep(5 if event == "timeout" else 0.05)
    return event
"""
_ENVIRONMENTS = 24
_SAMPLES = 10
_SETTLE_SECONDS = 3.0
# Which of 20 calls, one after another, goes wrong in which way.
_PERIOD = 20
_WRONG = {7: "crash", 13: "timeout", 19: "leave"}


@click.command()
@click.option("--invokes", default=5_000)
@click.option("--clients", default=16)
def main(invokes: int, clients: int) -> None:
    with tempfile.TemporaryDirectory(prefix="fnbox-bench-") as folder:
        instance = Instance(
            Path(folder) / "state", max_environments=_ENVIRONMENTS, wait_timeout=600
        )
        instance.start()
        try:
            instance.deploy(_CODE, "quick", Timeout=30)
            instance.deploy(_CODE, "slow", Timeout=1)
            results = _run(instance, invokes, clients)
            time.sleep(_SETTLE_SECONDS)
            _show(instance, "at rest", 0.0)
        finally:
            instance.stop()
    click.echo(", ".join(f"{count:,} {what}" for what, count in sorted(results.items())))
    sys.exit("wrong" in results)


def _run(instance: Instance, invokes: int, clients: int) -> collections.Counter[str]:
    results: collections.Counter[str] = collections.Counter()
    numbers = iter(range(invokes))
    lock = threading.Lock()
    address = ("127.0.0.1", instance.port)
    began = time.perf_counter()

    def ask() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            if number % (invokes // _SAMPLES or 1) == 0:
                _show(instance, f"{number:,} calls", time.perf_counter() - began)
            result = _ask(address, _kind(number))
            with lock:
                results[result] += 1

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _show(instance, f"{invokes:,} calls", time.perf_counter() - began)
    return results


def _kind(number: int) -> str:
    return _WRONG.get(number % _PERIOD, "well")


def _ask(address: Address, kind: str) -> str:
    """What became of it."""
    function = "slow" if kind == "timeout" else "quick"
    request = invoke_request(address, function, f'"{kind}"'.encode())
    with closing(Connection(address)) as connection:
        if kind == "leave":
            connection.send(request)
            return "left"
        try:
            call(connection, request)
        except CallFailed as failed:
            if kind != "well" and "x-amz-function-error" in str(failed).lower():
                return {"crash": "crashed", "timeout": "timed out"}[kind]
            click.echo(f"{kind}: {failed}", err=True)
            return "wrong"
    return "well" if kind == "well" else "wrong"


def _show(instance: Instance, when: str, seconds: float) -> None:
    worker = instance.worker
    assert worker is not None, "the control plane runs"
    click.echo(
        f"{seconds:6.1f} s  {when:>13}: {descriptors([worker]):4} descriptors, "
        f"{status(worker, 'Threads'):3} threads, {memory_mib([worker], 'Rss'):6.1f} MiB, "
        f"{len(instance.containers()):3} containers"
    )


if __name__ == "__main__":
    main()
