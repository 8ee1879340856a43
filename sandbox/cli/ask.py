"""Asking the control plane for what is no part of Lambda's API."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.errors import FnboxError, NotFound, StartupError
from sandbox.settings import Settings


def ask(settings: Settings, method: str, path: str) -> dict[str, Any]:
    """The control plane's answer. Raises NotFound, StartupError when it does not run."""
    with asking(settings, method, path) as response:
        body = response.read()
    if response.status == 404:
        raise NotFound(json.loads(body).get("message", "There is no such thing."))
    if response.status != 200:
        raise refusal(settings, response)
    answer: dict[str, Any] = json.loads(body)
    return answer


@contextmanager
def asking(settings: Settings, method: str, path: str) -> Iterator[http.client.HTTPResponse]:
    """The control plane's answer, whatever it is, as it comes. What the connection raises within
    the block leaves it as StartupError, when nothing runs, or FnboxError."""
    address = urllib.parse.urlsplit(settings.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    try:
        connection.request(method, path)
        yield connection.getresponse()
    except ConnectionRefusedError as error:
        raise StartupError(f"nothing answers at {settings.url}: run `fnbox up`") from error
    except (OSError, http.client.HTTPException) as error:
        raise FnboxError(f"the control plane at {settings.url} broke off: {error}") from error
    finally:
        connection.close()


def refusal(settings: Settings, response: http.client.HTTPResponse) -> FnboxError:
    return FnboxError(f"the control plane at {settings.url} answers {response.status}")
