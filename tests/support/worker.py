"""The gunicorn worker that serves, asked over a socket pair in the thread of the test."""

from __future__ import annotations

import re
import socket
from contextlib import nullcontext, suppress
from types import SimpleNamespace
from typing import Any, cast

from flask import Flask
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.base_async import AsyncWorker

from sandbox.http.worker import InvokeWorker
from sandbox.serve import LIMITS

ADDRESS = ("127.0.0.1", 50000)
_LISTENER = SimpleNamespace(getsockname=lambda: ("127.0.0.1", 4566))
_CHANGING = re.compile(
    rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[Rr]oot=[^;]*;[Pp]arent=[0-9a-f]{16}|Date: [^\r]*"
)


class GunicornAlone(InvokeWorker):
    """What answers when there is no short way."""

    handle = AsyncWorker.handle

    def timeout_ctx(self) -> Any:
        return nullcontext()


def worker(app: Flask, kind: type[InvokeWorker] = InvokeWorker) -> InvokeWorker:
    config = Config()
    for name, value in {**LIMITS, "keepalive": 75, "loglevel": "critical"}.items():
        config.set(name, value)
    application = SimpleNamespace(short_way=app.extensions["short_way"], wind_down=lambda: None)
    made = kind(1, 1, [], application, 0, config, Logger(config))
    made.tmp.close()  # the heartbeat that its master would watch
    made.wsgi = made.marking(app)
    made.nr, made.max_requests = 0, 2**30
    return made


def ask(asked: InvokeWorker, sent: bytes, *, ends: bool = True) -> bytes:
    """All that comes back when a client sends these bytes, and then no more."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**22)
        ours.sendall(sent)
        if ends:
            ours.shutdown(socket.SHUT_WR)
        asked.handle(cast(Any, _LISTENER), theirs, ADDRESS)
        answer = bytearray()
        with suppress(ConnectionResetError):  # it has not read all that was sent
            while data := ours.recv(2**16):
                answer += data
        return bytes(answer)


def masked(answer: bytes) -> bytes:
    """Without what differs from one answer to the next."""
    return _CHANGING.sub(b"*", answer)
