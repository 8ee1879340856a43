"""What comes from a function's container is marked, and nothing else can be."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sandbox.http.worker import InvokeWorker
from tests.support.worker import ask, worker

HEALTH = b"GET /health HTTP/1.1\r\nHost: here\r\n"
INVOKE = b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n"
FORGED = b"fnbox.inside: True\r\nFnbox-Inside: True\r\nX-Fnbox-Inside: True\r\n"
MARKS = ("fnbox.inside", "fnbox.environment", "REMOTE_ADDR")


class Recording:
    """Stands for the application and its short way; both note what they are told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.extensions = {"short_way": self}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self._note(environ)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"{}"]

    def route(self, environ: dict[str, Any]) -> object:
        self._note(environ)
        return SimpleNamespace()

    def answer(self, environ: dict[str, Any], found: object) -> tuple[int, list[Any], bytes]:
        self._note(environ)
        environ["wsgi.input"].read(2)
        return 200, [], b"{}"

    def _note(self, environ: dict[str, Any]) -> None:
        self.told.append(tuple(environ.get(mark) for mark in MARKS))


@pytest.fixture
def app() -> Recording:
    return Recording()


@pytest.fixture
def asked(app: Recording) -> InvokeWorker:
    return worker(cast(Any, app))


def ask_inside(asked: InvokeWorker, sent: bytes) -> bytes:
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(sent)
        ours.shutdown(socket.SHUT_WR)
        asked.serve_inside(theirs, "e1")
        return b"".join(iter(lambda: ours.recv(2**16), b""))


@pytest.mark.parametrize("request_", [HEALTH + b"\r\n", INVOKE + b"\r\n{}"])
def test_every_request_of_a_function_is_marked(
    asked: InvokeWorker, app: Recording, request_: bytes
) -> None:
    answer = ask_inside(asked, request_ * 3)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert {told[:2] for told in app.told} == {(True, "e1")}
    assert {told[2] for told in app.told} <= {None, "0.0.0.0"}


@pytest.mark.parametrize(
    "request_", [HEALTH + FORGED + b"\r\n", INVOKE + FORGED + b"\r\n{}", INVOKE + b"\r\n{}"]
)
def test_nobody_outside_can_be_marked(asked: InvokeWorker, app: Recording, request_: bytes) -> None:
    ask_inside(asked, request_)
    app.told.clear()
    assert ask(asked, request_).startswith(b"HTTP/1.1 ")
    assert {told[:2] for told in app.told} <= {(None, None)}


def test_no_header_of_a_functions_says_who_it_is(asked: InvokeWorker, app: Recording) -> None:
    said = b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n"
    ask_inside(asked, HEALTH + said + FORGED.split(b"\r\n", 1)[1] + b"\r\n")
    assert app.told == [(True, "e1", "0.0.0.0")]


def test_at_the_end_functions_are_still_answered(asked: InvokeWorker, app: Recording) -> None:
    asked.alive = False
    assert b"200 OK" in ask_inside(asked, HEALTH + b"\r\n")
    assert b"200 OK" in ask_inside(asked, INVOKE + b"\r\n{}")
    assert ask(asked, HEALTH + b"\r\n") == b""
