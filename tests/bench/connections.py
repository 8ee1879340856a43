"""What many connections do to a normal call: dawdlers, sleepers, long calls and crowds.

    python -m tests.bench.connections [--long 60] [--crowd 1000]

A warm function is called every 10 ms with nothing else to do, and then while a condition is
kept up: a row tells how long both took. Then the memory of an idle environment is measured.
Last a crowd calls one function, a second each, where far fewer environments may be, and it is
counted how each call ended. Nothing is asserted.
"""

from __future__ import annotations

import re
import select
import socket
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import click

from tests.bench.client import Address, Connection, call, invoke_request
from tests.support.instance import Function, Instance, docker

_CALLS = 200
_PAUSE_SECONDS = 0.01
_CROWD_ENVIRONMENTS = 20
_CROWD_WAIT_SECONDS = 30
_HANG_SECONDS = 300.0
_IDLE_ENVIRONMENTS = 20
_ECHO = "def handler(event, context):\n    return event\n"
_SLEEP = """\
import time
def handler(seconds, context):
    time.sleep(seconds)
    return seconds
"""
_LARGE = "def handler(size, context):\n    return 'x' * size\n"


@click.command()
@click.option("--long", "long_seconds", default=60, help="Seconds that the 20 long calls take.")
@click.option("--crowd", default=1000, help="Calls of a second at once.")
def main(long_seconds: int, crowd: int) -> None:
    """See the module."""
    with tempfile.TemporaryDirectory(prefix="fnbox-bench-") as folder, ExitStack() as stack:
        instance = Instance(Path(folder) / "state").start()
        stack.callback(instance.stop)
        address = ("127.0.0.1", instance.port)
        echo = instance.deploy(_ECHO)
        large = instance.deploy(_LARGE, MemorySize=512)
        sleep = instance.deploy(_SLEEP, Timeout=900)
        normal = invoke_request(address, echo.name, b"{}")
        click.echo(f"{'ms of a normal call':34}   alone     p99   among     p99   worst")
        report("500 half-sent requests", address, normal, lambda: half_sent(address, 500))
        report("200 slow bodies", address, normal, lambda: slow_bodies(address, echo, 200))
        report("50 slow readers of 6 MB", address, normal, lambda: slow_readers(address, large, 50))
        report("1,000 idle connections", address, normal, lambda: idle(address, normal, 1000))
        report(
            f"20 calls of {long_seconds} s",
            address,
            normal,
            lambda: long_calls(address, sleep, 20, long_seconds),
        )
        memory(instance)
    with tempfile.TemporaryDirectory(prefix="fnbox-bench-") as folder, ExitStack() as stack:
        instance = Instance(
            Path(folder) / "state",
            max_environments=_CROWD_ENVIRONMENTS,
            wait_timeout=_CROWD_WAIT_SECONDS,
        ).start()
        stack.callback(instance.stop)
        crowded(("127.0.0.1", instance.port), instance.deploy(_SLEEP, Timeout=60), crowd)


def report(
    name: str, address: Address, request: bytes, condition: Callable[[], Iterator[None]]
) -> None:
    """Call with nothing else to do, and then while the condition holds."""
    with closing(Connection(address)) as connection:
        call(connection, request)
        alone = normal_calls(connection, request)
        with contextmanager(condition)():
            among = normal_calls(connection, request)
    figures = [statistics.median(alone), _p99(alone), statistics.median(among), _p99(among)]
    shown = "".join(f"{figure:8.2f}" for figure in [*figures, max(among)])
    click.echo(f"{name:34}{shown}")


def normal_calls(connection: Connection, request: bytes) -> list[float]:
    """How many ms each took."""
    times = []
    for _ in range(_CALLS):
        times.append(1000 * call(connection, request))
        time.sleep(_PAUSE_SECONDS)
    return times


def _p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]


# Conditions: each holds until its generator is left.


def half_sent(address: Address, count: int) -> Iterator[None]:
    """Half of them end within the head, half within the body."""
    whole = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of the body"
    with ExitStack() as stack:
        for number in range(count):
            dawdler = stack.enter_context(socket.create_connection(address, 10))
            dawdler.sendall(whole[: 20 if number % 2 else len(whole)])
        yield


def slow_bodies(address: Address, function: Function, count: int) -> Iterator[None]:
    """Each sends a byte ten times a second."""
    head = invoke_request(address, function.name, b" " * 10_000)[:-10_000]
    ended = threading.Event()
    with ExitStack() as stack:
        senders = [stack.enter_context(socket.create_connection(address, 10)) for _ in range(count)]
        for sender in senders:
            sender.sendall(head)

        def dribble() -> None:
            while not ended.wait(0.1):
                for sender in senders:
                    sender.sendall(b" ")

        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def slow_readers(address: Address, function: Function, count: int) -> Iterator[None]:
    """Each has asked for an answer of 6 MB, and reads none of it."""
    request = invoke_request(address, function.name, b"6000000")
    with ExitStack() as stack:
        for _ in range(count):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(address)
            reader.sendall(request)
            select.select([reader], [], [], 60)
        yield


def idle(address: Address, request: bytes, count: int) -> Iterator[None]:
    """Each has had an answer, and is kept."""
    with ExitStack() as stack:
        for _ in range(count):
            call(stack.enter_context(closing(Connection(address))), request)
        yield


def long_calls(address: Address, function: Function, count: int, seconds: int) -> Iterator[None]:
    """All of them run before, and until after, the normal calls."""
    started = [invoke_request(address, function.name, b"0.5")] * count
    asked(address, started)  # so that their environments are there
    with ExitStack() as stack:
        began = time.monotonic()
        request = invoke_request(address, function.name, str(seconds).encode())
        connections = [stack.enter_context(closing(Connection(address))) for _ in range(count)]
        for connection in connections:
            connection.send(request)
        yield
        for connection in connections:
            select.select([connection], [], [], seconds + 30)
            while not connection.receive():
                pass
        click.echo(f"  all {count} were answered, after {time.monotonic() - began:.1f} s")


def asked(address: Address, requests: list[bytes]) -> tuple[Counter[str], list[float]]:
    """How each ended, and after how many seconds, when all are sent at once."""
    statuses: Counter[str] = Counter()
    seconds = []
    waiting: dict[int, socket.socket] = {}
    poll = select.epoll()
    with ExitStack() as stack, poll:
        for request in requests:
            client = stack.enter_context(socket.create_connection(address, 10))
            client.sendall(request)
            waiting[client.fileno()] = client
            poll.register(client, select.EPOLLIN)
        began = time.monotonic()
        while waiting:
            ready = poll.poll(_HANG_SECONDS)
            if not ready:
                statuses["no answer"] += len(waiting)
                break
            for number, _ in ready:
                client = waiting.pop(number)
                poll.unregister(client)
                answer = client.recv(2**16)
                statuses[answer[9:12].decode() or "closed"] += 1
                seconds.append(time.monotonic() - began)
    return statuses, seconds


def crowded(address: Address, function: Function, crowd: int) -> None:
    request = invoke_request(address, function.name, b"1")
    statuses, seconds = asked(address, [request] * crowd)
    shown = ", ".join(f"{count} with {status}" for status, count in sorted(statuses.items()))
    click.echo(
        f"{crowd} calls of 1 s at once, {_CROWD_ENVIRONMENTS} environments at most, "
        f"{_CROWD_WAIT_SECONDS} s of waiting: {shown}; the last after {max(seconds):.1f} s"
    )


def memory(instance: Instance) -> None:
    """Of environments that have run once and wait: their cgroups, and what their processes
    and the engine's shim of each take of the machine (PSS; root sees it)."""
    address = ("127.0.0.1", instance.port)
    function = instance.deploy(_SLEEP)
    known = instance.containers()
    asked(address, [invoke_request(address, function.name, b"1")] * _IDLE_ENVIRONMENTS)
    made = instance.containers() - known
    listed = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", *made).splitlines()
    usage = statistics.median(_mib(line.split("/")[0]) for line in listed)
    inits = docker("inspect", "--format", "{{.State.Pid}}", *made).split()
    inside = statistics.median(_pss(int(init)) + sum(map(_pss, _children(init))) for init in inits)
    shim = statistics.median(_pss(_parent(init)) for init in inits)
    click.echo(
        f"an idle environment ({len(made)} of them): {usage:.1f} MiB in its cgroup; its processes "
        f"take {inside:.1f} MiB, the engine's shim {shim:.1f} MiB: "
        f"{1024 / (inside + shim):.0f} to a GiB"
    )


def _pss(process: int) -> float:
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def _children(process: str) -> list[int]:
    """Whichever of its threads started them."""
    lists = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for each in lists for child in each.read_text().split()]


def _parent(process: str) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def _mib(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", text.strip()).groups()  # type: ignore[union-attr]
    return float(number) * {"B": 2**-20, "KiB": 2**-10, "MiB": 1, "GiB": 2**10}[unit]


if __name__ == "__main__":
    main()
