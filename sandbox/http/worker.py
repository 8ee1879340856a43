"""gunicorn's gevent worker, with a loop of our own for Invoke.

Of a warm Invoke's time in the control plane, gunicorn's parser, WSGI environment and
response took more than half. So each connection is read here first: a plain Invoke
(`wire.read_head`) is answered in place, with one write; any other request goes to
gunicorn with every byte that was read. Behaviour is gunicorn's, byte for byte but for
the date, which tests/unit/test_http_worker.py shows by asking both.

What a connection may do beside: it may be silent between two requests, or dawdle over a
request's head, for `keepalive` seconds, and less where there is no room for others; over a body as
`receiving` has it, and bodies that come at once share an eighth of the memory. A client that
leaves during its call is noticed and logged, and the call goes on; at the end nothing is waited
for but calls in flight.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import math
import select
import socket
import time
import uuid
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, Protocol

import gevent
from gevent.event import Event
from gevent.monkey import get_original
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn import http, util
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.ggevent import GeventWorker

from sandbox import memory
from sandbox.http import doubts
from sandbox.http.receiving import Body, ParsedBody, Receiver
from sandbox.http.wire import ENVIRONMENT, INSIDE, REQUEST_ID, read_head, write_head
from sandbox.sockets import send_all
from sandbox.threads import run_native

READ_BYTES = 64 * 2**10
"""Of a connection at once: the head and body of most requests."""
WATCH_SECONDS = 1.0
"""How often connections are looked at, and how long a call runs unwatched."""

_TRIM_SECONDS = 60.0
"""How often freed memory is given back to the system."""
_AT_ONCE = 64
"""Invokes of one connection that are answered in a row before others have their turn."""
_ROOM = 20
"""Connections are ended early where fewer than one in so many are left."""
_BODIES_SHARE = 8
"""Of the machine's memory, one part in so many is for bodies that have not come in whole."""
_FAILED = "An error occurred and the request cannot be processed."
_DOOR: Any = SimpleNamespace(getsockname=lambda: ("127.0.0.1", "4566"))
"""What stands for the listener, and its name, where a function has found it."""
_NOBODYS = ("0.0.0.0", 0)
"""What stands for the address of a function: it has none, and is not this machine."""
_Poll = get_original("select", "poll")  # gevent's own is for waiting
_LOGGER = logging.getLogger(__name__)
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)


class ShortWay(Protocol):
    """Answers Invoke. This module is read before the standard library is patched, so it
    imports nothing of what answers."""

    def route(self, environ: dict[str, Any]) -> Any | None:
        """What `answer` needs; None when it is not Invoke that is asked for."""

    def answer(
        self, environ: dict[str, Any], found: Any
    ) -> tuple[int, list[tuple[str, str]], bytes | memoryview | Iterator[bytes]]:
        """Status, headers but for the length, and a body that is whole; puts REQUEST_ID there."""


class InvokeWorker(GeventWorker):  # type: ignore[misc]
    """See the module. `app.short_way` answers Invoke, `app.wind_down` is called at SIGTERM."""

    wsgi: Any

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self._ending = Event()
        self._bodies_bytes = memory.total_bytes() // _BODIES_SHARE
        self._waiting: dict[socket.socket, float] = {}
        """Connections between two requests, and since when; the longest first."""
        self._calls: dict[socket.socket, tuple[float, dict[str, Any]]] = {}
        """The calls that run: since when, and WSGI's variables."""
        self._receiving: dict[socket.socket, Receiver] = {}
        """Connections that more is read from."""
        self._inside: dict[socket.socket, dict[str, Any]] = {}
        """Connections of functions, and what their requests' WSGI variables say of it."""

    # From start to end.

    def run(self) -> None:
        [listener] = self.sockets
        listener.setblocking(True)
        self._connections = connections = Pool(self.worker_connections)
        server = StreamServer(listener, partial(self.handle, listener), spawn=connections)
        server.start()
        watch = gevent.spawn(self._watch)
        while self.alive and not self._ending.wait(1.0):
            self.notify()
        server.close()
        if not connections.join(self.cfg.graceful_timeout):
            _LOGGER.warning("%d connections have not ended in time", len(connections))
            server.stop(timeout=1)
        watch.kill()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.wsgi = self.marking(self.wsgi)

    def marking(self, app: Any) -> Any:
        """A WSGI application that is told, as `app`'s variables, what comes from inside."""

        def answer(environ: dict[str, Any], start_response: Any) -> Any:
            if mark := self._inside.get(environ["gunicorn.socket"]):
                environ.update(mark)
            return app(environ, start_response)

        return answer

    def handle_exit(self, sig: int, frame: object) -> None:
        super().handle_exit(sig, frame)
        gevent.spawn(self._wind_down)

    def _wind_down(self) -> None:
        self._ending.set()
        for client in list(self._waiting):
            _end_reading(client)
        self.app.wind_down()

    def _watch(self) -> None:
        trimmed = time.monotonic()
        while True:
            gevent.sleep(WATCH_SECONDS)
            now = time.monotonic()
            if now - trimmed >= _TRIM_SECONDS:
                run_native(memory.give_back)
                trimmed = now
            self._end_the_idle(now - self.cfg.keepalive)
            self._end_the_late(now)
            self._bound_bodies(now)
            self._make_room(self._connections.free_count())
            self._notice_the_gone(now - WATCH_SECONDS)

    def _end_the_idle(self, since_before: float) -> None:
        for client, since in list(self._waiting.items()):
            if since > since_before:
                break
            _end_reading(client)

    def _end_the_late(self, now: float) -> None:
        for client, receiver in list(self._receiving.items()):
            if receiver.is_late(now):
                _end_reading(client)

    def _bound_bodies(self, now: float) -> None:
        """The dearest go while more is kept of bodies on their way than they may take."""
        coming = list(self._receiving.items())
        excess = sum(receiver.reading for _, receiver in coming) - self._bodies_bytes
        for client, receiver in sorted(coming, key=lambda one: one[1].cost(now), reverse=True):
            if excess <= 0:
                break
            excess -= receiver.reading
            _end_reading(client)

    def _make_room(self, free: int) -> None:
        """Who waits for nothing, and longest, goes when there are hardly connections left."""
        wanted = self.worker_connections // _ROOM - free
        for client in list(self._waiting)[: max(0, wanted)]:
            _end_reading(client)

    def _notice_the_gone(self, begun_before: float) -> None:
        """Log whose client has left meanwhile, once; what its function does, it does.

        One that has closed its own side only, and still reads, looks the same and is answered.
        """
        poll = _Poll()
        clients = {}
        for client, (since, _) in self._calls.items():
            if since < begun_before:
                clients[client.fileno()] = client
                poll.register(client, select.POLLRDHUP)
        for number, _ in poll.poll(0) if clients else ():
            client = clients[number]
            _, environ = self._calls[client]
            self._calls[client] = math.inf, environ
            _LOGGER.info(
                "the client of request %s has left; the call goes on",
                environ.get(REQUEST_ID) or environ["RAW_URI"],
            )

    # One connection.

    def serve_inside(self, client: socket.socket, environment: str) -> None:
        """A function's, through the door of the environment with that id: see `doors`."""
        self._inside[client] = {INSIDE: True, ENVIRONMENT: environment}
        try:
            self.handle(_DOOR, client, _NOBODYS)
        finally:
            del self._inside[client]

    def handle(self, listener: socket.socket, client: socket.socket, address: Any) -> None:
        """From its first byte to its end; gunicorn's, but for what `_answer_invokes` answers."""
        client.setblocking(True)
        request = None
        try:
            server = listener.getsockname()
            receiver = Receiver(client, self._receiving)
            parser = http.get_parser(self.cfg, receiver, address)
            rest = b""
            # At the end as well, functions are answered whose own calls are waited for.
            while self.alive or client in self._inside:
                self._waiting[client] = time.monotonic()
                rest = self._answer_invokes(client, receiver, rest, address)
                if not rest:
                    break
                receiver.begin_head(rest)
                request = next(parser)
                receiver.begin_body()
                request.body = body = ParsedBody(request.body, receiver)
                del self._waiting[client]
                self.handle_request(server, request, client, address)
                self._waiting[client] = time.monotonic()
                if request.should_close() or not body.skip():
                    break
                rest = parser.unreader.take_buffered() + receiver.take_held()
                request = None
        except (NoMoreData, StopIteration):
            _LOGGER.debug("a connection has ended")
        except OSError as error:
            if error.errno not in _GONE:
                _LOGGER.exception("a connection broke")
        except BaseException as error:  # noqa: BLE001 - answered, as gunicorn has it
            self.handle_error(request, client, address, error)
        finally:
            self._waiting.pop(client, None)
            self._calls.pop(client, None)
            util.close(client)

    def _answer_invokes(
        self, client: socket.socket, receiver: Receiver, rest: bytes, address: Any
    ) -> bytes:
        """Answer one Invoke after another; the bytes of something else, or none at the end."""
        short_way: ShortWay = self.app.short_way
        mark = self._inside.get(client)
        for number in itertools.count(1):
            if mark:
                gevent.sleep(0)  # others' turn, even if a function always has a next request
            data = rest or client.recv(READ_BYTES)
            head = read_head(data)
            if head and mark:
                head.environ.update(mark)
            found = short_way.route(head.environ) if head else None
            if head is None or found is None:
                return data
            environ, begin, length = head
            body = Body(receiver, data[begin : begin + length], length)
            rest = data[begin + length :]
            environ["wsgi.input"] = body
            environ["REMOTE_ADDR"] = address[0] if address else ""
            del self._waiting[client]
            self._calls[client] = time.monotonic(), environ
            status, headers, answer = short_way.answer(environ, found)
            del self._calls[client]
            assert isinstance(answer, bytes | memoryview), "Invoke streams nothing"
            top = write_head(status, headers, len(answer), keep_alive=self.alive)
            send_all(client, top, b"" if status == HTTPStatus.NO_CONTENT else answer)
            self._waiting[client] = time.monotonic()
            if not self.alive or not body.skip():
                break
            if number % _AT_ONCE == 0:
                gevent.sleep(0)
        return b""

    def handle_request(self, server: Any, request: Any, client: Any, address: Any) -> Any:
        doubts.check(request)
        self._calls[client] = time.monotonic(), {"RAW_URI": request.uri}
        try:
            return super().handle_request(server, request, client, address)
        finally:
            del self._calls[client]

    def handle_error(self, request: Any, client: Any, address: Any, error: BaseException) -> None:
        """As gunicorn answers, and logs, what is no HTTP; in Lambda's words, not in HTML."""
        said = _Said()
        super().handle_error(request, said, address, error)
        status = int(said.data[9:12] or 500)
        with contextlib.suppress(OSError):
            send_all(client, *refusal(status, str(error)))


def _end_reading(client: socket.socket) -> None:
    """Its greenlet finds the connection ended; what has come already it still answers.

    By a second descriptor: by the first one gevent would break off the wait with an error.
    """
    with contextlib.suppress(OSError), client.dup() as same:
        same.shutdown(socket.SHUT_RD)


class _Said:
    """Takes what gunicorn would send."""

    def __init__(self) -> None:
        self.data = b""

    def gettimeout(self) -> float:
        return 0.0

    def sendall(self, data: bytes) -> None:
        self.data += data


def refusal(status: int, text: str) -> tuple[bytes, bytes]:
    """Head and body of the answer to what is no request. Which error AWS's front end names
    is not documented: here it is the model's nearest."""
    document = {"Type": "User", "message": text}
    name = "InvalidRequestContentException"
    if status >= 500:
        document = {"Type": "Service", "Message": _FAILED}
        name = "ServiceException"
    body = json.dumps(document).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("x-amzn-RequestId", str(uuid.uuid4())),
        ("x-amzn-ErrorType", name),
    ]
    return write_head(status, headers, len(body), keep_alive=False), body
