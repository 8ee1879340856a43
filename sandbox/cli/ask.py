"""Asking the control plane for what is no part of Lambda's API."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.access.secret import read_secret
from sandbox.errors import CallerError, FnboxError, NotFound, StartupError
from sandbox.settings import Settings


def ask(settings: Settings, method: str, path: str, members: Any = None) -> dict[str, Any]:
    """The control plane's answer, to a body of JSON when there is one.

    Raises NotFound, CallerError for what it refuses, StartupError when it does not run.
    """
    with asking(settings, method, path, members) as response:
        body = response.read()
    if response.status == 404:
        raise NotFound(json.loads(body).get("message", "There is no such thing."))
    if response.status in (400, 403, 409):
        raise CallerError(_message(body) or str(refusal(settings, response)))
    if response.status != 200:
        raise refusal(settings, response)
    answer: dict[str, Any] = json.loads(body)
    return answer


def _message(body: bytes) -> str | None:
    try:
        found: str | None = json.loads(body).get("message")
    except (ValueError, AttributeError):
        return None
    return found


@contextmanager
def asking(
    settings: Settings, method: str, path: str, members: Any = None
) -> Iterator[http.client.HTTPResponse]:
    """The control plane's answer, whatever it is, as it comes; who can read its secret asks as its
    administrator. What the connection raises within the block leaves it as StartupError, when
    nothing runs, or FnboxError."""
    address = urllib.parse.urlsplit(settings.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    try:
        body = None if members is None else json.dumps(members)
        connection.request(method, path, body, _headers(settings))
        yield connection.getresponse()
    except ConnectionRefusedError as error:
        raise StartupError(f"nothing answers at {settings.url}: run `fnbox up`") from error
    except (OSError, http.client.HTTPException) as error:
        raise FnboxError(f"the control plane at {settings.url} broke off: {error}") from error
    finally:
        connection.close()


def _headers(settings: Settings) -> dict[str, str]:
    secret = read_secret(settings.state_dir)
    return {"Authorization": f"Bearer {secret.administrator_token}"} if secret else {}


def refusal(settings: Settings, response: http.client.HTTPResponse) -> FnboxError:
    return FnboxError(f"the control plane at {settings.url} answers {response.status}")
