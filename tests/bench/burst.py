"""Cold calls of many functions at once, and what the engine itself takes for as many containers.

    python -m tests.bench.burst [--functions 20] [--rounds 3]

Target: all answered within 1.5 times the time in which the engine creates and starts as many
containers that do nothing, in parallel. With the default spare, and without any.
"""

from __future__ import annotations

import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import click
from docker import APIClient

from sandbox.settings import Settings
from tests.bench.client import Connection, call, invoke_request
from tests.bench.rie import Containers
from tests.support.instance import Instance

_CODE = "def handler(event, context): return event"
_SETTLE_SECONDS = 0.05


@click.command()
@click.option("--functions", default=20)
@click.option("--rounds", default=3)
def main(functions: int, rounds: int) -> None:
    address = Settings.load().docker_host
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fnbox-bench-")))
        engine = stack.enter_context(
            closing(APIClient(address, version="auto", timeout=60, num_pools=functions))
        )
        bare = Containers(engine, "fnbox/python3.13:latest", secrets.token_hex(4))
        stack.callback(bare.remove_all)
        instances = [Instance(folder / f"state-{spares}", spares=spares) for spares in (0, 1)]
        for instance in instances:
            stack.callback(instance.stop)
            instance.start()
        threads = stack.enter_context(ThreadPoolExecutor(functions))
        ways: dict[str, Callable[[], float]] = {
            "engine": lambda: _engine(threads, bare, functions),
            "with a spare": lambda: _burst(threads, instances[1], functions, 1),
            "without": lambda: _burst(threads, instances[0], functions, 0),
        }
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, measure in ways.items():
                found[way].append(measure())
    for way, seconds in found.items():
        ratios = [a / b for a, b in zip(seconds, found["engine"], strict=True)]
        click.echo(
            f"{way}: {statistics.median(seconds):.2f} s, {statistics.median(ratios):.2f} times "
            f"the engine's ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def _engine(threads: ThreadPoolExecutor, bare: Containers, count: int) -> float:
    began = time.perf_counter()
    list(threads.map(lambda _: bare.start_bare(), range(count)))
    seconds = time.perf_counter() - began
    bare.remove_all()
    return seconds


def _burst(threads: ThreadPoolExecutor, instance: Instance, count: int, spares: int) -> float:
    """Until the last is answered; the functions are new, and gone afterwards."""
    functions = [
        instance.deploy(_CODE, f"cold-{secrets.token_hex(4)}", MemorySize=128) for _ in range(count)
    ]
    _settle(instance, spares)
    address = ("127.0.0.1", instance.port)
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(Connection(address))) for _ in functions]
        calls = [
            (connection, invoke_request(address, function.name, b"{}"))
            for connection, function in zip(connections, functions, strict=True)
        ]
        began = time.perf_counter()
        list(threads.map(lambda one: call(*one), calls))
        seconds = time.perf_counter() - began
    for function in functions:
        function.delete()
    _settle(instance, spares)
    return seconds


def _settle(instance: Instance, spares: int) -> None:
    """Nothing is on its way, nor of an earlier burst."""
    while (
        any((instance.state_dir / "run").glob("*/control.sock"))
        or len(instance.containers()) != spares
    ):
        time.sleep(_SETTLE_SECONDS)


if __name__ == "__main__":
    main()
