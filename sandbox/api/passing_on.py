"""Requests for other AWS services: passed on to the companion, or told how to switch it on.

Bodies pass in pieces, both ways: no more than one piece of each is inside fnbox, and a side that
is slow slows down the other.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from sandbox.access import sigv4
from sandbox.access.authentication import Authentication, digest
from sandbox.access.errors import SignatureDoesNotMatch
from sandbox.access.others import Request, others_asked
from sandbox.api.authorization import Authorization
from sandbox.api.context import (
    RequestContext,
    new_request_id,
    of_principal,
    read_context,
    verified,
)
from sandbox.api.dispatch import read_bytes
from sandbox.api.elsewhere import S3, Destination
from sandbox.api.errors import Reply
from sandbox.api.refusals import in_words_of, refusal
from sandbox.aws.companion import Connect
from sandbox.errors import CallerError
from sandbox.http.wire import request_target
from sandbox.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import InputStream, WSGIEnvironment

PIECE_BYTES = 64 * 1024
BODY_BYTES = 16 * 2**20 + 2**16
"""Of what has to be whole before its signature can be verified; DynamoDB takes 16 MiB."""
PASSED_ON = 0
"""In the audit log, the status of what another answers."""
SILENCE_SECONDS = 120.0
"""How long the companion may say nothing: it may have to come up, and a long poll takes 20."""

SERVICES = ("sqs", "sns", "s3", "sts", "iam", "events", "dynamodb")

_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te"),
        *("trailer", "transfer-encoding", "upgrade"),
    }
)
_NOT_PASSED_ON = _HOP_BY_HOP | {"expect", "content-length", "x-moto-account-id"}
_NOT_PASSED_BACK = _HOP_BY_HOP | {"server", "date"}
_SAFE = "".join(chr(code) for code in range(33, 127))

log = logging.getLogger(__name__)


class PassingOn:
    """Answers requests for services that fnbox does not have."""

    def __init__(
        self,
        settings: Settings,
        connect: Connect | None,
        authentication: Authentication,
        authorization: Authorization,
    ) -> None:
        """Without `connect` there is no companion."""
        self._settings = settings
        self._connect = connect
        self._authentication = authentication
        self._authorization = authorization

    @property
    def services(self) -> tuple[str, ...]:
        """Those that are made sure of; others are passed on too."""
        return SERVICES if self._connect is not None else ()

    def answer(self, environ: WSGIEnvironment, to: Destination) -> Reply:
        """The reply to a request."""
        context = read_context(environ, new_request_id(), self._settings)
        if self._connect is None:
            text = (
                f"fnbox has Lambda and CloudWatch Logs. To have {to.service} and other AWS "
                "services here too, start it with `fnbox up --aws`."
            )
            # 501: SDKs show it at once, and retry 500, 502, 503 and 504
            return refusal(environ, to.service, 501, "NotImplemented", text, context.request_id)
        if self._authentication.needed(environ):
            noted = (environ, context.request_id, f"{to.service}:-")
            try:
                context = self._verified(environ, context, to)
                self._authorize(environ, context, to)
            except CallerError as error:
                status, code, text = in_words_of(environ, to.service, error)
                self._authorization.note(*noted, status, error)
                return refusal(environ, to.service, status, code, text, context.request_id)
            self._authorization.note(*noted, PASSED_ON)
        connection = _Connection(self._connect)
        try:
            send(connection, environ, [*passed_on(environ, context, to)])
            response = connection.getresponse()
        except _AnotherBody:
            connection.close()
            text = "The provided 'x-amz-content-sha256' header does not match what was computed."
            code = "XAmzContentSHA256Mismatch"
            return refusal(environ, to.service, 400, code, text, context.request_id)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            log.warning("a request for %s was not answered: %r", to.service, error)
            text = f"The companion that stands for {to.service} did not answer: {error!r}"
            code = "ServiceUnavailable"
            return refusal(environ, to.service, 503, code, text, context.request_id)
        headers = [
            (name, value)
            for name, value in response.getheaders()
            if name.lower() not in _NOT_PASSED_BACK
        ]
        return response.status, headers, _Body(connection, response)

    def _verified(
        self, environ: WSGIEnvironment, context: RequestContext, to: Destination
    ) -> RequestContext:
        """Raises CallerError. Puts a body that has been read, or is to be checked, in `environ`."""
        if to.service != S3:
            body = read_bytes(environ, to.service, BODY_BYTES)
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
            return verified(self._authentication, context, body, to.service)
        principal = self._authentication.authenticate_head(environ, S3, context.account)
        if principal.failure is not None:
            return of_principal(context, principal)
        payload = sigv4.body_hash(sigv4.read(environ), digest(b""))
        if sigv4.is_hash(payload):
            length = environ.get("CONTENT_LENGTH")
            comes = length != "0" if length else environ.get("wsgi.input_terminated")
            if not comes and payload != digest(b""):
                raise SignatureDoesNotMatch
            environ["wsgi.input"] = _Checked(environ, payload)
        return of_principal(context, principal)

    def _authorize(
        self, environ: WSGIEnvironment, context: RequestContext, to: Destination
    ) -> None:
        """Raise AccessDenied for whom policies do not let. The companion asks none."""
        body = b""
        if to.service != S3:  # `_verified` has read it
            body = environ["wsgi.input"].getvalue()
        kind: str = environ.get("CONTENT_TYPE", "")
        path, query = request_target(environ)
        request = Request(
            to.service,
            environ["REQUEST_METHOD"],
            path,
            query,
            environ.get("HTTP_X_AMZ_TARGET", ""),
            kind.lower().startswith("application/x-www-form-urlencoded"),
            body,
            environ.get("HTTP_X_AMZ_COPY_SOURCE", ""),
        )
        self._authorization.require(others_asked(request, context.account, context.region), context)


class _AnotherBody(Exception):
    """A body whose hash is not the one that was signed."""


class _Checked:
    """A body on its way that is held back at its end until its hash is known to be right: whoever
    gets it does not get the whole of another one."""

    def __init__(self, environ: WSGIEnvironment, expected: str) -> None:
        self._stream = environ["wsgi.input"]
        length = environ.get("CONTENT_LENGTH")
        self._left = int(length) if length else None
        self._expected = expected
        self._hash = hashlib.sha256()
        self._ahead: bytes | None = None

    def read(self, size: int) -> bytes:
        """A piece, while the one after it is there, or none is."""
        piece = self._next(size) if self._ahead is None else self._ahead
        self._ahead = self._next(size) if piece else b""
        if not self._ahead and self._hash.hexdigest() != self._expected:
            raise _AnotherBody
        return piece

    def _next(self, size: int) -> bytes:
        if self._left is not None:
            size = min(size, self._left)
        piece: bytes = self._stream.read(size) if size else b""
        if self._left is not None:
            self._left -= len(piece)
        self._hash.update(piece)
        return piece


class _Connection(http.client.HTTPConnection):
    def __init__(self, connect: Connect) -> None:
        super().__init__("companion")
        self._open = connect

    def connect(self) -> None:
        self.sock = self._open(SILENCE_SECONDS)


class _Body(Iterator[bytes]):
    """What comes back, piece by piece; whoever serves it closes it."""

    def __init__(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        self._connection = connection
        self._response = response

    def __next__(self) -> bytes:
        piece = self._response.read1(PIECE_BYTES)
        if piece:
            return piece
        if self._response.length:
            raise http.client.IncompleteRead(b"", self._response.length)
        raise StopIteration

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def passed_on(
    environ: WSGIEnvironment, context: RequestContext, to: Destination
) -> Iterator[tuple[str, str]]:
    """The headers of a request as the companion gets it."""
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            name = key[5:].replace("_", "-").lower()
            if name not in _NOT_PASSED_ON:
                yield name, value
    if environ.get("CONTENT_TYPE"):
        yield "content-type", environ["CONTENT_TYPE"]
    # accounts are told apart as everywhere in fnbox
    yield "x-moto-account-id", context.account
    if not to.signed and to.service != S3:
        # It goes by the signature alone. S3's objects may be public: there none means nobody.
        scope = f"{context.account}/20000101/{context.region}/{to.service}/aws4_request"
        yield (
            "authorization",
            f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        )


def send(
    connection: http.client.HTTPConnection,
    environ: WSGIEnvironment,
    headers: Iterable[tuple[str, str]],
) -> None:
    """A request with its body, as it comes in. Raises OSError when either side breaks off."""
    path, query = request_target(environ)
    target = f"{path}?{query}" if query else path
    connection.putrequest(
        environ["REQUEST_METHOD"],
        quote(target.encode("latin-1"), safe=_SAFE),
        skip_host=True,
        skip_accept_encoding=True,
    )
    for name, value in headers:
        connection.putheader(name, value)
    length = environ.get("CONTENT_LENGTH")
    chunked = not length and bool(environ.get("wsgi.input_terminated"))
    if chunked:
        connection.putheader("transfer-encoding", "chunked")
    elif length:
        connection.putheader("content-length", length)
    connection.putheader("connection", "close")
    connection.endheaders()
    for piece in pieces(environ["wsgi.input"], None if chunked else int(length or 0)):
        try:
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        except (BrokenPipeError, ConnectionResetError):
            return  # it has answered before it had all: what it said is there to be read
    if chunked:
        connection.send(b"0\r\n\r\n")


def pieces(stream: InputStream, length: int | None) -> Iterator[bytes]:
    """A body of so many bytes, or until its end. Raises OSError when it breaks off."""
    left = PIECE_BYTES if length is None else length
    while left:
        piece = stream.read(min(left, PIECE_BYTES))
        if not piece:
            if length is None:
                return
            raise ConnectionError("the request's body is shorter than its Content-Length")
        if length is not None:
            left -= len(piece)
        yield piece
