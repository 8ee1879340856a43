"""A Unix socket in front of a Docker Engine's, which a test can take away and bring back.

A `FaultyEngine` reads the requests that pass, too, and does to some of them what goes wrong
between a client and an engine.
"""

from __future__ import annotations

import contextlib
import enum
import http.client
import json
import random
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, Self

from sandbox.settings import Settings


class EngineProxy:
    """The engine at an address of its own; other tests and instances keep theirs."""

    def __init__(self, path: Path, target: str | None = None) -> None:
        """`target`: the address of an engine; None: that of all tests."""
        self.address = f"unix://{path}"
        self._path = path
        self._target = (target or Settings.load().docker_host).removeprefix("unix://")
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._silent = False

    def start(self) -> Self:
        """The engine answers."""
        return self._listen(silent=False)

    def fall_silent(self) -> Self:
        """The engine's socket accepts connections, and that is all."""
        return self._listen(silent=True)

    def stop(self) -> None:
        """There is no engine any more."""
        with self._lock:
            listener, self._listener = self._listener, None
            left = {*self._open, *([listener] if listener else [])}
        for end in left:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if listener:
            listener.close()
            self._path.unlink()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _listen(self, *, silent: bool) -> Self:
        self.stop()
        self._silent = silent
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as engine:
            with self._lock:
                self._open |= {client, engine}
            if not self._silent:
                self._relay(client, engine)
            else:
                client.recv(1)
                while client.recv(65536):
                    pass
            with self._lock:
                self._open -= {client, engine}

    def _relay(self, client: socket.socket, engine: socket.socket) -> None:
        engine.connect(self._target)
        back = threading.Thread(target=_pump, args=(engine, client), daemon=True)
        back.start()
        _pump(client, engine)
        back.join()


class Fault(enum.Enum):
    """What becomes of a request."""

    HANG = "it reaches the engine never, and no answer comes"
    ERROR = "it reaches the engine never, and the answer is a 500"
    LOST = "the engine does it, and no answer comes"
    CUT = "the engine does it, and half of the answer comes"
    SLOW = "the engine does it, and the answer comes late"


class FaultyEngine(EngineProxy):
    """An engine to some of whose requests something happens. At first nothing does."""

    slow_seconds = 0.3

    def __init__(self, path: Path, target: str | None = None) -> None:
        super().__init__(path, target)
        self.done: Counter[Fault] = Counter()
        self._ordered: list[tuple[Fault, re.Pattern[str]]] = []
        self._random = random.Random()
        self._share = 0.0
        self._kinds: Sequence[Fault] = ()
        self._never = threading.Event()

    def next(self, fault: Fault, request: str, times: int = 1) -> None:
        """Do so to the next requests, as `POST /containers/create`, that match."""
        with self._lock:
            self._ordered += [(fault, re.compile(request))] * times

    @contextlib.contextmanager
    def faults(
        self, share: float, seed: int, kinds: Sequence[Fault] = tuple(Fault)
    ) -> Iterator[None]:
        """Do one of these to so many of all requests, drawn by `seed`."""
        with self._lock:
            self._random.seed(seed)
            self._share, self._kinds = share, kinds
        try:
            yield
        finally:
            self.calm()

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._share = 0.0
            self._ordered.clear()

    def _choose(self, request: str) -> Fault | None:
        with self._lock:
            ordered = next((each for each in self._ordered if each[1].search(request)), None)
            if ordered is not None:
                self._ordered.remove(ordered)
                fault = ordered[0]
            elif self._random.random() < self._share:
                fault = self._random.choice(self._kinds)
            else:
                return None
            self.done[fault] += 1
            return fault

    def _relay(self, client: socket.socket, engine: socket.socket) -> None:
        engine.connect(self._target)
        upstream = http.client.HTTPConnection("localhost")
        upstream.sock = engine
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            client.makefile("rb") as reader,
        ):
            while (request := _read(reader)) is not None:
                if not self._answer(client, upstream, request):
                    return
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _answer(
        self, client: socket.socket, upstream: http.client.HTTPConnection, request: _Request
    ) -> bool:
        """Whether the connection goes on."""
        fault = self._choose(f"{request.method} {request.path}")
        if fault is Fault.ERROR:
            body = json.dumps({"message": "a fault that a test ordered"}).encode()
            client.sendall(_response(500, "Internal Server Error", "application/json", body))
            return True
        if fault is not Fault.HANG:
            upstream.request(request.method, request.path, request.body, request.headers)
            with upstream.getresponse() as found:
                kind = found.headers.get("Content-Type", "application/json")
                answer = _response(found.status, found.reason, kind, found.read())
        if fault in (Fault.HANG, Fault.LOST):
            client.recv(1)  # until whoever waits has gone
            return False
        if fault is Fault.CUT:
            client.sendall(answer[: len(answer) // 2])
            return False
        if fault is Fault.SLOW:
            self._never.wait(self.slow_seconds)
        client.sendall(answer)
        return True


class _Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def _read(reader: IO[bytes]) -> _Request | None:
    words = reader.readline().decode().split()
    if not words:
        return None
    headers = http.client.parse_headers(reader)
    body = reader.read(int(headers.get("Content-Length", 0)))
    kept = {name: value for name, value in headers.items() if name.lower() == "content-type"}
    return _Request(words[0], words[1], kept, body)


def _response(status: int, reason: str, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\n"
    if status in (204, 304):
        return f"{head}\r\n".encode()
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
