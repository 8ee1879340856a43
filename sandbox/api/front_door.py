"""Who may come in at all: no web page of others, by whatever name it was reached.

fnbox answers on the machine that its user's browser runs on. Two ways lead a stranger's page
there, and both are closed before anything else looks at a request:

* **DNS rebinding**: the page's own name is made to lead to this machine, and then the browser takes
  fnbox for the page's server. The Host header still has that name: only names that nobody else can
  give an address to are answered, addresses themselves, and `FNBOX_ALLOWED_HOSTS`.
* **A request across sites**: a form, an image or a `fetch` that needs no preflight. Browsers say
  whose page it is in Origin, else in Sec-Fetch-Site and Referer, and no page can make them lie:
  pages of this machine's own servers are let in, and those of `FNBOX_ALLOWED_ORIGINS`. One that is
  signed is too: a page cannot add an Authorization header to a request to another site without
  asking first, and what asks has an Origin and no signature.

Function URLs are for browsers: what is asked of them by host goes past this door, and by path past
its second half. What their functions answer is a stranger's page like any other: one by host has an
origin of its own, one by path is put into a sandbox (`SANDBOX`), since its address is the API's.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sandbox.errors import AccessDenied, InvalidRequestContent
from sandbox.settings import Settings

SANDBOX = (
    "Content-Security-Policy",
    "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts",
)
"""Gives a page an origin of its own, whatever its address is."""

_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::([0-9]{1,5}))?", re.IGNORECASE)
_OWN_NAMES = frozenset({"localhost", "localhost.localstack.cloud"})
_OWN_ENDINGS = (
    ".localhost",  # RFC 6761: this machine, and no name server is asked
    ".localhost.localstack.cloud",  # 127.0.0.1 for everybody, as its owner says
    ".docker.internal",  # the engine's own names, as host.docker.internal
    # of endpoints, when a client's proxy or its /etc/hosts leads here
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".api.aws",
)
_KNOWN_HOSTS = 1000
_FROM_ITSELF = ("none", "same-origin")
"""What Sec-Fetch-Site says of an address that somebody typed, and of a page of its own site."""


class FrontDoor:
    """Raises CallerError for what it does not let in; knows at a glance what it does."""

    def __init__(self, settings: Settings) -> None:
        domain = settings.url_domain.partition(":")[0]
        told = (socket.gethostname(), settings.host, domain, domain and f"*.{domain}")
        allowed = [name.lower() for name in (*told, *settings.allowed_hosts) if name]
        self._names = _OWN_NAMES | {name for name in allowed if not name.startswith("*.")}
        self._endings = (*_OWN_ENDINGS, *(name[1:] for name in allowed if name.startswith("*.")))
        self._origins = frozenset(settings.allowed_origins)
        self._known: set[str | None] = set()
        """Host headers that were let in, bounded."""

    def knows(self, environ: Mapping[str, Any]) -> bool:
        """Whether a request for a path passes both checks: the Host of one before, no browser."""
        return (
            environ.get("HTTP_HOST", "") in self._known
            and "HTTP_ORIGIN" not in environ
            and "HTTP_SEC_FETCH_SITE" not in environ
        )

    def check_host(self, environ: Mapping[str, Any]) -> None:
        """Raise AccessDenied for a request that came by a name that may be anybody's.

        InvalidRequestContent for a Host header that is neither a name nor an address.
        """
        host: str | None = environ.get("HTTP_HOST")
        if host is None or host in self._known:  # HTTP/1.0 is older than pages that do harm
            return
        found = _AUTHORITY.fullmatch(host)
        if found is None:
            raise InvalidRequestContent("The Host header is not a name or an address.")
        name = (found[1] or found[2]).lower().removesuffix(".")
        if not (_is_address(name) or name in self._names or name.endswith(self._endings)):
            raise AccessDenied(
                f"fnbox does not answer as {name[:255]}: a web page could have given that name to "
                "this machine. If it is yours, name it in FNBOX_ALLOWED_HOSTS."
            )
        if len(self._known) >= _KNOWN_HOSTS:
            self._known.clear()
        self._known.add(host)

    def check_origin(self, environ: Mapping[str, Any]) -> None:
        """Raise AccessDenied for a request that a web page of another site makes."""
        origin: str | None = environ.get("HTTP_ORIGIN")
        if origin is None:
            if environ.get("HTTP_SEC_FETCH_SITE", "none") in _FROM_ITSELF:
                return
            origin = _origin_of(environ.get("HTTP_REFERER", ""))
            if _port(origin.partition("://")[2]) == _port(environ.get("HTTP_HOST", "")):
                origin = "null"  # fnbox's own address, but not its origin: it is in the sandbox
        if environ.get("HTTP_AUTHORIZATION", "").startswith("AWS"):
            return
        if origin in self._origins or _is_own(origin, environ.get("HTTP_HOST", "")):
            return
        raise AccessDenied(
            f"A page of {origin[:255] or 'another site'} may not use fnbox, unless it signs its "
            "requests. If the page is yours, name its origin in FNBOX_ALLOWED_ORIGINS."
        )


def _is_address(name: str) -> bool:
    """No name server has a say in where it leads."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _port(authority: str) -> str:
    found = _AUTHORITY.fullmatch(authority)
    return found[3] or "80" if found else ""


def _origin_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def _is_own(origin: str, host: str) -> bool:
    """Whether a page is of a server on this machine: by name not of a function URL, whose host
    ends in localhost but is not that alone."""
    scheme, _, authority = origin.lower().partition("://")
    if scheme not in ("http", "https"):
        return False
    if authority == host.lower():
        return True
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        return False
    name = found[1] or found[2]
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)
