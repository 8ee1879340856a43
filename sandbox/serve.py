"""Serves the control plane over HTTP until SIGTERM: one gunicorn worker, on gevent.

The master takes the state directory and the port, so that what is wrong with either
is one line at once; the worker builds the control plane after gevent has patched the
standard library. A worker that dies is replaced, and cleans up after the one before.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import resource
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication

from sandbox.aws import extra
from sandbox.errors import StartupError
from sandbox.http.worker import InvokeWorker
from sandbox.settings import Settings
from sandbox.setup import exposure
from sandbox.state import StateLock
from sandbox.traces import otlp

if TYPE_CHECKING:
    from flask import Flask

    from sandbox.api.app import ShortWay
    from sandbox.control_plane import ControlPlane

LIMITS = {"limit_request_line": 8190, "limit_request_field_size": 16_384}
"""What gunicorn refuses to read."""

_LOGGER = logging.getLogger(__name__)
_CONNECTIONS = 20_000
"""At most; and half of the files that this process may open, the others of which calls need."""
_IDLE_CONNECTION_SECONDS = 75
_BACKLOG = 2048
_CLOSE_SECONDS = 12
# A client behind a silent connection is noticed within about 2 minutes; a call that
# runs for 15 keeps its entry in every NAT table on the way. One that takes nothing of its answer
# for so long is given up too.
_KEEP_ALIVE = (
    (socket.TCP_KEEPIDLE, 45),
    (socket.TCP_KEEPINTVL, 15),
    (socket.TCP_KEEPCNT, 5),
    (socket.TCP_USER_TIMEOUT, 120_000),
)


def serve(settings: Settings, ready_fd: int | None = None) -> None:
    """Run until SIGTERM or SIGINT. Writes a byte to `ready_fd` once calls are answered."""
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    warning = exposure.check(settings)
    if settings.aws:
        extra.check()
    otlp.check(settings.otlp_endpoint)
    if warning:
        _LOGGER.warning(warning)
    lock = StateLock(settings.state_dir)
    listener = _listen(settings)
    with lock:
        _Server(settings, listener, ready_fd).run()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit these from the socket that accepts them.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in _KEEP_ALIVE:
        listener.setsockopt(socket.IPPROTO_TCP, option, value)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartupError(
                f"port {settings.port} is taken; stop what uses it, or set FNBOX_PORT"
            ) from error
        raise StartupError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}"
        ) from error
    listener.listen(_BACKLOG)
    listener.set_inheritable(True)
    return listener


def _open_files() -> int:
    """How many this process may have: all that the system lets it."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return limit if limit != resource.RLIM_INFINITY else 2 * _CONNECTIONS


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, told all it needs to know."""

    def __init__(self, settings: Settings, listener: socket.socket, ready_fd: int | None) -> None:
        self._settings = settings
        self._listener = listener
        self._ready_fd = ready_fd
        self._control_plane: ControlPlane | None = None
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": f"fd://{self._listener.fileno()}",
            "workers": 1,
            "worker_class": InvokeWorker,
            "worker_connections": min(_CONNECTIONS, _open_files() // 2),
            "keepalive": _IDLE_CONNECTION_SECONDS,
            # A call may take 15 minutes and a laptop may sleep: no worker is killed for silence.
            "timeout": 0,
            # The master's: its worker, after the calls' grace, has to end what is left of them.
            "graceful_timeout": self._grace + _CLOSE_SECONDS,
            "loglevel": self._settings.log_level.lower(),
            **LIMITS,
            "control_socket_disable": True,
            "post_worker_init": self._ready,
            "worker_exit": self._exit,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    @property
    def _grace(self) -> int:
        return max(1, round(self._settings.grace))

    def load(self) -> Flask:
        """In the worker."""
        self.cfg.set("graceful_timeout", self._grace)
        # Not before: what it imports has to find the standard library patched.
        from sandbox.control_plane import ControlPlane

        self._control_plane = ControlPlane(self._settings)
        # What is loaded now stays: 10,000 functions would make a collection take 350 ms.
        gc.collect()
        gc.freeze()
        # A call leaves few cycles behind; looking for them after every 700 objects took a
        # tenth of its time.
        gc.set_threshold(10_000, 20, 20)
        return self._control_plane.app

    @property
    def short_way(self) -> ShortWay:
        assert self._control_plane is not None, "there is none before it is loaded"
        found: ShortWay = self._control_plane.app.extensions["short_way"]
        return found

    def wind_down(self) -> None:
        if self._control_plane is not None:
            self._control_plane.wind_down()

    def _ready(self, worker: InvokeWorker) -> None:
        if self._control_plane is not None:
            self._control_plane.doors.answer_by(worker.serve_inside)
        if self._ready_fd is not None:
            # Nobody waits any more for a worker that takes the place of another.
            with suppress(BrokenPipeError):
                os.write(self._ready_fd, b"1")
            os.close(self._ready_fd)
            self._ready_fd = None

    def _exit(self, server: object, worker: object) -> None:
        if self._control_plane is not None:
            self._control_plane.close()
