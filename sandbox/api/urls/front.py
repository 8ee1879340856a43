"""Answers requests to function URLs, as a WSGI application beside Lambda's API.

In order: whose URL it is, a browser's preflight, who may, the body, the function. What a function
makes of it is its own; 502, `Internal Server Error`, is a function that failed or returned what is
no answer, 403 a URL that is not there or not for this caller, 429 a function that is not to run
so often, 413 a request that is too large.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from sandbox.access.principals import ANONYMOUS
from sandbox.api.context import (
    RequestContext,
    new_request_id,
    read_context,
    read_trace,
    verified,
)
from sandbox.api.dispatch import SYNC_BYTES, read_bytes, too_large
from sandbox.api.errors import error_reply
from sandbox.api.front_door import SANDBOX
from sandbox.api.model import load
from sandbox.api.services import Services
from sandbox.api.urls import access, cors
from sandbox.api.urls.address import by_host, by_path
from sandbox.api.urls.answer import JSON, Answer, BadResponse, Headers, buffered, streamed
from sandbox.api.urls.event import UrlRequest, event_of
from sandbox.catalog import FunctionUrl
from sandbox.errors import AccessDenied, CallerError, FnboxError, NotFound, to_keep
from sandbox.http.wire import request_target
from sandbox.invocation import Invocation
from sandbox.lineage import forwarded
from sandbox.names import FunctionReference

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_FAILED = Answer(502, [("Content-Type", JSON)], b"Internal Server Error")
_NO_BODY = (204, 304)


class FunctionUrls:
    """The WSGI application; `serves` says which requests are for it."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def serves(self, environ: Mapping[str, Any]) -> bool:
        """Whether a request that is none of Lambda's API, by its host, is for a URL by its path."""
        return by_path(request_target(environ)[0]) is not None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request_id = new_request_id()
        url, path = self._find(environ)
        trace = read_trace(environ.get("HTTP_X_AMZN_TRACE_ID"))
        if url is not None:
            trace = forwarded(trace, url.key)
        status, given, body = self._answer(environ, url, path, request_id, trace)
        headers = [
            ("x-amzn-RequestId", request_id),
            ("X-Amzn-Trace-Id", trace),
            *given,
        ]
        if by_host(environ.get("HTTP_HOST", "")) is None:
            headers.append(SANDBOX)
        if isinstance(body, bytes) and status not in _NO_BODY:
            headers.append(("Content-Length", str(len(body))))
        bodiless = status in _NO_BODY or environ["REQUEST_METHOD"] == "HEAD"
        start_response(f"{status} {_REASONS.get(status, 'Unknown')}", headers)
        if bodiless:
            return ()
        return (body,) if isinstance(body, bytes) else body

    def _answer(
        self,
        environ: Mapping[str, Any],
        url: FunctionUrl | None,
        path: str,
        request_id: str,
        trace: str,
    ) -> Answer:
        rules = url.cors if url is not None else {}
        if rules and cors.is_preflight(environ):
            return Answer(200, cors.preflight_headers(rules, environ), b"")
        refused: CallerError | None = None
        try:
            answer = self._run(environ, url, path, request_id, trace)
        except CallerError as error:
            refused = to_keep(error)
            answer = _refused(error, request_id)
        except BadResponse as error:
            log.info("request %s: %s", request_id, error)
            answer = _FAILED
        except FnboxError as error:
            log.error("request %s: %s", request_id, error, exc_info=error.__cause__)
            answer = _FAILED
        except Exception:
            log.exception("request %s failed", request_id)
            answer = _FAILED
        note = self._services.authorization.note
        note(environ, request_id, access.ACTIONS[0], answer.status, refused)
        return _with_cors(answer, rules, environ) if rules else answer

    def _find(self, environ: Mapping[str, Any]) -> tuple[FunctionUrl | None, str]:
        """The URL, and the path under it; it goes by the host first, then by the path."""
        path, _ = request_target(environ)
        url_id = by_host(environ.get("HTTP_HOST", ""))
        if url_id is None:
            url_id, path = by_path(path) or ("", path)
        return self._services.catalog.function_url(url_id), path

    def _run(
        self,
        environ: Mapping[str, Any],
        url: FunctionUrl | None,
        path: str,
        request_id: str,
        trace: str,
    ) -> Answer:
        if url is None:
            raise access.forbidden()
        services = self._services
        now = services.clock.wall()
        function = services.catalog.function(url.key)
        caller = signature = body = None
        if url.auth_type == "AWS_IAM":
            signature = access.read_signature(environ)
            caller = read_context(environ, request_id, services.settings)
            if services.authentication.needed(environ):
                body = read_bytes(environ, "Invoke", SYNC_BYTES)
                caller = verified(services.authentication, caller, body, "lambda")
            access.check_signature(signature, url.key.region, now)
        self._authorize(environ, url, caller, request_id)
        if not services.authorization.enforces:
            access.check_access(url, function.policies.get(url.qualifier), caller)
        if body is None:
            body = read_bytes(environ, "Invoke", SYNC_BYTES)
        if signature is not None:
            access.check_body(signature, body)
        event = event_of(
            UrlRequest(
                url,
                environ,
                path,
                environ.get("QUERY_STRING", ""),
                body,
                request_id,
                trace,
                now,
                access.identity(signature, caller) if signature and caller else None,
            )
        )
        if len(event) > SYNC_BYTES:
            raise too_large("Invoke", SYNC_BYTES)
        return self._invoke(url, event, request_id, trace, environ["REQUEST_METHOD"])

    def _authorize(
        self,
        environ: Mapping[str, Any],
        url: FunctionUrl,
        caller: RequestContext | None,
        request_id: str,
    ) -> None:
        """Raise AccessDenied, which says no more than that, for whom policies do not let in."""
        authorization = self._services.authorization
        if not authorization.asks(environ):
            return
        settings = self._services.settings
        context = caller or read_context(environ, request_id, settings, ANONYMOUS)
        try:
            authorization.require(access.asks(url), context)
        except AccessDenied as error:
            raise access.forbidden() from error

    def _invoke(
        self, url: FunctionUrl, event: bytes, request_id: str, trace: str, method: str
    ) -> Answer:
        alias = url.arn != url.key.arn
        reference = FunctionReference(url.key, url.qualifier if alias else None)
        invocation = Invocation(reference, event, request_id, trace_id=trace)
        if not url.streams:
            outcome = self._services.service.invoke(invocation)
            if outcome.function_error is not None:
                return _FAILED
            return buffered(outcome.payload)
        stream = self._services.service.stream(invocation)
        answer = streamed(stream)
        if method == "HEAD" or answer.status in _NO_BODY:
            stream.leave()
        return answer


def _refused(error: CallerError, request_id: str) -> Answer:
    """A caller's fault; what has gone meanwhile is as if it had never been."""
    if isinstance(error, NotFound):
        error = access.forbidden()
    status, headers, body = error_reply(error, request_id, load().errors)
    return Answer(status, [pair for pair in headers if pair[0] != "x-amzn-RequestId"], body)


def _with_cors(answer: Answer, rules: Mapping[str, Any], environ: Mapping[str, Any]) -> Answer:
    kept: Headers = [
        (name, value) for name, value in answer.headers if not name.lower().startswith(cors.PREFIX)
    ]
    return answer._replace(headers=[*kept, *cors.answer_headers(rules, environ)])
