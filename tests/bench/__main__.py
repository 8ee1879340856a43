"""Runs the benchmark: fnbox and AWS's emulator in turns, round after round."""

from __future__ import annotations

import json
import os
import platform
import secrets
import signal
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import click
from docker import APIClient
from docker.errors import ImageNotFound
from rich.console import Console

import sandbox
from sandbox.settings import Settings
from sandbox.setup.deploy import pack
from tests.bench import rie
from tests.bench.client import Address, Connection
from tests.bench.instance import RUNTIME, running
from tests.bench.measures import CLIENTS, FULL, QUICK, Cold, Round, Subject, tail, warm
from tests.bench.report import document, show

_IMAGE = f"fnbox/{RUNTIME}:latest"
_HANDLER = "echo.answer"
# The memory with which a function's container weighs as much, when CPU is short, as one
# that `docker run` starts: the emulator's.
_MEMORY_MIB = 1769
_FUNCTION = """\
def answer(event, context):
    print("one line of log")
    return event
"""


@click.command()
@click.option("--rounds", type=click.IntRange(1), help="[default: 5, or 2 with --quick]")
@click.option("--quick", is_flag=True, help="A fifth of the calls: to see that it works.")
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path))
def main(rounds: int | None, quick: bool, path: Path | None) -> None:
    """Measure fnbox and AWS's emulator side by side; JSON goes to --json PATH."""
    console = Console(stderr=True, highlight=False)
    effort = QUICK if quick else FULL
    count = rounds or (2 if quick else 5)
    address = Settings.load().docker_host
    done: list[Round] = []
    _end_once()
    with closing(APIClient(address, version="auto", timeout=60)) as engine:
        about = _about(engine)
        with ExitStack() as stack:
            ours, theirs, cold = _set_up(stack, engine, address, console)
            order = [ours, theirs]
            for number in range(count):
                load = os.getloadavg()[0]
                console.print(f"round {number + 1} of {count}, load {load:.1f}")
                figures = warm(order, effort) | tail(ours, effort) | cold.measure(effort)
                done.append(figures | {"machine.load": load})
                order.reverse()
            console.print("clean up")
    if path is not None:
        path.write_text(json.dumps(document(done, about), indent=2, ensure_ascii=False) + "\n")
    show(done, Console(highlight=False))


def _set_up(
    stack: ExitStack, engine: APIClient, address: str, console: Console
) -> tuple[Subject, Subject, Cold]:
    """All that is to be measured, warm; the stack takes it away again."""
    console.print("AWS's emulator")
    emulator = rie.fetch()
    task = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fnbox-bench-")))
    task.chmod(0o755)
    (task / "echo.py").write_text(_FUNCTION)
    package = pack(task)
    clients = range(max(CLIENTS))

    console.print("fnbox")
    fnbox = stack.enter_context(running(engine, address))
    fnbox.create("warm", package, _HANDLER, MemorySize=_MEMORY_MIB)
    ours = _subject(stack, "fnbox", "warm", [fnbox.address for _ in clients])
    ours.warm_up()
    fnbox.settle()

    console.print(f"{len(clients)} containers of the emulator")
    containers = rie.Containers(engine, _IMAGE, secrets.token_hex(4))
    stack.callback(containers.remove_all)
    addresses = [containers.start_rie(emulator, task, _HANDLER)[1] for _ in clients]
    for place in addresses:
        rie.wait_until_listening(place)
    theirs = _subject(stack, "rie", "function", addresses)
    theirs.warm_up()

    console.print("fnbox, with and without a spare, for cold starts")
    with_spare = stack.enter_context(running(engine, address, spares=1))
    without_spare = stack.enter_context(running(engine, address, spares=0))
    cold = Cold(with_spare, without_spare, containers, emulator, task, _HANDLER, package)
    return ours, theirs, cold


def _subject(stack: ExitStack, name: str, function: str, addresses: list[Address]) -> Subject:
    connections = [stack.enter_context(closing(Connection(address))) for address in addresses]
    return Subject(name, function, addresses, connections)


def _about(engine: APIClient) -> dict[str, Any]:
    """What the figures belong to."""
    try:
        image = engine.inspect_image(_IMAGE)["Id"]
    except ImageNotFound as error:
        raise click.ClickException(f"no image {_IMAGE}: run `make images`") from error
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "fnbox": sandbox.__version__,
        "sam_cli": rie.SAM_CLI,
        "image": image,
        "engine": engine.version()["Version"],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_before": os.getloadavg()[0],
    }


def _end_once() -> None:
    """Ctrl-C and SIGTERM end the run once; nothing then disturbs the cleaning up."""
    endings = (signal.SIGINT, signal.SIGTERM)

    def end(number: int, frame: object) -> None:
        for ending in endings:
            signal.signal(ending, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for ending in endings:
        signal.signal(ending, end)


main()
