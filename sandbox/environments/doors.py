"""The way from a function back to fnbox: a socket of its environment's own.

It lies beside the channel's, and the init relays to it what the function sends to ENDPOINT:
that needs no network. Who asks needs no proof, since nobody else can reach that socket. A
function that floods it holds up itself: so many connections are answered at once, and the
next is taken when one of them has ended.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

SOCKET = "api.sock"
ENDPOINT = "127.0.0.1:4566"
"""Where a function finds fnbox, inside its container."""
CONNECTIONS = 32
"""That one environment may have at once."""

_CLOSED = (errno.EINVAL, errno.EBADF)
_REST_SECONDS = 1.0
_LOGGER = logging.getLogger(__name__)

Answer = Callable[[socket.socket, str], None]
"""Serves one connection of the environment with that id, to its end, and closes it."""


def bind(directory: Path, name: str, backlog: int) -> socket.socket:
    """A listener in a directory that is ours: only who may enter that can connect."""
    listener = socket.socket(socket.AF_UNIX)
    # A path by descriptor: the name of a socket may have 107 bytes, that of a directory more.
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{descriptor}/{name}")
    except OSError:
        listener.close()
        raise
    finally:
        os.close(descriptor)
    # The init is root, but without the capability to write to what is another user's.
    (directory / name).chmod(0o666)
    listener.listen(backlog)
    return listener


class Doors:
    """Those of every environment. Connections wait until `answer_by` has said who answers."""

    def __init__(self) -> None:
        self._answer: Answer | None = None
        self._answered = threading.Event()
        self._listeners: dict[str, socket.socket] = {}

    def answer_by(self, answer: Answer) -> None:
        """From now on; it is called in a thread of each connection's own."""
        self._answer = answer
        self._answered.set()

    def open(self, directory: Path) -> None:
        """That of the environment whose directory, by its name its id, this is."""
        listener = bind(directory, SOCKET, CONNECTIONS)
        self._listeners[directory.name] = listener
        threading.Thread(
            target=self._take_in,
            args=(listener, directory.name),
            name=f"door-{directory.name}",
            daemon=True,
        ).start()

    def close(self, directory: Path) -> None:
        """No more connections; calls that are being answered go on. Closed already is fine."""
        listener = self._listeners.pop(directory.name, None)
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for the next

    def _take_in(self, listener: socket.socket, environment: str) -> None:
        free = threading.BoundedSemaphore(CONNECTIONS)
        with listener:
            while True:
                free.acquire()
                connection = _accept(listener)
                if connection is None:
                    return
                threading.Thread(
                    target=self._serve,
                    args=(connection, environment, free),
                    name=f"inside-{environment}",
                    daemon=True,
                ).start()

    def _serve(
        self, connection: socket.socket, environment: str, free: threading.BoundedSemaphore
    ) -> None:
        try:
            self._answered.wait()
            assert self._answer is not None, "who answers is known"
            self._answer(connection, environment)
        finally:
            connection.close()
            free.release()


def _accept(listener: socket.socket) -> socket.socket | None:
    """The next connection; None once the door is closed."""
    while True:
        try:
            return listener.accept()[0]
        except OSError as error:
            if error.errno in _CLOSED:
                return None
            # No descriptor is left, mostly; nothing tells when there is one again.
            _LOGGER.warning("a function's connection was not taken: %s", error)
            time.sleep(_REST_SECONDS)
