"""What is refused is forgotten at once, and does not wait for the garbage collector."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder

from sandbox.api.pages import ACCESS
from sandbox.api.urls.address import PATH
from sandbox.catalog.database import Database
from sandbox.environments.groups import Waiter
from sandbox.errors import FnboxError, TooManyRequests
from sandbox.invocation import ResponseStream
from tests.support.api import Api, open_api

FUNCTIONS = "/2015-03-31/functions"
INVOKE = f"{FUNCTIONS}/f/invocations"


class Environ(dict[str, Any]):
    """WSGI's variables, of which it can be told whether anybody has them still."""


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(params=["off", "audit", "enforce"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    opened = open_api(tmp_path, iam=request.param)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (f"{FUNCTIONS}/none/invocations", b"{}", {}),
        (INVOKE, b"{", {}),
        (INVOKE, b'{"' + b"x" * 300_000, {}),
        (INVOKE, b"{}", {"Authorization": "AWS4-HMAC-SHA256 Credential=nobody"}),
        (INVOKE, b"{}", {"X-Amz-Invocation-Type": "Event", "Content-Length": "9999999"}),
        (FUNCTIONS, b"{", {}),
        (FUNCTIONS, b'{"FunctionName": "f", "Code": {"ZipFile": "AAAA"}}', {}),
        ("/2015-03-31/nothing", b"{}", {}),
        ("/", b"{}", {"X-Amz-Target": "Logs_20140328.GetLogEvents"}),
        (f"{ACCESS}keys", b"{}", {}),
        (f"{PATH}none/", b"{}", {}),
    ],
)
def test_a_refused_request_is_forgotten(
    api: Api, path: str, body: bytes, headers: dict[str, str]
) -> None:
    api.service.failure = TooManyRequests("ConcurrentInvocationLimitExceeded")
    builder = EnvironBuilder(path, method="POST", data=body, headers=headers)
    environ = Environ(builder.get_environ(), RAW_URI=path)
    told = weakref.ref(environ)
    statuses: list[str] = []
    answer = api.app.wsgi_app(environ, lambda status, _: statuses.append(status))
    assert b"".join(answer)
    del environ, answer, builder
    assert told() is None
    assert statuses[0] >= "4"


def of_a_waiter(error: FnboxError, _: Database) -> None:
    waiter = Waiter()
    waiter.error = error
    del error
    waiter.result()


def of_a_stream(error: FnboxError, _: Database) -> None:
    stream = ResponseStream()
    stream.end(error)
    del error
    stream.begin()


def of_a_transaction(error: FnboxError, database: Database) -> None:
    kept = [error]
    del error

    def work(_: Any) -> None:
        raise kept.pop()

    database.transaction(work)


@pytest.mark.parametrize("wait", [of_a_waiter, of_a_stream, of_a_transaction])
def test_an_error_that_was_waited_for_leaves_nothing_of_who_waited(
    wait: Callable[[FnboxError, Database], None], database: Database
) -> None:
    def call() -> weakref.ref[Environ]:
        request = Environ()
        with contextlib.suppress(FnboxError):
            wait(TooManyRequests("ConcurrentInvocationLimitExceeded"), database)
        return weakref.ref(request)

    told = call()
    database.transaction(lambda _: None)  # its thread remembers the last
    assert told() is None
