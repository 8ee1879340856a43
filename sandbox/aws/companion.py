"""The companion: moto's server in a process of its own, which stands for other AWS services.

It listens on a Unix socket in the state directory. The socket is the control plane's and is
handed down, so that requests wait, and do not fail, while the process comes up or is replaced.
What it holds is in its memory alone: a companion that dies, or that is stopped, forgets it.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.clock import Clock

_SOCKET = "aws.sock"
_LOG = "aws.log"
_BACKLOG = 1024
_CLOSE_SECONDS = 5.0
_DELAYS = (0.1, 30.0)
"""Seconds before one that died is replaced: at first, and at most when they keep dying."""
_STEADY = 60.0
"""One that lived for so many seconds is replaced at once again."""
_COMMAND = (
    "env",
    # each request says whose it is
    "-u",
    "MOTO_ACCOUNT_ID",
    # Some of moto's services run Docker containers, with nothing of the isolation that fnbox's
    # have: it is not told where the engine is.
    "DOCKER_HOST=unix:///nonexistent/docker.sock",
    sys.executable,
    "-m",
    "sandbox.aws.server",
)
_STRICT = ("env", "MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS=false", "S3_IGNORE_SUBDOMAIN_BUCKETNAME=1")
"""Where it is asked who may what: a bucket is its account's, and named by the path alone."""

Connect = Callable[[float], socket.socket]
"""`Companion.connect`, or what stands for it in a test."""

_log = logging.getLogger(__name__)


class Companion:
    """Keeps one companion running until it is closed."""

    def __init__(self, state_dir: Path, clock: Clock, *, strict: bool = False) -> None:
        """Starts it and returns at once. `strict`: accounts do not see each other's buckets."""
        self._command = (*(_STRICT if strict else ()), *_COMMAND)
        self._directory = state_dir
        self._clock = clock
        self._listener = self._listen()
        self._lock = threading.Condition()
        self._closing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="companion", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        process = self._process
        return f"<Companion process={process.pid if process else None}>"

    @property
    def process_id(self) -> int | None:
        """Of the one that runs; None between two of them."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def log_path(self) -> Path:
        return self._directory / _LOG

    def connect(self, seconds: float) -> socket.socket:
        """A connection to it; every wait on it ends after so many seconds. Raises OSError."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(seconds)
        try:
            with _entered(self._directory) as place:
                connection.connect(f"{place}/{_SOCKET}")
        except OSError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """End it, and forget what it holds. May be called twice."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._lock.notify_all()
            if self._process is not None:
                _end(self._process)
        self._thread.join()
        self._listener.close()
        (self._directory / _SOCKET).unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        (self._directory / _SOCKET).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        with _entered(self._directory) as place:
            listener.bind(f"{place}/{_SOCKET}")
        (self._directory / _SOCKET).chmod(0o600)
        listener.listen(_BACKLOG)
        return listener

    def _keep(self) -> None:
        delay = _DELAYS[0]
        while (process := self._start()) is not None:
            began = self._clock.monotonic()
            status = process.wait()
            assert process.stdin is not None
            process.stdin.close()
            if self._clock.monotonic() - began >= _STEADY:
                delay = _DELAYS[0]
            with self._lock:
                if self._closing:
                    return
                _log.error(
                    "the companion for other AWS services ended with status %s and what it held "
                    "is lost; another one is started. Its log: %s",
                    status,
                    self.log_path,
                )
                self._lock.wait_for(lambda: self._closing, delay)
            delay = min(2 * delay, _DELAYS[1])

    def _start(self) -> subprocess.Popen[bytes] | None:
        """A new one, or None when there shall be none any more."""
        descriptor = self._listener.fileno()
        with self._lock:
            if self._closing:
                return None
            with self.log_path.open("ab") as output:
                self._process = subprocess.Popen(
                    [*self._command, str(descriptor)],
                    # it ends when nobody holds the other side any more, however we ended
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    pass_fds=[descriptor],
                    start_new_session=True,
                )
            return self._process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def _entered(directory: Path) -> Iterator[str]:
    """A directory by descriptor: the name of a socket may have 107 bytes, a directory's more."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
