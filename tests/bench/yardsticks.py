"""What the machine can do at a moment: something to divide a figure by that was measured beside it.

An HTTP server that only answers, the same that fnbox runs on; single commits of SQLite with the
settings that fnbox has; and writes that wait for the disk.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.bench.client import Address
from tests.support.functions import until
from tests.support.instance import free_port

_SECONDS = 0.5
_START_SECONDS = 30


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Reads a request and accepts it; does nothing else."""
    environ["wsgi.input"].read()
    start_response("202 Accepted", [("Content-Length", "0")])
    return [b""]


class Echo:
    """`app` behind gunicorn, with one gevent worker, as fnbox is served."""

    def __init__(self, address: Address, worker: Path) -> None:
        self.address = address
        self.worker = worker
        """Its directory in /proc."""


@contextmanager
def echo() -> Iterator[Echo]:
    address = ("127.0.0.1", free_port())
    options = ["--bind", f"{address[0]}:{address[1]}", "--worker-class", "gevent"]
    options += ["--keep-alive", "75"]
    command = [sys.executable, "-m", "gunicorn", *options, "--log-level", "error"]
    process = subprocess.Popen([*command, "tests.bench.yardsticks:app"])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        until(lambda: bool(children.read_text()) and _listens(address), _START_SECONDS)
        yield Echo(address, Path("/proc", children.read_text().split()[0]))
    finally:
        process.terminate()
        process.wait()


def _listens(address: Address) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def commits_a_second(folder: Path) -> float:
    """Of one row each, one after another."""
    path = folder / "yardstick.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, body BLOB)")
        row = (bytes(200),)
        return _rate(lambda: connection.execute("INSERT INTO rows (body) VALUES (?)", row))


def syncs_a_second(folder: Path) -> float:
    """Of 4 KiB appended and waited for."""
    descriptor = os.open(folder / "yardstick", os.O_CREAT | os.O_WRONLY)
    try:

        def write() -> None:
            os.write(descriptor, bytes(4096))
            os.fdatasync(descriptor)

        return _rate(write)
    finally:
        os.close(descriptor)


def _rate(work: Any) -> float:
    began, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - began) < _SECONDS:
        work()
        count += 1
    return count / seconds
