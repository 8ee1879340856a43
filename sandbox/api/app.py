"""The Flask app: Lambda's API, and fnbox's own pages under `/_fnbox/`.

What is for a function URL goes to `FunctionUrls`. Every other request that is not one of
fnbox's own goes through `Dispatch`, which answers it from the service model. Two doors lead
there, and to the same functions:

* Flask's catch-all, for everything;
* `ShortWay`, plain WSGI in front of Flask, for Invoke and its kin alone. Routing and
  contexts of Flask cost a warm invoke more than all the rest of the API layer, so a
  request whose path is Invoke's goes to `Dispatch` directly. `sandbox.http.worker` asks
  it for most invokes without WSGI's ceremony: with a dict that holds the request's
  method, `RAW_URI`, query, headers and `wsgi.input`, and nothing else.

What is for another AWS service leaves before Flask, for `PassingOn`. Nobody gets to any of them
whom `FrontDoor` does not let in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import Flask, Response, jsonify, request, send_file
from werkzeug.exceptions import HTTPException

import sandbox
from sandbox.api.access import access_blueprint
from sandbox.api.context import RECEIVED, new_request_id
from sandbox.api.dispatch import Dispatch, Found
from sandbox.api.elsewhere import destination
from sandbox.api.errors import Body, Reply, ViewReply
from sandbox.api.events import events_blueprint
from sandbox.api.front_door import FrontDoor
from sandbox.api.functions import CODE_PATH
from sandbox.api.invoke import OPERATIONS as INVOKE
from sandbox.api.logs import logs_blueprint
from sandbox.api.model import load
from sandbox.api.pages import ask_who_calls
from sandbox.api.passing_on import PassingOn
from sandbox.api.refusals import refusal
from sandbox.api.services import Services
from sandbox.api.traces import traces_blueprint
from sandbox.api.urls.address import HOST_MARK
from sandbox.api.urls.front import FunctionUrls
from sandbox.catalog import Code
from sandbox.clock import Clock
from sandbox.errors import AccessDenied, CallerError
from sandbox.http.wire import request_target
from sandbox.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


def create_app(services: Services) -> Flask:
    """The WSGI application. Reads and compiles the service model: about 10 ms."""
    dispatch = Dispatch(load(), services)
    authentication = services.authentication
    others = PassingOn(
        services.settings, services.companion, authentication, services.authorization
    )
    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False

    @app.get("/_fnbox/health")
    @app.get("/_localstack/health")
    def health() -> Response:
        return jsonify(
            status="running",
            version=sandbox.__version__,
            services=dict.fromkeys(("lambda", *others.services), "running"),
        )

    @app.get(f"{CODE_PATH}/<name>.zip")
    def code(name: str) -> Response:
        if _SHA256.fullmatch(name) is None:
            return lambda_api()
        authorization, query = services.authorization, request.query_string.decode("latin-1")
        if authorization.enforces and not authorization.links.lets_in(request.path, query):
            return lambda_api()
        path = services.catalog.code.zip_path(Code(name, 0, 0))
        if not path.is_file():
            return lambda_api()
        return send_file(path, mimetype="application/zip", download_name=f"{name}.zip")

    ask_who_calls(app, authentication, services.authorization, services.settings)
    app.register_blueprint(access_blueprint(authentication.store))
    # before the catch-all, which would take its `POST /`
    app.register_blueprint(logs_blueprint(services.logs, services.settings))
    app.register_blueprint(events_blueprint(services.dead_events, services.settings))
    app.register_blueprint(traces_blueprint(services.traces))

    @app.get("/_fnbox/pulls")
    def pulls() -> Response:
        rows = [
            {"image": pull.image, "bytes": pull.bytes, "total": pull.total}
            for pull in services.pulls()
        ]
        return jsonify(pulls=rows)

    @app.get("/_fnbox/metrics")
    def metrics() -> Response:
        return Response(services.metrics.exposition(), content_type=CONTENT_TYPE)

    def lambda_api(path: str = "") -> Response:
        return reply(copied(dispatch.answer(request.environ, dispatch.route(request.environ))))

    def reply(answer: Reply) -> Response:
        status, headers, body = answer
        response = Response(body, status)
        response.headers.clear()
        response.headers.extend([*headers, *length_of(body)])
        return response

    for rule in ("/", "/<path:path>"):
        app.add_url_rule(rule, "lambda_api", lambda_api, methods=METHODS)

    @app.errorhandler(HTTPException)
    def not_routed(error: HTTPException) -> Response:
        if error.code is not None and error.code < 500:
            return lambda_api()
        return reply(dispatch.failed())  # Flask has logged what was raised

    short_way = ShortWay(
        app.wsgi_app,
        FrontDoor(services.settings),
        dispatch,
        FunctionUrls(services),
        others,
        services.clock,
    )
    app.wsgi_app = short_way  # type: ignore[method-assign]
    app.extensions["short_way"] = short_way
    return app


class ShortWay:
    """Answers Invoke and its kin itself, and hands everything else that `door` lets in to `urls`,
    to `others`, which answer what is for other AWS services, or to `further`."""

    def __init__(
        self,
        further: WSGIApplication,
        door: FrontDoor,
        dispatch: Dispatch,
        urls: FunctionUrls,
        others: PassingOn,
        clock: Clock,
    ) -> None:
        self._further = further
        self._door = door
        self._dispatch = dispatch
        self._urls = urls
        self._others = others
        self._now = clock.monotonic

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[RECEIVED] = self._now()
        # a function may have any path, Invoke's too
        by_host = HOST_MARK in environ.get("HTTP_HOST", "").lower()
        found = None if by_host else self._dispatch.route(environ)
        for_url = by_host or (found is None and self._urls.serves(environ))
        refused = self._refused(environ, by_host, for_url)
        if refused is not None:
            status, headers, body = refused
        elif for_url:
            return self._urls(environ, start_response)
        elif found is None or found[0].name not in INVOKE:
            path, _ = request_target(environ)
            unknown = found is None and bool(self._others.services)
            other = destination(environ, path, unknown=unknown)
            if other is None:
                return self._further(environ, start_response)
            status, headers, body = self._others.answer(environ, other)
        else:
            status, headers, body = copied(self.answer(environ, found))
        start_response(_STATUS_LINES.get(status, f"{status} Unknown"), [*headers, *length_of(body)])
        return (body,) if isinstance(body, bytes) else body

    def _refused(self, environ: WSGIEnvironment, by_host: bool, for_url: bool) -> Reply | None:
        """The answer to whom the door does not let in."""
        try:
            if not by_host:
                self._door.check_host(environ)
            if not for_url:
                self._door.check_origin(environ)
        except CallerError as error:
            path, _ = request_target(environ)
            other = destination(environ, path, unknown=False)
            if other is None or not isinstance(error, AccessDenied):
                return self._dispatch.refused(error)
            return refusal(
                environ, other.service, 403, "AccessDenied", str(error), new_request_id()
            )
        return None

    def route(self, environ: WSGIEnvironment) -> Found | None:
        """Invoke, if that is what is asked for: its answer is bytes."""
        if not self._door.knows(environ):
            return None
        environ[RECEIVED] = self._now()
        found = self._dispatch.route(environ)
        return found if found is not None and found[0].name == "Invoke" else None

    def answer(self, environ: WSGIEnvironment, found: Found) -> ViewReply:
        return self._dispatch.answer(environ, found)


def copied(answer: ViewReply) -> Reply:
    """For a server, which takes bytes and no views."""
    status, headers, body = answer
    return status, headers, bytes(body) if isinstance(body, memoryview) else body


def length_of(body: Body) -> list[tuple[str, str]]:
    """The header that a body in pieces cannot have: it is sent in chunks."""
    return [("Content-Length", str(len(body)))] if isinstance(body, bytes) else []


__all__ = ["Services", "create_app"]
